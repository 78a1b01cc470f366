"""A .csv file as columns: read whole, every mistake told by line and column."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

from objectives.tasks.task import TaskError

MISSING = {"", "?", "-", "na", "n/a", "nan", "null", "none"}
"""Spellings of a missing value, in lower case."""


class Column(NamedTuple):
    """One column of the file."""

    file: Path
    name: str
    cells: list[str]
    lines: list[int]
    """The line of each cell in the file, from 1."""

    def error(self, row: int, problem: str) -> TaskError:
        """What is wrong with a cell, and where it is."""
        return TaskError(f"{self.file} line {self.lines[row]}, column {self.name!r}: {problem}")


def read_columns(path: Path, separator: str) -> dict[str, Column]:
    """Name -> column of a file whose first line holds the names.

    Raises:
        TaskError: no such file, no rows, a name twice, or a row with more or fewer cells.
    """
    if not path.is_file():
        raise TaskError(f"csv: {path} does not exist; give the file as path")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not UTF-8 text ({error.reason}); save it so") from error
    except csv.Error as error:
        raise TaskError(f"{path} line {reader.line_num}: {error}; mend it") from error
    if len(rows) < 2:
        raise TaskError(
            f"{path} holds {len(rows)} line(s); names of columns, then rows, are needed"
        )
    names = [name.strip() for name in rows[0][1]]
    if len(names) == 1:
        raise TaskError(
            f"{path} has one column, {names[0][:60]!r}; give the character between columns as "
            "separator"
        )
    for name in names:
        if not name or names.count(name) > 1:
            raise TaskError(f"{path} line 1: the name {name!r} is empty or stands twice; mend it")
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise TaskError(
                f"{path} line {line} has {len(row)} cells where line 1 has {len(names)}; mend it"
            )
    lines = [line for line, _ in rows[1:]]
    return {
        name: Column(path, name, [row[index].strip() for _, row in rows[1:]], lines)
        for index, name in enumerate(names)
    }


def check_present(column: Column) -> None:
    """Every cell must hold a value.

    Raises:
        TaskError: one does not.
    """
    for row, cell in enumerate(column.cells):
        if cell.lower() in MISSING:
            raise column.error(
                row, f"the value is missing ({cell!r}); fill it in or remove the line"
            )


def numbers(column: Column) -> list[float] | None:
    """The column as finite numbers; None where most of it is other text.

    Raises:
        TaskError: a value is missing, or a few cells are not finite numbers.
    """
    check_present(column)
    values = [_number(cell) for cell in column.cells]
    readable = sum(value is not None for value in values)
    if 2 * readable <= len(values):
        return None
    found = []
    for row, value in enumerate(values):
        if value is None or not math.isfinite(value):
            raise column.error(
                row,
                f"{column.cells[row]!r} is not a number, as most of the column is; "
                "mend it, or name the column in ignore",
            )
        found.append(value)
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None
