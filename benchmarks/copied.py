"""A database as another server's: python -m benchmarks.copied FROM TO.

All rows of our tables and of Optuna's, for benchmarks that read what took long to make.
"""

import sys
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage

from search.store.database import open_database

ROWS = 2000
"""Written at a time."""


def copied(source: str, target: str) -> int:
    """Copy all rows into a database that holds none; returns how many."""
    RDBStorage(target)  # makes Optuna's tables
    open_database(target, create=True).dispose()
    old, new = sa.create_engine(source), sa.create_engine(target)
    there, here = sa.MetaData(), sa.MetaData()
    there.reflect(old)
    here.reflect(new)
    count = 0
    with old.connect() as reader, new.begin() as writer:
        for table in reversed(here.sorted_tables):
            writer.execute(table.delete())  # versions of the schema
        for table in here.sorted_tables:
            if table.name not in there.tables:
                continue
            for rows in _chunks(reader.execute(sa.select(there.tables[table.name]))):
                writer.execute(table.insert(), rows)
                count += len(rows)
            _go_on_after(writer, table)
    old.dispose()
    new.dispose()
    return count


def _chunks(result: sa.CursorResult[Any]) -> Iterator[list[dict[str, Any]]]:
    for rows in result.mappings().partitions(ROWS):
        yield [dict(row) for row in rows]


def _go_on_after(writer: sa.Connection, table: sa.Table) -> None:
    """Let numbers that the server gives begin after those that were copied."""
    if writer.dialect.name != "postgresql":
        return
    for column in table.primary_key:
        sequence = writer.execute(
            sa.select(sa.func.pg_get_serial_sequence(table.name, column.name))
        ).scalar()
        highest = writer.execute(sa.select(sa.func.max(column))).scalar()
        if sequence and highest:
            writer.execute(sa.select(sa.func.setval(sequence, highest)))


if __name__ == "__main__":
    print(copied(*sys.argv[1:]), "rows")
