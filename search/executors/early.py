"""A head start for worker processes: torch loads in their server while this process loads it too.

Kept free of everything heavy, since its use is to run before heavy imports.
"""

import multiprocessing
from multiprocessing import forkserver

PRELOAD = ["search.executors.warm"]
"""Imported by the server that workers are forked from: torch is loaded once, not per worker."""


def start_fork_server() -> None:
    """Start the server that workers are forked from, if it does not run yet."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()
