"""A head start for worker processes: torch loads in their server while this process loads it too.

Kept free of everything heavy, since its use is to run before heavy imports.
"""

import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker

PRELOAD = ["search.executors.warm"]
"""Imported by the server that workers are forked from: torch is loaded once, not per worker."""


def start_fork_server() -> None:
    """Start the server that workers are forked from, if it does not run yet."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    resource_tracker.ensure_running()  # starting it would unblock the signal
    # the server inherits the mask: Ctrl-C reaches the whole group, but is the driver's to handle
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
