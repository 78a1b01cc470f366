"""What a database says of a study, read by plain SQL, and its fronts computed a second way."""

import itertools
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FINAL = {"done", "infeasible", "hopeless", "stopped", "unbuildable", "failed"}
FrontRow = tuple[int, float, tuple[int, ...]]
"""(after which trial, hypervolume, members)."""


@dataclass(frozen=True)
class Row:
    """One evaluation with its measurements, in the order in which it was written."""

    id: int
    trial: int
    rung: int
    status: str
    reason: str
    candidate: str
    run: int
    values: Mapping[str, float]


def select(database: Path, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Rows of a query, seen beside whoever writes."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        return connection.execute(query, arguments).fetchall()


def evaluations(database: Path, study: str = "small") -> list[Row]:
    """Evaluations of the study's trials, those of the plan left out."""
    measured: dict[int, dict[str, float]] = {}
    for evaluation, objective, value in select(
        database, "select evaluation, objective, value from paretune_measurements"
    ):
        measured.setdefault(evaluation, {})[objective] = value
    query = (
        "select id, trial, rung, status, reason, candidate, run from paretune_evaluations"
        " where study = ? and trial is not null order by id"
    )
    return [Row(*row, measured.get(row[0], {})) for row in select(database, query, study)]


def by_trial(database: Path, study: str = "small") -> dict[int, list[Row]]:
    """Trial -> its evaluations by rung."""
    found: dict[int, list[Row]] = {}
    for row in sorted(evaluations(database, study), key=lambda row: (row.trial, row.rung)):
        found.setdefault(row.trial, []).append(row)
    return found


def repeats(database: Path, study: str = "small") -> dict[int, int | None]:
    """Trial -> the trial that it repeats, None for a candidate of its own."""
    query = "select number, repeats from paretune_trials where study = ? order by number"
    return dict(select(database, query, study))


def origins(database: Path, study: str = "small") -> dict[int, int]:
    """Trial -> the trial whose result it has: its own, or that which it repeats."""
    return {n: n if first is None else first for n, first in repeats(database, study).items()}


def fronts(database: Path, study: str = "small") -> list[FrontRow]:
    """The history of fronts as stored."""
    found = []
    query = "select id, trial, hypervolume from paretune_fronts where study = ? order by id"
    for front, trial, volume in select(database, query, study):
        members = select(
            database,
            "select trial from paretune_front_members where front = ? order by trial",
            front,
        )
        found.append((trial, volume, tuple(member for (member,) in members)))
    return found


def recomputed_fronts(database: Path, study: str = "small") -> Iterator[FrontRow]:
    """The history of fronts from all evaluations: pairwise dominance, volume by cells."""
    (objectives, scale), *_ = (
        map(json.loads, row)
        for row in select(
            database, "select objectives, scale from paretune_studies where name = ?", study
        )
    )
    known: dict[int, dict[str, float]] = {}
    scored: list[int] = []
    last: tuple[int, ...] = ()
    for row in evaluations(database, study):
        known.setdefault(row.trial, {}).update(row.values)
        if row.status != "done" or not _within(known[row.trial], objectives):
            continue
        scored.append(row.trial)
        losses = {n: _losses(known[n], objectives) for n in scored}
        members = tuple(sorted(n for n in scored if not _dominated(losses[n], losses.values())))
        if members != last:
            units = [_unit_losses(known[n], objectives, scale) for n in members]
            last = members
            yield row.trial, volume_by_cells(units), members


def _within(values: Mapping[str, float], objectives: Sequence[Mapping[str, Any]]) -> bool:
    for objective in objectives:
        value, limit = values[objective["name"]], objective["limit"]
        if limit is not None:
            minimised = objective["direction"] == "minimize"
            if value > limit if minimised else value < limit:
                return False
    return True


def _losses(values: Mapping[str, float], objectives: Sequence[Mapping[str, Any]]) -> list[float]:
    return [
        values[o["name"]] if o["direction"] == "minimize" else -values[o["name"]]
        for o in objectives
    ]


def _dominated(point: Sequence[float], others: Any) -> bool:
    return any(
        all(a <= b for a, b in zip(other, point, strict=True)) and list(other) != list(point)
        for other in others
    )


def _unit_losses(
    values: Mapping[str, float], objectives: Sequence[Mapping[str, Any]], scale: Mapping[str, Any]
) -> list[float]:
    """0 at the ideal, 1 at the reference, costs on a log scale."""
    point = []
    for objective in objectives:
        name = objective["name"]
        value, ideal, worst = values[name], scale["ideal"][name], scale["reference"][name]
        if scale["log"][name]:
            value, ideal, worst = math.log(value), math.log(ideal), math.log(worst)
        point.append(max(0.0, (value - ideal) / (worst - ideal)))
    return point


def volume_by_cells(points: Sequence[Sequence[float]]) -> float:
    """Volume of the unit box that points dominate: the sum of the grid's cells that one covers."""
    inside = [point for point in points if all(x < 1 for x in point)]
    if not inside:
        return 0.0
    axes = [sorted({*column, 1.0}) for column in zip(*inside, strict=True)]
    total = 0.0
    for cell in itertools.product(*(itertools.pairwise(axis) for axis in axes)):
        corner = [low for low, _ in cell]
        if any(all(x <= c for x, c in zip(point, corner, strict=True)) for point in inside):
            total += math.prod(high - low for low, high in cell)
    return total


def files(artifacts: Path) -> set[str]:
    """Names of the checkpoints and weights in an artifact folder, half-written ones included."""
    return {
        path.name
        for path in artifacts.iterdir()
        if path.name.startswith(("checkpoint-", "weights-"))
    }


def known_files(database: Path) -> set[str]:
    """Names of the files that the database refers to."""
    return {name for (name,) in select(database, "select artifact from paretune_checkpoints")}
