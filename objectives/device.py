"""What a device is, whether this machine has it, and how to have it for oneself while timing."""

import fcntl
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from objectives.agent import cpu_model
from objectives.measurement import Condition


def missing_device(device: str) -> str | None:
    """The reason why this machine cannot compute on `device`, or None."""
    kind = device.partition(":")[0]
    if kind == "ssh":
        return f"{device!r}: over ssh a target is timed with runtime onnxruntime"
    if kind == "cpu":
        return None if device == "cpu" else f"{device!r}: a CPU target is written 'cpu'"
    if kind != "cuda":
        return f"{device!r} is not a device; known: cpu, cuda, cuda:N, ssh://USER@HOST"
    if not torch.cuda.is_available():
        return f"{device!r}: this machine has no CUDA device that torch can use; write cpu"
    count = torch.cuda.device_count()
    index = device.partition(":")[2] or "0"
    if not index.isdecimal() or int(index) >= count:
        return f"{device!r}: this machine has {count} CUDA device(s), counted from cuda:0"
    return None


@lru_cache
def describe_device(device: str) -> dict[str, Condition]:
    """What identifies `device` in a measurement's conditions."""
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        return {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": str(torch.version.cuda),
        }
    return {"device": cpu_model(), "cores": os.cpu_count() or 1, "system": platform.system()}


MACHINE = "machine"
"""Name of the turnstile that all of a machine shares: a training on a GPU keeps a core busy too,
and so disturbs what is timed on the CPU."""


class Turnstile:
    """Keeps training away from a device while it is timed, across all processes of this user.

    Two lock files a device: who computes holds `room` shared, who measures holds it alone. Both
    pass through `gate`, so new steps queue behind a waiting measurement instead of starving it.
    """

    def __init__(self, device: str) -> None:
        self.device = "cuda:0" if device == "cuda" else device
        self.waited_s = 0.0
        """Seconds spent waiting for others so far; no work of this process."""

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Hold while computing something that may run beside others: one training step."""
        gate, room = _lock_files(self.device, os.getpid())
        start = time.perf_counter()
        with _locked(gate, fcntl.LOCK_EX):
            fcntl.flock(room, fcntl.LOCK_SH)
        try:
            self.waited_s += time.perf_counter() - start
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold while timing: nobody else of ours computes on the device."""
        gate, room = _lock_files(self.device, os.getpid())
        start = time.perf_counter()
        with _locked(gate, fcntl.LOCK_EX), _locked(room, fcntl.LOCK_EX):
            self.waited_s += time.perf_counter() - start
            yield


@contextmanager
def _locked(file: int, mode: int) -> Iterator[None]:
    """A lock for the body; also given back when a signal ends the body or the next wait in it."""
    fcntl.flock(file, mode)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@lru_cache
def _lock_files(device: str, pid: int) -> tuple[int, int]:
    """Descriptors of (gate, room); per process, since a fork would share its parent's locks."""
    folder = Path(tempfile.gettempdir()) / f"paretune-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    gate, room = (
        os.open(folder / f"{device.replace(':', '_')}.{name}", os.O_CREAT | os.O_RDWR, 0o600)
        for name in ("gate", "room")
    )
    return gate, room
