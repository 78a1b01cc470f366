"""Two studies of one question: whether their fronts may be compared, and what comes of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.errors import InputError
from search.evaluation import worked_s
from search.members import best
from search.pareto import Scale, hypervolume, losses, non_dominated
from search.store.view import StudyView, TrialView

OWN = frozenset({"precision"})
"""Conditions that a candidate chooses; all others must be the same on both sides."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two studies, as it stands beside the other."""

    view: StudyView
    hypervolume: float
    """Of its front in the box of both."""
    beaten: tuple[int, ...]
    """Members that one of the other's is at least as good as in everything and better in some."""
    best: TrialView
    """Its best score."""

    @property
    def done(self) -> int:
        """Candidates trained to the end."""
        return sum(trial.status == "done" for trial in self.view.trials)

    @property
    def worked_s(self) -> float:
        """Seconds that workers spent on candidates."""
        return sum(worked_s(trial.seconds) for trial in self.view.trials)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two fronts are to each other."""

    sides: tuple[Side, Side]
    box: Scale
    """In which hypervolume counts: from the better ideal to the worse reference of the two."""
    together: tuple[tuple[StudyView, TrialView], ...]
    """The front of both, in the order of the last objective."""


def compare(one: StudyView, other: StudyView) -> Comparison:
    """Set two fronts side by side.

    Raises:
        InputError: they do not answer the same question, or were not measured alike.
    """
    _check(one, other)
    views = (one, other)
    names = [objective.name for objective in one.objectives]
    directions = [objective.direction for objective in one.objectives]
    box = _box(one, other)
    values = [_values(view, names) for view in views]
    points = [losses(each, directions) for each in values]
    sides = [
        Side(
            view=view,
            hypervolume=hypervolume(box.unit_losses(values[place], names)),
            beaten=tuple(
                member.number
                for member, point in zip(view.members, points[place], strict=True)
                if _beaten(point, points[1 - place])
            ),
            best=best(view, view.members),
        )
        for place, view in enumerate(views)
    ]
    everyone = [(view, member) for view in views for member in view.members]
    kept = non_dominated(np.concatenate(points))
    front = [each for each, keep in zip(everyone, kept, strict=True) if keep]
    front.sort(key=lambda each: each[1].measurements[names[-1]].value)
    return Comparison(sides=(sides[0], sides[1]), box=box, together=tuple(front))


def _values(view: StudyView, names: Sequence[str]) -> Any:
    """(members, objectives), in the order of `names`."""
    rows = [[member.measurements[name].value for name in names] for member in view.members]
    return np.array(rows, dtype=np.float64)


def _beaten(point: Any, others: Any) -> bool:
    return bool(((others <= point).all(1) & (others < point).any(1)).any())


def _box(one: StudyView, other: StudyView) -> Scale:
    assert one.scale is not None
    assert other.scale is not None
    scales = (one.scale, other.scale)
    better = {o.name: min if o.direction == "minimize" else max for o in one.objectives}
    worse = {o.name: max if o.direction == "minimize" else min for o in one.objectives}
    return Scale(
        ideal={name: of(s.ideal[name] for s in scales) for name, of in better.items()},
        reference={name: of(s.reference[name] for s in scales) for name, of in worse.items()},
        log=one.scale.log,
    )


def _check(one: StudyView, other: StudyView) -> None:
    """Raises InputError where a comparison would say nothing."""
    between = f"{one.name!r} and {other.name!r} cannot be compared"
    sought = [{(o.name, o.unit, o.direction) for o in view.objectives} for view in (one, other)]
    if sought[0] != sought[1]:
        told = " and ".join(", ".join(o.name for o in v.objectives) for v in (one, other))
        raise InputError(f"{between}: their objectives are {told}")
    if one.task != other.task:
        raise InputError(f"{between}: their tasks, or the data of these, are not the same")
    for view in (one, other):
        if not view.members:
            raise InputError(f"{between}: {view.name!r} has no front yet")
    for objective in one.objectives:
        conditions = [_conditions(view, objective.name) for view in (one, other)]
        for name in sorted(conditions[0].keys() | conditions[1].keys()):
            here, there = (each.get(name, set()) for each in conditions)
            if here != there:
                raise InputError(
                    f"{between}: {objective.name} was measured with {name} "
                    f"{_listed(here)} and {_listed(there)}"
                )


def _conditions(view: StudyView, objective: str) -> dict[str, set[str]]:
    """Condition -> its values over the members of a front."""
    found: dict[str, set[str]] = {}
    for member in view.members:
        for name, value in member.measurements[objective].conditions.items():
            if name not in OWN:
                found.setdefault(name, set()).add(str(value))
    return found


def _listed(values: Iterable[str]) -> str:
    return "/".join(sorted(values)) or "none"
