"""Opening a database: the right file, tables and version, or one clear line why not."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from search.errors import InputError
from search.store.schema import VERSION_TABLE

HEAD = "0003"
"""Our newest schema version; the last file of `migrations/versions`."""
BUSY_TIMEOUT_S = 30
"""How long a statement waits for another writer of a SQLite file."""
OPEN_TIMEOUT_S = 5
"""The same while opening: a database that is locked that long is locked for good."""
_LOCK_NUMBER = 7270_8863
"""Of the advisory lock that a PostgreSQL server holds while our tables are created: any number."""


def engine_options(url: str, timeout_s: int = BUSY_TIMEOUT_S) -> dict[str, Any]:
    """Keyword arguments of `create_engine` for `url`."""
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": timeout_s}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": min(timeout_s, 10)}}


def open_database(url: str, *, create: bool) -> Engine:
    """An engine on a database that holds our tables at our version.

    `create`: make the file, the tables and missing versions; else the database must be there.

    Raises:
        InputError: it is missing, locked, read-only, unreachable, not ours, or newer than we are.
    """
    try:
        if _parsed(url).get_backend_name() == "sqlite":
            _check_file(url, create)
        _probe(url, create)
        engine = create_engine(url, **engine_options(url))
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine)
        if create:
            _create_tables(engine)
    except (NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"{shown(url)}: not a database that can be used: {first_line(error)}"
        ) from error
    except DBAPIError as error:
        raise InputError(f"{shown(url)}: {explain(error)}") from error
    return engine


def _create_tables(engine: Engine) -> None:
    try:
        with engine.begin() as connection:
            migrate(connection)
    except BaseException:
        engine.dispose()
        raise


def migrate(connection: Connection, version: str = HEAD) -> None:
    """Bring our tables up to `version`, all of them or none; Optuna's are not touched."""
    if _version(connection) == version:
        return
    _lock(connection)
    if _version(connection) == version:  # by somebody else in the meantime
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def _lock(connection: Connection) -> None:
    """Let nobody else create tables until this transaction ends."""
    if connection.dialect.name == "sqlite":
        # without a BEGIN of ours, sqlite3 commits every CREATE TABLE by itself (Python 3.11)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})")


def _check_file(url: str, create: bool) -> None:
    name = make_url(url).database
    if not name or name == ":memory:":
        raise InputError(f"{url}: a study needs a file; write sqlite:///paretune.db")
    path = Path(name)
    if path.is_dir():
        raise InputError(f"{url}: {path} is a folder; name a file in it")
    if not path.exists() and not create:
        raise InputError(f"{url}: there is no database {path} yet; run the study first")
    if not path.parent.is_dir():
        raise InputError(f"{url}: folder {path.parent} does not exist; create it")


def _probe(url: str, create: bool) -> None:
    """Find out, without changing it, whether the database can be read, written, and is ours."""
    engine = create_engine(url, **engine_options(url, OPEN_TIMEOUT_S))
    try:
        with engine.connect() as connection:
            if create and engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                connection.exec_driver_sql("PRAGMA user_version = 0")
                connection.rollback()
            _check_contents(connection, url, create)
    finally:
        engine.dispose()


def _tune_sqlite(engine: Engine) -> None:
    """WAL lets readers (the dashboard) and the one writer work at the same time."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        _use_wal(cursor)
        # NORMAL keeps every commit through a crash of the process; power loss may cost the last
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch the file to WAL, once for all; SQLite does not wait for others here, so we do."""
    end = time.monotonic() + OPEN_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _check_contents(connection: Connection, url: str, create: bool) -> None:
    tables = set(inspect(connection).get_table_names())
    version = _version(connection) if VERSION_TABLE in tables else None
    if version is not None and version > HEAD:
        raise InputError(
            f"{shown(url)}: written by a newer paretune (schema {version}, this one knows "
            f"{HEAD}); upgrade paretune"
        )
    if version is None and tables and "version_info" not in tables:
        raise InputError(
            f"{shown(url)}: holds tables of something else ({', '.join(sorted(tables)[:3])}); "
            "name another database"
        )
    if version is None and not create:
        raise InputError(f"{shown(url)}: holds no study of paretune; run one first")


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is not a number
        raise InputError(
            f"{shown(url)}: not a database that can be used: {first_line(error)}"
        ) from error


def shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return re.sub(r"(//[^:/@]*):.*@", r"\1:***@", url)


@contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn a failure of the database in the body into one sentence.

    Raises:
        InputError: it cannot be read.
    """
    try:
        yield
    except DBAPIError as error:
        raise InputError(f"{shown(url)}: {explain(error)}") from error


def explain(error: DBAPIError) -> str:
    """What a database's message means for the user."""
    reason = first_line(error.orig or error)
    remedies = {
        "locked": "is locked by another program; close it and try again",
        "readonly": "is read-only; make the file and its folder writable",
        "read-only": "is read-only; make the file and its folder writable",
        "not a database": "is not a SQLite database; name another file",
        "disk is full": "is on a full disk; make room and give the same command again",
        "unable to open": "cannot be opened; check the folder's permissions",
        "malformed": "is damaged; restore a copy",
        "password": "refused the user or the password; check the URL",
    }
    for symptom, remedy in remedies.items():
        if symptom in reason.lower():
            return f"{remedy} ({reason})"
    return f"cannot be reached: {reason}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
