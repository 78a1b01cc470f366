"""A database that fails while a study runs: one sentence, from whichever library noticed."""

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError

from search.errors import RunFailedError
from search.store.database import explain, first_line, shown

DATABASE_ERRORS = (DBAPIError, StorageInternalError)
"""What a database that fails raises, by our store or by Optuna's."""


@contextmanager
def explained(url: str, kind: type[Exception] = RunFailedError) -> Iterator[None]:
    """Turn a failure of the database in the body into one sentence.

    Raises:
        RunFailedError: it went away, was locked for long, or its disk is full.
    """
    try:
        yield
    except DBAPIError as error:
        raise kind(f"{shown(url)}: {explain(error)}; what is stored is whole") from error
    except StorageInternalError as error:
        cause = error.__cause__
        told = explain(cause) if isinstance(cause, DBAPIError) else first_line(error)
        raise kind(f"{shown(url)}: {told}; what is stored is whole") from error
