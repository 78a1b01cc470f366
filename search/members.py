"""Which member of a front to take."""

import re
from collections.abc import Sequence

from objectives.units import format_quantity, parse_quantity
from search.errors import InputError
from search.pareto import knee
from search.store.view import ObjectiveView, StudyView, TrialView

Bound = tuple[ObjectiveView, float]
_UNDER = re.compile(r"([^<>=]+?)\s*(<=|>=|=)\s*(.+)")
_SIGNS = {"minimize": "<=", "maximize": ">="}


def parse_bounds(view: StudyView, texts: Sequence[str]) -> list[Bound]:
    """`latency=2ms` as (objective, value): at most, or at least where more is better.

    Raises:
        InputError: not OBJECTIVE=QUANTITY, or not an objective of the study.
    """
    bounds = []
    for text in texts:
        match = _UNDER.fullmatch(text.strip())
        if match is None:
            raise InputError(f"--under: {text!r} is not OBJECTIVE=QUANTITY, such as latency=2ms")
        objective = view.objective(match[1])
        sign = _SIGNS[objective.direction]
        if match[2] not in ("=", sign):
            raise InputError(f"--under: {text!r}: a bound of {objective.name} is written {sign}")
        try:
            asked = parse_quantity(match[3], objective.unit)
        except ValueError as error:
            raise InputError(f"--under: {objective.name}: {error}") from error
        if objective.unit == "ratio" and objective.direction == "maximize" and asked > 1:
            told = f"{match[3]} is more than 1, all of it"
            raise InputError(f"--under: {objective.name}: {told}; write {match[3]}% or a share")
        bounds.append((objective, asked))
    return bounds


def within(trial: TrialView, bounds: Sequence[Bound]) -> bool:
    """Whether a trial keeps all bounds."""
    return all(
        trial.measurements[objective.name].value <= bound
        if objective.direction == "minimize"
        else trial.measurements[objective.name].value >= bound
        for objective, bound in bounds
    )


def nearest_miss(members: Sequence[TrialView], bounds: Sequence[Bound]) -> str:
    """The member that comes nearest to keeping `bounds`, none of which it keeps, in words."""

    def excess(trial: TrialView, bound: Bound) -> float:
        """The factor by which a value must change; below 1 where it is kept."""
        objective, asked = bound
        value = trial.measurements[objective.name].value
        over, under = (value, asked) if objective.direction == "minimize" else (asked, value)
        return over / under if under > 0 else float("inf")

    def worst(trial: TrialView) -> Bound:
        return max(bounds, key=lambda bound: excess(trial, bound))

    nearest = min(members, key=lambda trial: excess(trial, worst(trial)))
    objective, asked = worst(nearest)
    value = nearest.measurements[objective.name].value
    told, wanted = (format_quantity(v, objective.unit) for v in (value, asked))
    factor = excess(nearest, (objective, asked))
    by = f" by a factor of {factor:.2f}" if factor < float("inf") else ""
    return f"trial {nearest.number} comes nearest, its {objective.name} {told} misses {wanted}{by}"


def some_of(view: StudyView, members: Sequence[TrialView], most: int) -> Sequence[TrialView]:
    """At most `most` members, evenly along the front, the knee and the best among them."""
    if len(members) <= most:
        return members
    step = len(members) / (most - 2)
    kept = {members[int(place * step)].number for place in range(most - 2)}
    kept |= {knee_of(view, members).number, best(view, members).number}
    return [member for member in members if member.number in kept]


def best(view: StudyView, members: Sequence[TrialView]) -> TrialView:
    """The member with the best score; of equals, the one with the least last cost.

    The score is the objective without a deployment cost: the first that is the task's metric.
    """
    score = score_of(view)
    sign = 1 if score.direction == "minimize" else -1
    costs = [o.name for o in view.objectives if o.name != score.name]
    return min(
        members,
        key=lambda t: (
            sign * t.measurements[score.name].value,
            *(t.measurements[name].value for name in reversed(costs)),
        ),
    )


def score_of(view: StudyView) -> ObjectiveView:
    """The objective that is the task's metric: the one whose axis is not logarithmic."""
    if view.scale is None:
        return view.objectives[0]
    return next(o for o in view.objectives if not view.scale.log[o.name])


def knee_of(view: StudyView, members: Sequence[TrialView]) -> TrialView:
    """The member nearest to the ideal point of the study's scale."""
    assert view.scale is not None
    names = [objective.name for objective in view.objectives]
    return members[knee(view.scale.unit_losses(view.values(tuple(members)), names))]


def find_member(view: StudyView, which: str) -> TrialView:
    """A trial by number, or `knee`, or `best`.

    Raises:
        InputError: no such member, or no front yet.
    """
    if not view.members:
        raise InputError(f"study {view.name!r} has no front yet; {no_front_reason(view)}")
    if which == "knee":
        return knee_of(view, view.members)
    if which == "best":
        return best(view, view.members)
    numbers = [str(trial.number) for trial in view.members]
    if which not in numbers:
        raise InputError(
            f"{which!r} is not a member of the front; "
            f"choose knee, best, or one of {', '.join(numbers)}"
        )
    return view.members[numbers.index(which)]


def no_front_reason(view: StudyView) -> str:
    """Why there is no front: what happened to the trials, and the limit broken by least."""
    counts = {t.status: 0 for t in view.trials}
    for trial in view.trials:
        counts[trial.status] += 1
    told = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "no trial yet"
    return f"{told}{_nearest_miss(view)}"


def _nearest_miss(view: StudyView) -> str:
    """The limit that no trial kept and that was broken by least, and by what factor."""
    misses = []
    for objective in view.objectives:
        values = [
            t.measurements[objective.name].value
            for t in view.trials
            if objective.name in t.measurements
        ]
        if not values or not objective.limit or objective.limit < 0:
            continue
        lower = objective.direction == "minimize"
        nearest = min(values) if lower else max(values)
        factor = nearest / objective.limit
        if factor > 1 if lower else factor < 1:
            told = f"{'least' if lower else 'largest'} {objective.name} seen"
            value, limit = (format_quantity(v, objective.unit) for v in (nearest, objective.limit))
            excess = factor if lower else 1 / max(factor, 1e-9)
            misses.append(
                (excess, f"the {told}, {value}, is {factor:.2f} times the limit {limit}")
            )
    return f"; {min(misses)[1]}" if misses else ""
