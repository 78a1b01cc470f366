"""Choices as Optuna's distributions, and its answers as members of their domains."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from spaces.choice import Choice, Domain, Range, Scalar, Values, members

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distributions(choices: tuple[Choice, ...]) -> dict[str, BaseDistribution]:
    """Choice name -> distribution, in the order of the choices."""
    return {choice.name: distribution(choice.domain) for choice in choices}


def distribution(domain: Domain) -> BaseDistribution:
    """Numbers with a constant step become Int or Float, other values categories in file order."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Range):
        if domain.whole:
            values = range(int(domain.low), int(domain.high) + 1, int(domain.step or 1))
            return IntDistribution(values[0], values[-1], log=domain.log, step=values.step)
        if domain.step is None:
            return FloatDistribution(domain.low, domain.high, log=domain.log)
        steps = members(domain)
        assert steps is not None, domain
        return FloatDistribution(float(steps[0]), float(steps[-1]), step=domain.step)
    assert isinstance(domain, Values), domain
    constant = _constant_step(domain.values)
    if constant is None:
        return CategoricalDistribution(domain.values)
    low, high = domain.values[0], domain.values[-1]
    if all(isinstance(value, int) for value in domain.values):
        return IntDistribution(int(low), int(high), step=int(constant))
    return FloatDistribution(float(low), float(high), step=constant)


def member(domain: Domain, value: Scalar) -> Scalar:
    """The member of `domain` that Optuna meant: float steps come back as 0.30000000000000004."""
    values = members(domain)
    if values is None or isinstance(value, (str, bool)) or value in values:
        return next((v for v in values or () if v == value), value)
    return min((v for v in values if isinstance(v, (int, float))), key=lambda v: abs(v - value))


def _constant_step(values: tuple[Scalar, ...]) -> float | None:
    """The positive difference of neighbours, if all are numbers at equal distances."""
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        return None
    steps = [b - a for a, b in pairwise(numbers)]
    equal = all(math.isclose(step, steps[0], rel_tol=1e-9) for step in steps)
    return steps[0] if equal and steps[0] > 0 else None
