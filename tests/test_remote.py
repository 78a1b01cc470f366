"""A target over ssh: a real sshd on loopback, and everything that can go wrong with it."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from objectives.costs import Latency, Subject
from objectives.device import Turnstile
from objectives.runtimes import DeploymentError, remote
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.runtimes.remote import TargetAwayError, address_problem, probe
from objectives.target import Target
from search import run
from search.commands import BAD_INPUT, DONE, FAILED
from search.store.view import view_of

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass
class Board:
    """A host that answers on a port of its own, with keys and known hosts of its own."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def device(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def left_behind(self) -> list[str]:
        """What visits have left in the host's folder for temporary files."""
        return [path.name for path in (self.folder / "tmp").glob("tmp.*")]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """sshd as this user; `ssh` is a wrapper that brings the test's key and known hosts."""
    if not Path(SSHD).exists() or shutil.which("ssh") is None:
        pytest.skip("openssh-server is not installed")
    folder = tmp_path / "board"
    (folder / "tmp").mkdir(parents=True)
    for name in ("host", "mine"):
        keygen(folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shutil.copy(folder / "mine.pub", folder / "authorized_keys")
    know_host(folder, port)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nPermitRootLogin yes\n"
        f"SetEnv TMPDIR={folder}/tmp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")])
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    wrapper = bin_folder / "ssh"
    wrapper.write_text(
        f"#!/bin/sh\nexec {shutil.which('ssh')} -F none -oIdentitiesOnly=yes -i {folder}/mine "
        f'-oUserKnownHostsFile={folder}/known_hosts -oGlobalKnownHostsFile=none "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    sockets = tempfile.mkdtemp(prefix="pt-")  # the path of a socket must be short
    monkeypatch.setattr("tempfile.tempdir", sockets)
    wait_for(port)
    probe.cache_clear()
    yield Board(port, folder, process)
    hang_up()
    process.terminate()
    process.wait()
    shutil.rmtree(sockets)


def keygen(file: Path) -> None:
    file.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)


def know_host(folder: Path, port: int) -> None:
    key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("sshd does not start here")


def hang_up() -> None:
    """End shared connections, so that the next visit meets the host anew."""
    for control in Path(tempfile.gettempdir()).glob("paretune-*/ssh-*"):
        subprocess.run(
            ["ssh", f"-oControlPath={control}", "-O", "exit", "nobody"], capture_output=True
        )


HERE = OnnxRuntime(python=sys.executable)
"""The interpreter of the tests has what the host needs."""
RUNTIME = f"runtime: {{onnxruntime: {{python: {sys.executable}}}}}"


def script(board: Board, name: str, text: str) -> str:
    """An interpreter on the host."""
    path = board.folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def slow(board: Board) -> str:
    """One that takes 5 s, whatever it is asked."""
    return script(board, "slow", "sleep 5")


def bare(board: Board) -> str:
    """One that has nothing but the standard library."""
    return script(board, "bare", f'exec {sys.executable} -S "$@"')


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()


def subject(device: str) -> Subject:
    target, inputs = Target(device=device, runtime=HERE), torch.randn(8, 1, 8, 8)
    deployment = target.runtime.deploy(
        network(), calibration=inputs, precision="fp32", device=device, threads=1
    )
    return Subject(
        network=network(),
        inputs=inputs,
        targets={"board": target},
        deployments={"board": deployment},
        turnstile=Turnstile("board"),
    )


def test_network_is_timed_on_the_host_and_the_folder_is_removed(board: Board) -> None:
    assert Target(device=board.device, runtime=HERE).check() is None
    measured = Latency(target="board", max_s=0.1).measure(subject(board.device))
    assert 0 < measured.low <= measured.value <= measured.high
    assert len(measured.samples) >= 6
    assert measured.conditions["target_device"] == board.device
    assert measured.conditions["clock"] == "cpu"
    assert {"device", "cores", "onnxruntime"} <= set(measured.conditions)
    assert board.left_behind() == []


def test_folder_is_removed_when_the_visit_fails(board: Board) -> None:
    with pytest.raises(TargetAwayError):
        remote._visit(board.device, {}, sys.executable, [".", "--time"], 5)
    assert board.left_behind() == []


def test_folder_is_removed_when_the_connection_breaks(board: Board) -> None:
    visit = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from objectives.runtimes import remote; remote._sharing = lambda: (); "
            f"remote._visit({board.device!r}, {{}}, {slow(board)!r}, [], 60)",
        ],
        stderr=subprocess.DEVNULL,
    )
    for _ in range(200):
        if board.left_behind():
            break
        time.sleep(0.05)
    assert board.left_behind()
    subprocess.run(["pkill", "-KILL", "-P", str(visit.pid)], check=False)
    visit.kill()
    visit.communicate()
    for _ in range(200):
        if not board.left_behind():
            break
        time.sleep(0.05)
    assert board.left_behind() == []


def test_file_that_answers_differently_there_is_no_price(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_on = subject(board.device)
    deployment = measured_on.deployments["board"]
    object.__setattr__(deployment, "run", lambda inputs: torch.ones(len(inputs), 5))
    with pytest.raises(DeploymentError, match="answers differently on ssh://"):
        Latency(target="board", max_s=0.05).measure(measured_on)


def reason(device: str) -> str:
    hang_up()
    probe.cache_clear()
    told = Target(device=device, runtime=HERE).check()
    assert told is not None
    assert "\n" not in told
    return told


def test_host_whose_key_has_changed_is_refused(board: Board) -> None:
    assert Target(device=board.device, runtime=HERE).check() is None
    keygen(board.folder / "other")
    key = (board.folder / "other.pub").read_text()
    (board.folder / "known_hosts").write_text(f"[127.0.0.1]:{board.port} {key}")
    assert "the host's key has changed" in reason(board.device)


def test_host_that_is_not_known_is_refused(board: Board) -> None:
    (board.folder / "known_hosts").write_text("")
    assert "the host's key is not known here; check it" in reason(board.device)


def test_host_that_refuses_our_key_is_told(board: Board) -> None:
    (board.folder / "authorized_keys").write_text("")
    assert "add one with ssh-copy-id" in reason(board.device)


def test_host_that_is_not_there_is_told(board: Board) -> None:
    board.process.terminate()
    board.process.wait()
    assert "Connection refused" in reason(board.device)


def test_host_that_hangs_is_given_up(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 1)
    with pytest.raises(TargetAwayError, match="no answer in 2 s"):
        remote._visit(board.device, {}, slow(board), [], 1)


def test_host_without_onnxruntime_is_told(board: Board) -> None:
    hang_up()
    with pytest.raises(TargetAwayError, match="lacks numpy or onnxruntime"):
        remote._visit(board.device, {}, bare(board), ["--conditions", "1"], 5)


@pytest.mark.parametrize(
    "device", ["ssh://", "ssh://a b", "ssh://me@-oProxyCommand=x", "ssh://h:port", "ssh://me@h/x"]
)
def test_address_that_is_none_is_refused(device: str) -> None:
    assert address_problem(device) is not None
    assert Target(device=device).check() == address_problem(device)


def test_study_is_priced_on_the_host_and_survives_its_absence(
    board: Board, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"targets={{board: {{device: {board.device}, {RUNTIME}}}}}"
    objectives = "objectives=[accuracy, flops, {latency: {max_s: 0.05}}]"
    overrides = [target, objectives, "search.trials=2", "--quiet"]
    assert run.main(["small.yaml", *overrides]) == DONE
    found = view_of("small", "sqlite:///small.db")
    assert all(
        trial.measurements["latency"].conditions["target_device"] == board.device
        for trial in found.trials
    )
    board.process.terminate()
    board.process.wait()
    hang_up()
    probe.cache_clear()
    capsys.readouterr()
    assert run.main(["small.yaml", *overrides, "search.trials=4"]) == BAD_INPUT
    assert "Connection refused" in capsys.readouterr().err


def test_host_that_goes_away_in_the_middle_ends_the_run_and_loses_nothing(
    board: Board, small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"targets={{board: {{device: {board.device}, {RUNTIME}}}}}"
    objectives = "objectives=[accuracy, flops, {latency: {max_s: 0.05}}]"
    overrides = [target, objectives, "search.trials=3", "--quiet"]
    visits, visit = [0], remote._visit

    def breaks(*arguments: object) -> object:
        visits[0] += 1
        if visits[0] == 6:
            raise TargetAwayError(f"{board.device}: Connection refused")
        return visit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(remote, "_visit", breaks)
    assert run.main(["small.yaml", *overrides]) == FAILED
    err = capsys.readouterr().err
    assert "Connection refused; the same command goes on from here" in err
    assert run.main(["small.yaml", *overrides]) == DONE
    found = view_of("small", "sqlite:///small.db")
    assert len(found.trials) == 3
    assert not any(trial.status == "failed" for trial in found.trials)
