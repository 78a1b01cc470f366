"""A database server that is away for a while: calls wait for it, and are made again."""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

AWAY_S = 300.0
"""How long a server may be away."""
PAUSE_S = 1.0
Result = TypeVar("Result")

_seen_away_at = -float("inf")


def patient(
    call: Callable[..., Result], written: Callable[..., list[Any]] | None = None
) -> Callable[..., Result]:
    """`call`, one transaction, again and again while the server is away.

    `written`: asked with the same arguments when a call that was cut off breaks a key the next
    time: [its result] if it turns out to have been committed, else []. SQLite's files are not
    waited for: there it is another writer that is in the way, and a lock has a time of its own.
    """

    @functools.wraps(call)
    def waiting(*arguments: Any, **options: Any) -> Any:
        global _seen_away_at  # of the process, as the server is
        until: float | None = None
        while True:
            try:
                return call(*arguments, **options)
            except Exception as error:
                if until is not None and written is not None and _is_integrity(error):
                    for result in written(*arguments, **options):
                        return result
                if not _is_away(error) or (until is not None and time.monotonic() > until):
                    raise
                _seen_away_at = time.monotonic()
                if until is None:
                    until = time.monotonic() + AWAY_S
                    print("paretune: the database is away; waiting for it", file=sys.stderr)
            time.sleep(PAUSE_S)

    return waiting


def away_within(seconds: float) -> bool:
    """Whether the server was away in so many last seconds: nobody could show signs of life."""
    return time.monotonic() - _seen_away_at < seconds


def _cause_of(error: BaseException) -> DBAPIError | None:
    """What the database said, which Optuna wraps; None of any other error."""
    found = error if isinstance(error, DBAPIError) else error.__cause__
    return found if isinstance(found, DBAPIError) else None


def _is_integrity(error: BaseException) -> bool:
    return isinstance(_cause_of(error), IntegrityError)


def _is_away(error: BaseException) -> bool:
    """Whether a connection was refused or cut off; a statement that fails is something else."""
    cause = _cause_of(error)
    if cause is None or "sqlite" in type(cause.orig).__module__:
        return False
    state = getattr(cause.orig, "sqlstate", None) or ""
    # class 08: no connection; 57P: the server shuts down or starts; no state: it never answered
    return cause.connection_invalidated or (
        isinstance(cause, OperationalError) and (not state or state.startswith(("08", "57P")))
    )
