"""Choices as Optuna's distributions, and its answers as members of their domains."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING

from spaces.choice import Choice, Domain, Range, Scalar, members

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distributions(choices: tuple[Choice, ...]) -> dict[str, BaseDistribution]:
    """Choice name -> distribution, in the order of the choices."""
    return {choice.name: distribution(choice.domain) for choice in choices}


def distribution(domain: Domain) -> BaseDistribution:
    """Numbers with a constant step become Int or Float, other values categories in file order."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, Range) and domain.whole:
        whole = range(int(domain.low), int(domain.high) + 1, int(domain.step or 1))
        return IntDistribution(whole[0], whole[-1], log=domain.log, step=whole.step)
    values = members(domain)
    if values is None:
        assert isinstance(domain, Range), domain
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    step, low, high = _constant_step(values), values[0], values[-1]
    if step is None:
        return CategoricalDistribution(values)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), step=int(step))
    return FloatDistribution(float(low), float(high), step=step)


def member(domain: Domain, value: Scalar) -> Scalar:
    """The member of `domain` that Optuna meant: float steps come back as 0.30000000000000004."""
    values = members(domain)
    if values is None or isinstance(value, (str, bool)) or value in values:
        return next((v for v in values or () if v == value), value)
    return min((v for v in values if isinstance(v, (int, float))), key=lambda v: abs(v - value))


def _constant_step(values: tuple[Scalar, ...]) -> float | None:
    """The positive difference of neighbours, if all are numbers at equal distances.

    Equal as decimals, as they are written: Optuna divides the range by the step in decimals, and
    leaves out the last of 0.3, 0.4, 0.5 for the step 0.4 - 0.3 = 0.10000000000000003.
    """
    numbers = [
        Decimal(str(v)) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    steps = {b - a for a, b in pairwise(numbers)}
    if len(numbers) < len(values) or len(steps) != 1:
        return None
    step = steps.pop()
    return float(step) if step > 0 and Decimal(str(float(step))) == step else None
