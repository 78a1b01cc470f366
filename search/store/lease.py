"""Whether a run lives, and what it ran with."""

import platform
import socket
import time
from typing import Any

import psutil

LEASE_S = 60
"""A run elsewhere that has not shown signs of life for so long is taken for dead."""


def alive(row: Any) -> bool:
    """Whether a run that has not ended still lives: by its process here, by its lease elsewhere.

    A process of the same number that began after the run is another one (a reboot, a container).
    """
    if row.host != socket.gethostname():
        return bool(time.time() - row.heartbeat_at < LEASE_S)
    try:
        return bool(psutil.Process(row.pid).create_time() <= row.started_at)
    except psutil.NoSuchProcess:
        return False


def versions() -> dict[str, Any]:
    """What decides a latency besides network and processor: system and library versions."""
    from importlib.metadata import version

    names = ("torch", "onnxruntime", "numpy", "torch-pruning")
    return {
        "machine": f"{platform.machine()} {platform.system()}",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
