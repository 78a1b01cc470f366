"""Devices and the turnstile, with real locks between real processes."""

import fcntl
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from objectives.device import Turnstile, describe_device, missing_device

BLOCKED_S = 0.15
"""Seconds for which somebody who must wait is watched; who waits longer still waits."""
PATIENCE_S = 60.0
"""Seconds until somebody who must not wait is given up; never reached on a sound machine."""


def hold(turnstile: Turnstile, side: str) -> AbstractContextManager[None]:
    return turnstile.quiet() if side == "quiet" else turnstile.computing()


def neighbour(connection: Connection) -> None:
    """Another process: holds the side of a device it is told to, until it is told to leave."""
    turnstiles: dict[str, Turnstile] = {}
    while True:
        side, device = connection.recv()
        turnstile = turnstiles.setdefault(device, Turnstile(device))
        with hold(turnstile, side):
            connection.send("inside")
            assert connection.recv() == "leave"
        connection.send(turnstile.waited_s)


class Neighbour:
    """The near end of a `neighbour` process."""

    def __init__(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = device
        self.connection, far = context.Pipe()
        self.process = context.Process(target=neighbour, args=(far,), daemon=True)
        self.process.start()
        far.close()

    def ask(self, side: str, device: str | None = None) -> None:
        self.connection.send((side, device or self.device))

    def inside(self, patience_s: float = PATIENCE_S) -> bool:
        return self.connection.poll(patience_s) and self.connection.recv() == "inside"

    def leave(self) -> float:
        """Let go; returns the seconds it has waited so far."""
        self.connection.send("leave")
        assert self.connection.poll(PATIENCE_S)
        waited_s: float = self.connection.recv()
        return waited_s

    def end(self) -> None:
        self.process.terminate()
        self.process.join(PATIENCE_S)
        self.connection.close()


class Entry:
    """A side of the turnstile held by a thread of this process until `leave`."""

    def __init__(self, turnstile: Turnstile, side: str) -> None:
        self.entered, self.left = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, args=(turnstile, side), daemon=True)
        self.thread.start()

    def _run(self, turnstile: Turnstile, side: str) -> None:
        with hold(turnstile, side):
            self.entered.set()
            self.left.wait(PATIENCE_S)

    def leave(self) -> None:
        self.left.set()
        self.thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A device of these tests alone; its lock files lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("locks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))  # for the other processes
        patch.setattr("tempfile.tempdir", str(folder))
        yield f"test:{os.getpid()}"


@pytest.fixture(scope="module")
def neighbours(device: str) -> Iterator[list[Neighbour]]:
    started = [Neighbour(device) for _ in range(2)]
    yield started
    for each in started:
        each.end()


@pytest.mark.parametrize(
    ("theirs", "ours"), [("quiet", "computing"), ("computing", "quiet"), ("quiet", "quiet")]
)
def test_quiet_excludes_every_other_process(
    theirs: str, ours: str, device: str, neighbours: list[Neighbour]
) -> None:
    turnstile, other = Turnstile(device), neighbours[0]
    other.ask(theirs)
    assert other.inside()
    start = time.perf_counter()
    entry = Entry(turnstile, ours)
    assert not entry.entered.wait(BLOCKED_S)
    assert turnstile.waited_s == 0
    other.leave()
    assert entry.entered.wait(PATIENCE_S)
    assert 0 < turnstile.waited_s <= time.perf_counter() - start
    entry.leave()


def test_training_steps_run_side_by_side(device: str, neighbours: list[Neighbour]) -> None:
    for each in neighbours:
        each.ask("computing")
    assert all(each.inside() for each in neighbours)
    entry = Entry(Turnstile(device), "computing")
    assert entry.entered.wait(PATIENCE_S)
    entry.leave()
    for each in neighbours:
        each.leave()


def test_new_step_queues_behind_a_waiting_measurement(
    device: str, neighbours: list[Neighbour]
) -> None:
    trainer, newcomer = neighbours
    trainer.ask("computing")
    assert trainer.inside()
    measurement = Entry(Turnstile(device), "quiet")
    wait_until_the_gate_is_taken()
    newcomer.ask("computing")
    assert not newcomer.inside(BLOCKED_S)
    trainer.leave()
    assert measurement.entered.wait(PATIENCE_S)
    assert not newcomer.inside(BLOCKED_S)
    measurement.leave()
    assert newcomer.inside()
    newcomer.leave()


def wait_until_the_gate_is_taken() -> None:
    (gate,) = Path(os.environ["TMPDIR"]).rglob("test*.gate")
    descriptor = os.open(gate, os.O_RDWR)
    end = time.perf_counter() + PATIENCE_S
    while time.perf_counter() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            break
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(1e-3)
    os.close(descriptor)


def test_seconds_of_waiting_add_up(device: str, neighbours: list[Neighbour]) -> None:
    waited = []
    for _ in range(2):
        entry = Entry(Turnstile(device), "quiet")
        assert entry.entered.wait(PATIENCE_S)
        neighbours[0].ask("computing")
        assert not neighbours[0].inside(BLOCKED_S)
        entry.leave()
        assert neighbours[0].inside()
        waited.append(neighbours[0].leave())
    assert 0 < waited[0] < waited[1]


def test_device_is_free_again_after_an_error_inside(
    device: str, neighbours: list[Neighbour]
) -> None:
    for side in ("quiet", "computing"):
        with pytest.raises(ZeroDivisionError), hold(Turnstile(device), side):
            raise ZeroDivisionError
        neighbours[0].ask("quiet")
        assert neighbours[0].inside()
        neighbours[0].leave()


def test_other_devices_do_not_wait(device: str, neighbours: list[Neighbour]) -> None:
    neighbours[0].ask("quiet")
    assert neighbours[0].inside()
    entry = Entry(Turnstile(f"{device}1"), "quiet")
    assert entry.entered.wait(PATIENCE_S)
    entry.leave()
    neighbours[0].leave()


def test_cuda_is_short_for_the_first_gpu_also_at_the_turnstile(
    neighbours: list[Neighbour],
) -> None:
    first, second = neighbours
    first.ask("quiet", "cuda")
    assert first.inside()
    second.ask("computing", "cuda:0")
    assert not second.inside(BLOCKED_S)
    first.leave()
    assert second.inside()
    second.leave()


def test_cpu_is_never_missing() -> None:
    assert missing_device("cpu") is None


@pytest.mark.parametrize(
    ("device", "reason"),
    [("cpu:0", "is written 'cpu'"), ("tpu", "known: cpu, cuda, cuda:N"), ("", "is not a device")],
)
def test_device_that_does_not_exist_is_explained(device: str, reason: str) -> None:
    assert reason in (missing_device(device) or "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_that_is_not_there_comes_with_the_remedy() -> None:
    assert "write cpu" in (missing_device("cuda") or "")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpus_are_counted_from_zero() -> None:
    count = torch.cuda.device_count()
    assert missing_device("cuda") is missing_device("cuda:0") is None
    for device in (f"cuda:{count}", "cuda:first", "cuda:-1"):
        assert f"this machine has {count} CUDA device" in (missing_device(device) or "")
    assert describe_device("cuda")["device"] == torch.cuda.get_device_name(0)


def test_cpu_is_described_by_model_cores_and_system() -> None:
    described = describe_device("cpu")
    assert set(described) == {"device", "cores", "system"}
    assert described["cores"] == os.cpu_count()
    assert described["device"]
