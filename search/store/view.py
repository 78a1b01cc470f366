"""Reading a study: what `front`, `report` and `export` need, without torch or Optuna."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, func, select

from objectives.measurement import Direction, Measurement
from search.address import read_study_address
from search.drift import flagged, readings_of
from search.errors import InputError, nearest
from search.evaluation import Status
from search.pareto import Array, Scale
from search.store import schema
from search.store.database import open_database
from search.store.stored import Stored
from spaces.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class ObjectiveView:
    """An objective as the study stored it."""

    name: str
    unit: str
    direction: Direction
    limit: float | None


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """A candidate of the study and how it ended (or where it stands)."""

    number: int
    candidate: Candidate
    status: Status
    reason: str
    measurements: Mapping[str, Measurement]
    curve: tuple[tuple[int, Measurement], ...]
    """(epochs, score) at every rung it reached; before compression but at the last."""
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class FrontView:
    """A front in the study's history."""

    trial: int
    at: float
    hypervolume: float
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """A study as it stands in the database."""

    name: str
    created_at: float
    objectives: tuple[ObjectiveView, ...]
    scale: Scale | None
    plan: Mapping[str, Any]
    trials: tuple[TrialView, ...]
    """Repeats are left out."""
    num_repeats: int
    fronts: tuple[FrontView, ...]
    runs: tuple[Mapping[str, Any], ...]
    confirmations: Mapping[int, Mapping[int, Mapping[str, Measurement]]] = field(
        default_factory=dict
    )
    """Trial -> seed -> objective -> what a training anew was worth; scores of the test split."""

    task: str = ""
    """Hash of the task and its data: equal ones ask for the same."""
    prices: Mapping[str, Mapping[str, Measurement]] = field(default_factory=dict)
    """Recipe (see `recipe`) -> costs, of every candidate of the study that was priced."""

    def price_of(self, candidate: Candidate) -> Mapping[str, Measurement] | None:
        """Costs of a candidate, whatever its training, if its recipe was priced."""
        return self.prices.get(recipe(candidate))

    @property
    def chosen(self) -> frozenset[str]:
        """Options that the study file mentions; see `chosen_options`."""
        return chosen_options(self.runs[-1]["spec"]) if self.runs else frozenset()

    @property
    def members(self) -> tuple[TrialView, ...]:
        """The members of the newest front, by the last objective."""
        numbers = set(self.fronts[-1].members) if self.fronts else set()
        found = [trial for trial in self.trials if trial.number in numbers]
        last = self.objectives[-1].name
        return tuple(sorted(found, key=lambda trial: trial.measurements[last].value))

    def values(self, trials: tuple[TrialView, ...]) -> Array:
        """(n, m) values of fully measured trials, in natural sign."""
        rows = [[t.measurements[o.name].value for o in self.objectives] for t in trials]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.objectives))

    def objective(self, name: str) -> ObjectiveView:
        """The objective of a name.

        Raises:
            InputError: the study measures none of this name.
        """
        known = {objective.name: objective for objective in self.objectives}
        if name not in known:
            raise InputError(
                f"{name!r} is not measured by study {self.name!r}; {nearest(name, known)}"
            )
        return known[name]


def recipe(candidate: Candidate) -> str:
    """What costs depend on within one study: architecture and compression."""
    return candidate.recipe_key("")


def chosen_options(raw: Mapping[str, Any]) -> frozenset[str]:
    """Dotted names of the options of parts that a study file mentions, such as `prune.ratio`."""
    space = raw.get("space", {})
    sections = [space.get("architecture"), space.get("compression")]
    parts = [p for raw in sections for p in (raw if isinstance(raw, list) else [raw])]
    named = {name: o for part in parts if isinstance(part, dict) for name, o in part.items()}
    named |= {section: space.get(section) for section in ("training", "augmentation")}
    return frozenset(
        f"{part}.{option}"
        for part, options in named.items()
        if isinstance(options, dict)
        for option in options
    )


def read_view(engine: Engine, name: str, *, whole: bool = True) -> StudyView:
    """The study `name` of a database.

    Without `whole`, if there is a front: of all trials and fronts only the newest front's, and no
    prices. That takes as long for a hundred thousand candidates as for a hundred.

    Raises:
        InputError: there is no such study.
    """
    with engine.connect() as connection:
        _check_there(connection, name)
        row = connection.execute(select(schema.studies).where(schema.studies.c.name == name)).one()
        runs = connection.execute(
            select(schema.runs).where(schema.runs.c.study == name).order_by(schema.runs.c.id)
        ).mappings()
        run_rows = tuple(dict(run) for run in runs)
        fronts = _fronts(connection, name, newest=not whole)
    stored = Stored(engine, name)
    partial = bool(fronts) and not whole
    trials = stored.trials(fronts[-1].members if partial else None)
    priced = [] if partial else stored.priced()
    confirmations = stored.confirmations()
    again = (found for rounds in confirmations.values() for found in rounds.values())
    readings = [*stored.readings(), *readings_of(again)]
    return StudyView(
        name=name,
        created_at=row.created_at,
        objectives=tuple(ObjectiveView(**objective) for objective in row.objectives),
        scale=Scale(**row.scale) if row.scale else None,
        plan=row.plan or {},
        trials=tuple(_trial(trial, readings) for trial in trials if trial.repeats is None),
        num_repeats=sum(trial.repeats is not None for trial in trials),
        fronts=fronts,
        runs=run_rows,
        task=row.definition["task"],
        prices={recipe(each): flagged(costs, readings) for each, costs in priced},
        confirmations={
            trial: {seed: flagged(found, readings) for seed, found in rounds.items()}
            for trial, rounds in confirmations.items()
        },
    )


def state_of(engine: Engine, name: str) -> str:
    """What changes whenever a reader of the study would see something else.

    Raises:
        InputError: there is no such study.
    """
    evaluations, runs, trials = schema.evaluations, schema.runs, schema.trials
    with engine.connect() as connection:
        _check_there(connection, name)
        newest = connection.execute(
            select(func.max(evaluations.c.id)).where(evaluations.c.study == name)
        ).scalar()
        number = connection.execute(
            select(func.max(trials.c.number)).where(trials.c.study == name)
        ).scalar()
        ended = connection.execute(
            select(func.count(runs.c.id), func.count(runs.c.ended_at)).where(runs.c.study == name)
        ).one()
        confirmed = connection.execute(
            select(func.count()).where(schema.confirmations.c.study == name)
        ).scalar()
    return "-".join(map(str, (newest or 0, number or 0, confirmed, *ended)))


def _check_there(connection: Connection, name: str) -> None:
    """Raises InputError if there is no such study."""
    studies = connection.execute(select(schema.studies.c.name)).scalars().all()
    if name not in studies:
        raise InputError(f"the database holds no study {name!r}; {nearest(name, studies)}")


def _trial(stored: Any, readings: list[float]) -> TrialView:
    evaluations = stored.evaluations
    last = evaluations[-1] if evaluations else None
    scores = [
        (e.rung, next(iter(e.measurements.values())))
        for e in evaluations
        if e.rung > 0 and e.measurements
    ]
    seconds: dict[str, float] = {}
    for evaluation in evaluations:
        for stage, spent in evaluation.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    return TrialView(
        number=stored.number,
        candidate=stored.candidate,
        status=last.status if last else "priced",
        reason=last.reason if last else "",
        measurements=flagged(
            {k: m for e in evaluations for k, m in e.measurements.items()}, readings
        ),
        curve=tuple(scores),
        seconds=seconds,
    )


def _fronts(connection: Connection, name: str, *, newest: bool) -> tuple[FrontView, ...]:
    fronts, members = schema.fronts, schema.front_members
    wanted = [fronts.c.study == name]
    if newest:
        last = select(func.max(fronts.c.id)).where(fronts.c.study == name)
        wanted.append(fronts.c.id == last.scalar_subquery())
    query = (
        select(fronts, members.c.trial.label("member"))
        .join(members, members.c.front == fronts.c.id)
        .where(*wanted)
        .order_by(fronts.c.id, members.c.trial)
    )
    return tuple(
        FrontView(
            trial=front[0].trial,
            at=front[0].at,
            hypervolume=front[0].hypervolume,
            members=tuple(row.member for row in front),
        )
        for _, rows in groupby(connection.execute(query), key=lambda row: row.id)
        if (front := list(rows))
    )


def view_of(study: str, storage: str | None, *, whole: bool = True) -> StudyView:
    """A study by its file, or by name where `storage` gives the database; see `read_view`.

    Raises:
        InputError: no such file, database or study.
    """
    url, name = storage, study
    if url is None:
        name, url, _ = read_study_address(study)
    engine = open_database(url, create=False)
    try:
        return read_view(engine, name, whole=whole)
    finally:
        engine.dispose()
