"""A real PostgreSQL server for a test: own folder, own port on the loopback, gone afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

PASSWORD = "s3cret-of-the-test"


@dataclass(frozen=True)
class Server:
    """Where it listens."""

    port: int
    command: tuple[object, ...]
    folder: Path
    processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self) -> None:
        """Serve, and wait until it answers."""
        process = subprocess.Popen(
            [*map(str, self.command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        self.processes.append(process)
        _wait_for(self, process)

    def stop(self) -> None:
        """A fast shutdown: clients are cut off."""
        self.processes[-1].send_signal(signal.SIGINT)
        self.processes[-1].wait(60)

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://paretune:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database; returns its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return name

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="paretune",
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        )


@contextmanager
def running() -> Iterator[Server]:
    """Start a server, or skip with the reason why there is none."""
    programs = _programs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        _hand_over(folder)
        subprocess.run(
            [
                *_unprivileged(),
                programs / "initdb",
                *("-D", folder / "data", "-U", "paretune", "-E", "UTF8", "--no-sync"),
                *("-A", "scram-sha-256", "--pwfile", folder / "password"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        port = _free_port()
        server = Server(
            port,
            (
                *_unprivileged(),
                programs / "postgres",
                *("-D", folder / "data", "-p", port, "-h", "127.0.0.1", "-k", folder),
                *("-c", "fsync=off"),
            ),
            folder,
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _programs() -> Path:
    """The folder of `initdb` and `postgres`."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("PostgreSQL's initdb and postgres are not installed here")


def _unprivileged() -> list[str]:
    """Words before a command that PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL refuses root, and there is no setpriv to be somebody else")
    return ["setpriv", "--reuid=nobody", f"--regid={_nobody().pw_gid}", "--clear-groups"]


def _hand_over(folder: Path) -> None:
    if os.getuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, _nobody().pw_uid, _nobody().pw_gid)


def _nobody():  # type: ignore[no-untyped-def]
    import pwd

    return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_for(server: Server, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while True:
        try:
            server.connect("postgres").close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None, "PostgreSQL ended at once"
            assert time.monotonic() < end
            time.sleep(0.1)
