"""The user's own table: a .csv file whose columns are inputs and targets."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.csv_file import Column, check_present, numbers, read_columns
from objectives.tasks.metrics import ACCURACY, MACRO_F1, NMSE, RMSE, in_unit
from objectives.tasks.splitting import SHARES, by_group, columns_mean_std, in_time, shuffled
from objectives.tasks.task import (
    Metric,
    Split,
    Splits,
    TaskError,
    cross_entropy,
    load,
    squared_error,
    stratified,
)

FEW = 20
"""Whole numbers of up to so many different values are taken for classes."""

Floats = NDArray[np.float64]
Rows = tuple[NDArray[np.int64], ...]
Names = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Table:
    """A .csv file with names in its first line; 70 / 15 / 15% train, validation, test.

    Inputs are (N, columns) float32: numbers as they are, a text column as one 0 or 1 for each
    text that the training part has. The target is a class or a number, or several numbers.
    """

    path: str
    """The file; relative paths start where the command is given."""
    target: Names
    """The column to answer, or several columns of numbers."""
    kind: Literal["classes", "numbers"] | None = None
    """What the target is; default classes for text and for up to 20 different whole numbers."""
    judged_by: Literal["accuracy", "macro_f1", "rmse", "nmse"] | None = None
    """The metric; default accuracy for classes, rmse for a number, nmse for several."""
    unit: Annotated[str, Field(pattern=r"^[^\s0-9.]*$")] = ""
    """Unit of the target, in which an rmse is told."""
    ignore: tuple[str, ...] = ()
    """Columns that are not inputs, such as row numbers and names."""
    group: str | None = None
    """A column (not an input) whose equal values stay in one part, such as a patient."""
    time: str | None = None
    """A column of numbers (not an input) to split by: the last 15% test, those before validate."""
    categories: int = Field(default=32, ge=2)
    """Different values that a text column among the inputs may have."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between columns."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """By the kind of the target, which the data tells where `kind` does not."""
        name = self.judged_by
        if not load(self).classes:
            name = name or ("rmse" if isinstance(self.target, str) else "nmse")
            numeric = RMSE if name == "rmse" else NMSE
            return in_unit(numeric, self.unit if name == "rmse" else "ratio", lambda: load(self))
        return MACRO_F1 if name == "macro_f1" else ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy of classes, squared error of standardised numbers."""
        if load(self).classes:
            return cross_entropy(outputs, targets)
        return squared_error(load(self), outputs, targets)

    def splits(self) -> Splits:
        """Read the file whole; only the training part decides on texts and scales."""
        columns = read_columns(Path(self.path).expanduser(), self.separator)
        self._check_names(columns)
        classes, targets = self._targets(columns)
        rows = self._rows(columns, targets if classes else None)
        unused = {*self._target_names(), *self.ignore, self.group, self.time}
        inputs = [
            part
            for name, column in columns.items()
            if name not in unused
            for part in _as_inputs(column, rows[0], self.categories)
        ]
        if not inputs:
            raise TaskError(f"csv: {self.path} has no column left as an input")
        values = np.stack(inputs, axis=1).astype(np.float32)
        train, validation, test = (
            Split(inputs=torch.from_numpy(values[part]), targets=torch.from_numpy(targets[part]))
            for part in rows
        )
        self._check_parts(train, validation, test, classes)
        mean, std = columns_mean_std(train.inputs)
        target_mean, target_std = ((), ()) if classes else columns_mean_std(train.targets)
        return Splits(
            train=train,
            validation=validation,
            test=test,
            outputs=len(classes) or targets.shape[1],
            classes=classes,
            mean=mean,
            std=std,
            target_mean=target_mean,
            target_std=target_std,
        )

    def _target_names(self) -> tuple[str, ...]:
        return (self.target,) if isinstance(self.target, str) else self.target

    def _check_names(self, columns: dict[str, Column]) -> None:
        places = {"target": self._target_names(), "ignore": self.ignore}
        places |= {"group": (self.group,) if self.group else ()}
        places |= {"time": (self.time,) if self.time else ()}
        for place, names in places.items():
            for name in names:
                if name not in columns:
                    raise TaskError(
                        f"csv: {place}: {self.path} has no column {name!r}; "
                        f"it has {', '.join(columns)}"
                    )
        if not self._target_names():
            raise TaskError("csv: target names no column; give at least one")
        if self.group and self.time:
            raise TaskError("csv: group and time cannot both decide the split; give one")

    def _targets(
        self, columns: dict[str, Column]
    ) -> tuple[tuple[str, ...], NDArray[np.int64] | NDArray[np.float32]]:
        """(classes, their numbers (N,)), or ((), values (N, K))."""
        names = self._target_names()
        first = columns[names[0]]
        if len(names) == 1 and self._is_class(first):
            classes = _classes(first)
            self._check_metric(("accuracy", "macro_f1"), "classes")
            return classes, np.array([classes.index(cell) for cell in first.cells])
        self._check_metric(("rmse", "nmse"), "numbers")
        return (), np.stack([_values(columns[name]) for name in names], 1).astype(np.float32)

    def _is_class(self, column: Column) -> bool:
        if self.kind is not None:
            return self.kind == "classes"
        values = numbers(column)
        if values is None:
            return True
        return len(set(values)) <= FEW and all(value == round(value) for value in values)

    def _check_metric(self, fitting: tuple[str, ...], kind: str) -> None:
        if self.judged_by is not None and self.judged_by not in fitting:
            raise TaskError(
                f"csv: judged_by: {self.judged_by} does not judge {kind}, which {self.target!r} "
                f"is; choose {' or '.join(fitting)}, or set kind"
            )

    def _rows(self, columns: dict[str, Column], labels: NDArray[np.generic] | None) -> Rows:
        """Positions of train, validation and test."""
        count = len(columns[self._target_names()[0]].cells)
        if self.time is not None:
            order = np.argsort(_values(columns[self.time]), kind="stable")
            return tuple(order[part] for part in in_time(count, SHARES))
        if self.group is not None:
            check_present(columns[self.group])
            groups = np.array(columns[self.group].cells)
            return by_group(groups, shuffled(len(set(groups)), SHARES, self.split_seed))
        if labels is not None:
            return stratified(labels.astype(np.int64), SHARES, self.split_seed)
        return shuffled(count, SHARES, self.split_seed)

    def _check_parts(
        self, train: Split, validation: Split, test: Split, classes: tuple[str, ...]
    ) -> None:
        """Each part must have something to answer, and train every class."""
        for name, part in (("train", train), ("validation", validation), ("test", test)):
            if len(part) < 2:
                raise TaskError(
                    f"csv: {self.path} leaves {len(part)} row(s) to {name}; add rows or groups"
                )
            if not classes and bool((part.targets == part.targets[0]).all(0).any()):
                raise TaskError(
                    f"csv: {self.path}: a target never changes in the {name} part; add rows"
                )
        known = set(train.targets.tolist()) if classes else set()
        for number, name in enumerate(classes):
            if number not in known:
                raise TaskError(
                    f"csv: {self.path}: no row of class {name!r} is in the training part; "
                    "add rows or split otherwise"
                )


def _classes(column: Column) -> tuple[str, ...]:
    """The different cells, numbers by value, texts by alphabet."""
    check_present(column)
    found = sorted(set(column.cells))
    if len(found) < 2:
        raise column.error(0, f"every row is {found[0]!r}; a target needs at least 2 classes")
    for name in found:
        if column.cells.count(name) < 3:
            row = column.cells.index(name)
            raise column.error(
                row, f"class {name!r} has fewer than 3 rows; add some, or remove it"
            )
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(found)


def _values(column: Column) -> Floats:
    """The column as numbers; text is refused."""
    values = numbers(column)
    if values is None:
        raise column.error(0, f"{column.cells[0]!r} is not a number; name a column of numbers")
    found = np.array(values)
    if (found == found[0]).all():
        raise column.error(0, f"every row is {column.cells[0]!r}; there is nothing to learn")
    return found


def _as_inputs(column: Column, train: NDArray[np.int64], limit: int) -> list[Floats]:
    """A column of numbers as it is; one of text as a 0 or 1 for each text that train has."""
    values = numbers(column)
    if values is not None:
        return [np.array(values)]
    count = len(set(column.cells))
    if count > limit:
        raise column.error(
            0,
            f"{count} different texts are more than {limit}; "
            f"name {column.name!r} in ignore, or raise categories",
        )
    cells = np.array(column.cells)
    return [(cells == text).astype(float) for text in np.unique(cells[train])]
