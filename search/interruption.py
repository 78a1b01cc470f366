"""Ctrl-C and SIGTERM: raised as KeyboardInterrupt, and remembered until somebody has acted.

A library can swallow what is raised at a bad moment: in a finaliser, in a callback from C, in code
that it runs while it loads. So whoever has finished something long asks again.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_seen = False


@contextmanager
def watched() -> Iterator[None]:
    """Within; one that the parent process ignores (`nohup`) stays ignored.

    Afterwards everything is as it was: a notebook goes on after a command that was interrupted.
    """
    global _seen
    _seen = False
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _remember)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _quiet
    try:
        yield
    finally:
        _seen = False
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python, which cannot set it again
                signal.signal(number, handler)


def act() -> None:
    """Raise what somebody has swallowed.

    Raises:
        KeyboardInterrupt: there was a signal.
    """
    if _seen:
        raise KeyboardInterrupt


def _remember(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt


def _quiet(unraisable: Any) -> None:
    """No traceback of an interruption that met a finaliser."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
