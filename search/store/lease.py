"""Whether a run lives, and what it ran with."""

import platform
import socket
import time
from typing import Any

import psutil
from sqlalchemy import Connection, extract, func, select

LEASE_S = 60
"""A run elsewhere that has not shown signs of life for so long is taken for dead."""


def clock(connection: Connection) -> float:
    """Unix seconds of the database server, one clock for all machines that use it."""
    if connection.dialect.name == "sqlite":  # a file: who writes it is its server
        return time.time()
    return float(connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())


def alive(row: Any, now: float) -> bool:
    """Whether a run that has not ended still lives: by its process here, by its lease elsewhere.

    A process of the same number that began after the run is another one (a reboot, a container).
    `now`: by the `clock` that leases are written with.
    """
    if row.host != socket.gethostname():
        return bool(now - row.heartbeat_at < LEASE_S)
    try:
        process = psutil.Process(row.pid)
        begun, ended = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
        return bool(begun <= row.started_at and not ended)
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
