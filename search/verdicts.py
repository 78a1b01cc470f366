"""What is left of members that were trained anew with further seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from objectives.units import format_quantity
from search.members import score_of
from search.pareto import losses, non_dominated
from search.store.view import StudyView, TrialView


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is left of a member after it was trained anew."""

    trial: int
    seeds: int
    found: float
    """Score in the search, on the validation split."""
    validation: float
    """Mean of the same over the further seeds; `found` above it was luck."""
    test: float
    """Mean score on the test split over the further seeds."""
    spread: float
    """Standard deviation of it; 0 for one seed."""
    costs: dict[str, tuple[float, float]]
    """Objective -> (found, median of what was measured anew)."""
    doubtful: tuple[str, ...]
    """Costs of which every value that was measured anew is flagged."""
    holds: bool
    reason: str
    """Why it does not hold; empty if it does."""


def verdicts(view: StudyView) -> tuple[Verdict, ...]:
    """One for each member that was trained anew, in the order of the front.

    A member holds if it keeps the limits and no other one is at least as good in everything and
    better in something, by mean test score and by costs as measured anew.
    """
    members = [member for member in view.members if view.confirmations.get(member.number)]
    if not members:
        return ()
    names = [objective.name for objective in view.objectives]
    means = np.array([[_mean(view, member, name) for name in names] for member in members])
    points = losses(means, [objective.direction for objective in view.objectives])
    kept = non_dominated(points)
    found = []
    for index, member in enumerate(members):
        reason = _broken(view, member)
        if not reason and not kept[index]:
            better = (points <= points[index]).all(1) & (points < points[index]).any(1)
            numbers = [members[other].number for other in np.flatnonzero(better)]
            reason = f"trial {numbers[0]} is better in everything"
        found.append(_verdict(view, member, reason))
    return tuple(found)


def _verdict(view: StudyView, member: TrialView, reason: str) -> Verdict:
    score = score_of(view).name
    rounds = view.confirmations[member.number]
    tests = [found[score].value for found in rounds.values()]
    return Verdict(
        trial=member.number,
        seeds=len(rounds),
        found=member.measurements[score].value,
        validation=statistics.mean(found["validation"].value for found in rounds.values()),
        test=statistics.mean(tests),
        spread=statistics.stdev(tests) if len(tests) > 1 else 0.0,
        costs={
            o.name: (member.measurements[o.name].value, _mean(view, member, o.name))
            for o in view.objectives
            if o.name != score
        },
        doubtful=_doubtful(view, member),
        holds=not reason,
        reason=reason,
    )


def _mean(view: StudyView, member: TrialView, name: str) -> float:
    """Mean score; of a cost the median of its least doubtful values."""
    taken = [found[name] for found in view.confirmations[member.number].values()]
    if name == score_of(view).name:
        return statistics.mean(each.value for each in taken)
    least = min(len(each.flags) for each in taken)
    return statistics.median(each.value for each in taken if len(each.flags) == least)


def _doubtful(view: StudyView, member: TrialView) -> tuple[str, ...]:
    """Costs of which not one value could be taken without a doubt."""
    rounds = view.confirmations[member.number].values()
    return tuple(o.name for o in view.objectives if all(found[o.name].flags for found in rounds))


def _broken(view: StudyView, member: TrialView) -> str:
    """The first limit that it does not keep any more."""
    for objective in view.objectives:
        value, limit = _mean(view, member, objective.name), objective.limit
        if limit is None:
            continue
        if value > limit if objective.direction == "minimize" else value < limit:
            told, bound = (format_quantity(v, objective.unit) for v in (value, limit))
            return f"{objective.name} {told} is beyond the limit {bound}"
    return ""


def reasons(found: Sequence[Verdict]) -> list[str]:
    """Why members do not hold, one line each."""
    return [f"trial {v.trial} does not hold: {v.reason}" for v in found if not v.holds]


def verdict_rows(view: StudyView, found: Sequence[Verdict]) -> list[list[str]]:
    """Cells of each verdict: trial, score found, anew, on the test split, costs, verdict."""
    score = score_of(view)
    units = {objective.name: objective.unit for objective in view.objectives}
    rows = []
    for verdict in found:
        values = (verdict.found, verdict.validation, verdict.test)
        told = [format_quantity(value, score.unit) for value in values]
        told[2] += f" ±{_spread(verdict.spread, score.unit)}" if verdict.seeds > 1 else ""
        costs = [
            format_quantity(again, units[name])
            if again == first
            else f"{format_quantity(first, units[name])} -> {format_quantity(again, units[name])}"
            + (" !" if name in verdict.doubtful else "")
            for name, (first, again) in verdict.costs.items()
        ]
        rows.append([str(verdict.trial), *told, *costs, "holds" if verdict.holds else "no"])
    return rows


def _spread(spread: float, unit: str) -> str:
    """A standard deviation: percentage points, or two digits in the unit of its value."""
    return f"{100 * spread:.1f}" if unit == "ratio" else f"{spread:.2g}"
