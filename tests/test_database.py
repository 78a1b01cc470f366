"""Databases that cannot be used: one line, exit code 2, nothing changed. Then the migrations."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import postgres_server
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import SMALL, Command
from postgres_server import Server
from sqlalchemy import Engine, create_engine, event, inspect, select, text

from search import front, run
from search.errors import InputError
from search.session import Session
from search.store import schema
from search.store.database import HEAD, OPEN_TIMEOUT_S, migrate, open_database
from search.store.rows import measurements_of
from search.store.store import Store
from search.store.view import view_of

ROOT = Path(__file__).parent.parent
REPLAY = ("executor={replay: {answers: 'replay_answers:plain'}}", "search.rungs=[1, 2, 4]")
PASSWORD = "hunter2-hunter2"


@pytest.fixture(scope="module")
def run_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one run of `small` has been made, answered by formula."""
    folder = tmp_path_factory.mktemp("before")
    (folder / "small.yaml").write_text(SMALL)
    with contextlib.chdir(folder), Session.open("small.yaml", REPLAY) as session:
        session.plan()
        session.search("nothing")
    return folder


@pytest.fixture
def searched(small: Path, run_before: Path) -> Path:
    """The study `small` after a run."""
    shutil.copy(run_before / "small.db", small.parent)
    return small


Refused = Callable[..., str]


@pytest.fixture
def refused(small: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Refused]:
    """Run a command that must refuse its database; returns its one line, without the name."""
    handler = signal.getsignal(signal.SIGTERM)

    def refuse(storage: str, *, read: bool = False) -> str:
        before = snapshot(small.parent)
        if read:
            code = front.main(["small", "--storage", storage])
        else:
            quoted = f"storage='{storage}'"  # a colon at the end would make it a mapping
            code = run.main([str(small), quoted, "search.rungs=[1, 2, 4]", "executor=inline"])
        told = capsys.readouterr()
        return the_line(code, told.out, told.err, before, snapshot(small.parent))

    yield refuse
    signal.signal(signal.SIGTERM, handler)


def the_line(
    code: int, out: str, err: str, before: dict[str, bytes], after: dict[str, bytes]
) -> str:
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("paretune: ")
    assert after == before
    return line.removeprefix("paretune: ")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file but those in which SQLite organises its readers."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


# --- files ---


def test_locked_database_is_refused_after_a_few_seconds(searched: Path, refused: Refused) -> None:
    with contextlib.closing(sqlite3.connect("small.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        line = refused("sqlite:///small.db")
        other.execute("ROLLBACK")
    assert line == (
        "sqlite:///small.db: is locked by another program; close it and try again "
        "(database is locked)"
    )


def test_database_that_is_locked_for_a_moment_is_waited_for(searched: Path) -> None:
    other = sqlite3.connect("small.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(OPEN_TIMEOUT_S / 10, other.execute, ["ROLLBACK"]).start()
    open_database("sqlite:///small.db", create=True).dispose()
    other.close()


def test_text_that_is_no_database_is_refused(small: Path, refused: Refused) -> None:
    Path("small.db").write_text("no database, a letter\n" * 300)
    for read in (False, True):
        line = refused("sqlite:///small.db", read=read)
        assert line.startswith("sqlite:///small.db: is not a SQLite database; name another file")


def test_damaged_database_is_refused(searched: Path, refused: Refused) -> None:
    whole = Path("small.db").read_bytes()
    Path("small.db").write_bytes(whole[:100] + b"\x01" * (len(whole) - 100))
    for read in (False, True):
        line = refused("sqlite:///small.db", read=read)
        assert line.startswith("sqlite:///small.db: is damaged; restore a copy")


def test_database_of_something_else_is_refused(small: Path, refused: Refused) -> None:
    with contextlib.closing(sqlite3.connect("small.db")) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
        other.execute("CREATE TABLE bills (sum REAL)")
    for read in (False, True):
        assert refused("sqlite:///small.db", read=read) == (
            "sqlite:///small.db: holds tables of something else (bills, customers); "
            "name another database"
        )


def test_database_of_a_newer_version_is_refused(searched: Path, refused: Refused) -> None:
    with contextlib.closing(sqlite3.connect("small.db", isolation_level=None)) as other:
        other.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0417'")
    for read in (False, True):
        assert refused("sqlite:///small.db", read=read) == (
            "sqlite:///small.db: written by a newer paretune "
            f"(schema 0417, this one knows {HEAD}); upgrade paretune"
        )


@pytest.mark.parametrize(
    ("storage", "sentence"),
    [
        ("sqlite:///no/such/folder/x.db", "folder no/such/folder does not exist; create it"),
        ("sqlite:///.", ". is a folder; name a file in it"),
        ("sqlite:///:memory:", "a study needs a file; write sqlite:///paretune.db"),
        ("sqlite://", "a study needs a file; write sqlite:///paretune.db"),
        ("pigeon://nest/x", "not a database that can be used: "),
        ("mysql+pigeon://nest/x", "not a database that can be used: "),
        ("postgresql://u@127.0.0.1:port/x", "not a database that can be used: "),
        ("postgresql://u@127.0.0.1:1/x", "cannot be reached: "),
    ],
)
def test_url_that_leads_nowhere_is_refused(refused: Refused, storage: str, sentence: str) -> None:
    assert refused(storage).startswith(f"{storage}: {sentence}")


@pytest.mark.parametrize(
    "storage",
    ["sqlite:///.", "sqlite://", "pigeon://nest/x", "no URL", "postgresql://u@127.0.0.1:port/x"],
)
def test_reading_from_a_url_that_leads_nowhere_is_refused(refused: Refused, storage: str) -> None:
    assert refused(storage, read=True).startswith(f"{storage}: ")


def test_reading_a_database_that_is_not_there_says_to_run_first(refused: Refused) -> None:
    assert refused("sqlite:///small.db", read=True) == (
        "sqlite:///small.db: there is no database small.db yet; run the study first"
    )


def test_reading_a_database_without_our_tables_says_to_run_first(
    small: Path, refused: Refused
) -> None:
    storage = optuna.storages.RDBStorage("sqlite:///small.db")
    storage.engine.dispose()
    assert refused("sqlite:///small.db", read=True) == (
        "sqlite:///small.db: holds no study of paretune; run one first"
    )


def test_reading_a_study_that_is_not_there_names_those_that_are(searched: Path) -> None:
    with pytest.raises(InputError, match=r"no study 'smal'; did you mean 'small'\?"):
        view_of("smal", "sqlite:///small.db")


# --- permissions ---


@pytest.fixture
def obedient(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a real command that permissions hold for, also if root runs the tests."""
    words: list[str] = []
    if os.getuid() == 0:
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        locked = tmp_path_factory.mktemp("locked")
        locked.chmod(0o555)
        program = "import sys; open(sys.argv[1] + '/x', 'w')"
        try:
            tried = subprocess.run(
                [*words, sys.executable, "-c", program, locked], capture_output=True
            )
        except FileNotFoundError:
            pytest.skip("root ignores permissions, and there is no setpriv to change that")
        if tried.returncode == 0:
            pytest.skip("root ignores permissions here, whatever it gives up")

    def refuse(*arguments: object) -> str:
        before = snapshot(folder)
        ended = subprocess.run(
            [*words, sys.executable, "-m", *map(str, arguments), "search.rungs=[1, 2, 4]"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        return the_line(ended.returncode, ended.stdout, ended.stderr, before, snapshot(folder))

    return refuse


def test_read_only_database_is_refused(searched: Path, obedient: Callable[..., str]) -> None:
    Path("small.db").chmod(0o444)
    line = obedient("search.run", searched, "executor=inline")
    assert line.startswith(
        "sqlite:///small.db: is read-only; make the file and its folder writable"
    )


def test_read_only_folder_is_refused(small: Path, obedient: Callable[..., str]) -> None:
    elsewhere = small.parent.parent / "artifacts"
    small.parent.chmod(0o555)
    try:
        line = obedient("search.run", small, "executor=inline", f"artifacts={elsewhere}")
    finally:
        small.parent.chmod(0o755)
    assert line.startswith("sqlite:///small.db: ")
    assert "folder" in line


def test_database_opened_read_only_by_its_url_is_refused(searched: Path, refused: Refused) -> None:
    line = refused("sqlite:///file:small.db?mode=ro&uri=true")
    assert "is read-only; make the file and its folder writable" in line


def test_artifacts_that_cannot_be_written_are_refused_before_the_start(
    searched: Path, obedient: Callable[..., str]
) -> None:
    Path("locked").mkdir()
    Path("locked").chmod(0o555)
    line = obedient("search.run", searched, "executor=inline", "artifacts=locked/small/files")
    assert line == (
        f"artifacts: folder {Path('locked').absolute()} cannot be written; "
        "change its permissions or name another"
    )


def test_artifacts_that_are_a_file_are_refused(searched: Path) -> None:
    with pytest.raises(InputError, match=r"^artifacts: .*small\.yaml is a file; name a folder$"):
        Session.open(str(searched), (*REPLAY, "artifacts=small.yaml"))


# --- passwords ---


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://u:{}@127.0.0.1:1/x",
        "postgresql://u:{}@127.0.0.1:port/x",
        "postgresql+pigeon://u:{}@127.0.0.1/x",
        "pigeon://u:{}@nest/x",
        "mysql://u:{}@127.0.0.1:1/x",
        "postgresql://u:{}@no.such.host.invalid/x",
    ],
)
@pytest.mark.parametrize("read", [False, True])
def test_password_is_never_printed(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, storage: str, read: bool
) -> None:
    if read:
        line = refused(storage.format(PASSWORD), read=True)
    else:
        monkeypatch.setenv("DATABASE_PASSWORD", PASSWORD)
        line = refused(storage.format("${DATABASE_PASSWORD}"))
    assert PASSWORD not in line
    assert "***" in line


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server.running() as found:
        yield found


def test_wrong_password_is_refused_without_printing_either(
    server: Server, refused: Refused
) -> None:
    line = refused(server.url(server.new_database(), PASSWORD))
    assert "refused the user or the password; check the URL" in line
    assert PASSWORD not in line
    assert postgres_server.PASSWORD not in line


def test_missing_database_on_a_server_is_refused(server: Server, refused: Refused) -> None:
    line = refused(server.url("nowhere"))
    assert 'database "nowhere" does not exist' in line
    assert postgres_server.PASSWORD not in line


def test_database_of_something_else_on_a_server_is_refused(
    server: Server, refused: Refused
) -> None:
    name = server.new_database()
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    assert "holds tables of something else (customers)" in refused(server.url(name))


def test_server_that_does_not_answer_is_given_up(refused: Refused) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        line = refused(f"postgresql://u@127.0.0.1:{deaf.getsockname()[1]}/x")
    assert "cannot be reached: " in line


# --- migrations ---


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        found = create_engine("sqlite:///new.db")
    else:
        server: Server = request.getfixturevalue("server")
        found = create_engine(server.url(server.new_database()))
    yield found
    found.dispose()


def ours(name: str | None, kind: str, parent: object) -> bool:
    return kind != "table" or (name or "").startswith("paretune_")


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    open_database(url_of(engine), create=True).dispose()
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": ours,
                "version_table": schema.VERSION_TABLE,
                "compare_type": True,
            },
        )
        assert compare_metadata(context, schema.metadata) == []
        version = connection.execute(text(f"SELECT version_num FROM {schema.VERSION_TABLE}"))
        assert version.scalars().all() == [HEAD]


@pytest.mark.parametrize("first", ["ours", "optuna's"])
def test_tables_stand_beside_those_of_optuna_with_versions_of_their_own(
    engine: Engine, first: str
) -> None:
    def optunas() -> None:
        optuna.storages.RDBStorage(url_of(engine)).engine.dispose()

    if first == "optuna's":
        optunas()
    open_database(url_of(engine), create=True).dispose()
    optunas()
    open_database(url_of(engine), create=True).dispose()
    tables = set(inspect(engine).get_table_names())
    assert {name for name in tables if ours(name, "table", None)} == {
        *schema.metadata.tables,
        schema.VERSION_TABLE,
    }
    assert {"alembic_version", "studies", "trials"} <= tables
    with engine.connect() as connection:
        theirs = connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
        assert theirs.all() != [HEAD]


def test_no_key_of_ours_leads_into_a_table_of_optuna() -> None:
    targets = {
        key.column.table.name
        for table in schema.metadata.tables.values()
        for key in table.foreign_keys
    }
    assert all(name.startswith("paretune_") for name in targets)


def test_measurements_of_the_first_schema_have_no_details(engine: Engine) -> None:
    rows = """
        INSERT INTO paretune_studies (name, definition, objectives, created_at)
            VALUES ('old', '{}', '[]', 0);
        INSERT INTO paretune_runs (id, study, spec, versions, price_key, host, pid, started_at,
            heartbeat_at, busy_s, workers) VALUES (1, 'old', '{}', '{}', 'k', 'h', 1, 0, 0, 0, 1);
        INSERT INTO paretune_candidates (key, train_key, recipe_key, data)
            VALUES ('c', 't', 'r', '{"architecture": {"convnet": {}}, "training": {},
            "augmentation": {}, "compression": []}');
        INSERT INTO paretune_evaluations (id, study, trial, candidate, run, rung, status, reason,
            seconds, at) VALUES (1, 'old', 0, 'c', 1, 0, 'priced', '', '{}', 0);
        INSERT INTO paretune_conditions (key, data) VALUES ('x', '{}');
        INSERT INTO paretune_measurements (evaluation, objective, value, unit, low, high, samples,
            flags, conditions) VALUES (1, 'latency', 0.5, 'ms', 0.4, 0.6, '[0.5]', '[]', 'x')
    """
    with engine.begin() as connection:
        migrate(connection, "0001")
        for statement in rows.split(";"):
            connection.exec_driver_sql(statement)
    open_database(url_of(engine), create=True).dispose()
    with engine.connect() as connection:
        [found] = measurements_of(connection, select(schema.evaluations.c.id)).values()
    assert found["latency"].details == {}
    assert (found["latency"].value, found["latency"].samples) == (0.5, (0.5,))
    assert Store(engine, "old").confirmations() == {}


def test_migration_that_is_cut_off_is_done_again_as_a_whole(engine: Engine) -> None:
    class CutOffError(Exception):
        pass

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "CREATE TABLE paretune_fronts" in statement:
            raise CutOffError

    event.listen(engine, "before_cursor_execute", before)
    with pytest.raises(CutOffError), engine.begin() as connection:
        migrate(connection)
    event.remove(engine, "before_cursor_execute", before)
    assert not any(ours(name, "table", None) for name in inspect(engine).get_table_names())
    open_database(url_of(engine), create=True).dispose()
    assert set(schema.metadata.tables) <= set(inspect(engine).get_table_names())


OPEN = """
import sys, time
from pathlib import Path
from search.store.database import open_database
Path(f"ready-{sys.argv[2]}").touch()
while not Path("go").exists():
    time.sleep(0.001)
open_database(sys.argv[1], create=True)
"""


def test_two_may_open_a_new_database_at_once(engine: Engine, folder: Path) -> None:
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url_of(engine), str(number)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]
    while len(list(folder.glob("ready-*"))) < 2:
        assert all(opener.poll() is None for opener in openers)
        time.sleep(0.01)
    Path("go").touch()
    assert [opener.communicate()[1] for opener in openers] == [b"", b""]
    assert set(schema.metadata.tables) <= set(inspect(engine).get_table_names())


def test_study_of_optuna_can_be_deleted_and_ours_remains(searched: Path) -> None:
    with contextlib.closing(sqlite3.connect("small.db")) as connection:
        connection.execute("PRAGMA foreign_keys=ON")
    optuna.delete_study(study_name="small", storage="sqlite:///small.db")
    assert optuna.get_all_study_names("sqlite:///small.db") == []
    with contextlib.closing(sqlite3.connect("small.db")) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM paretune_trials").fetchall()
    assert count >= 4


def test_study_that_was_deleted_in_optuna_is_not_gone_on_with(
    searched: Path, command: Command
) -> None:
    optuna.delete_study(study_name="small", storage="sqlite:///small.db")
    with pytest.raises(InputError, match=r"'small' .* deleted .* another name"):
        Session.open(str(searched), (*REPLAY, "search.trials=9"))
    ended = command("front", searched)
    assert ended.returncode == 0
