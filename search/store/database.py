"""Opening a database: the right file, tables and version, or one clear line why not."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from search.errors import InputError
from search.store.schema import VERSION_TABLE

HEAD = "0001"
"""Our newest schema version; the last file of `migrations/versions`."""
BUSY_TIMEOUT_S = 30
"""How long a statement waits for another writer of a SQLite file."""
OPEN_TIMEOUT_S = 5
"""The same while opening: a database that is locked that long is locked for good."""


def engine_options(url: str, timeout_s: int = BUSY_TIMEOUT_S) -> dict[str, Any]:
    """Keyword arguments of `create_engine` for `url`."""
    if make_url(url).get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": timeout_s}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}


def open_database(url: str, *, create: bool) -> Engine:
    """An engine on a database that holds our tables at our version.

    `create`: make the file, the tables and missing versions; else the database must be there.

    Raises:
        InputError: it is missing, locked, read-only, unreachable, not ours, or newer than we are.
    """
    try:
        backend = make_url(url).get_backend_name()
        if backend == "sqlite":
            _check_file(url, create)
        _probe(url, create)
        engine = create_engine(url, **engine_options(url))
        if backend == "sqlite":
            _tune_sqlite(engine)
        with engine.connect() as connection:
            _check_contents(connection, url, create)
        if create:
            with engine.begin() as connection:
                migrate(connection)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"{shown(url)}: not a database that can be used: {first_line(error)}"
        ) from error
    except DBAPIError as error:
        raise InputError(f"{shown(url)}: {explain(error)}") from error
    return engine


def migrate(connection: Connection) -> None:
    """Bring our tables to `HEAD`; Optuna's are not touched."""
    if _version(connection) == HEAD:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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
    """Find out now whether the database can be read, and written if it must be."""
    engine = create_engine(url, **engine_options(url, OPEN_TIMEOUT_S))
    existed = (
        make_url(url).get_backend_name() != "sqlite" or Path(str(make_url(url).database)).exists()
    )
    with engine.connect() as connection:
        if create and existed and engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql("PRAGMA user_version = 0")
            connection.rollback()
        elif existed:
            connection.execute(text("SELECT 1"))
    engine.dispose()


def _tune_sqlite(engine: Engine) -> None:
    """WAL lets readers (the dashboard) and the one writer work at the same time."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # NORMAL keeps every commit through a crash of the process; power loss may cost the last
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()


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


def shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


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
