"""Whether a run lives, and what it ran with."""

import os
import platform
import socket
import time
from typing import Any

LEASE_S = 60
"""A run that has not shown signs of life for so long is taken for dead."""


def alive(row: Any) -> bool:
    """Whether a run that has not ended still lives: a process of ours, and a fresh lease."""
    if row.host == socket.gethostname():
        try:
            os.kill(row.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
    return bool(time.time() - row.heartbeat_at < LEASE_S)


def versions() -> dict[str, Any]:
    """What decides a latency besides the network: machine and library versions."""
    from importlib.metadata import version

    names = ("torch", "onnxruntime", "numpy", "torch-pruning")
    return {
        "machine": f"{platform.machine()} {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }
