"""The gate: a candidate whose costs break a limit is not trained."""

from collections.abc import Mapping, Sequence

from objectives.measurement import Measurement
from objectives.units import format_quantity
from search.study import Objective


def violations(
    objectives: Sequence[Objective], measurements: Mapping[str, Measurement]
) -> tuple[float, ...]:
    """How far each limit is broken, in base units, at most 0 where it is met.

    One entry for each objective that has a limit, costs first, then the score; an objective not
    measured yet counts as 0. Optuna wants the same length and order on every trial.
    """
    limited = [o for o in objectives if o.limit is not None]
    ordered = sorted(limited, key=lambda objective: objective.cost is None)
    return tuple(
        objective.violation(measurements[objective.name].value)
        if objective.name in measurements
        else 0.0
        for objective in ordered
    )


def broken_limit(
    objectives: Sequence[Objective], measurements: Mapping[str, Measurement]
) -> str | None:
    """The sentence that says which limit is broken and by what value, or None."""
    for objective in objectives:
        measured = measurements.get(objective.name)
        if objective.limit is None or measured is None:
            continue
        if objective.violation(measured.value) > 0:
            value, limit = (
                format_quantity(v, objective.unit) for v in (measured.value, objective.limit)
            )
            sign = ">" if objective.direction == "minimize" else "<"
            return f"{objective.name} {value} {sign} limit {limit}"
    return None
