"""Optuna's parameters as numbers of which distances can be taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.samplers.ehvi.process import Array, Description

MIDDLE = 0.5
"""Where an ordered choice stands that does not matter: as near to one value as to another."""


@dataclass(frozen=True)
class Encoding:
    """How the choices of a space become columns.

    A number (also one of a list of numbers) is its place on [0, 1], on the logarithm where its
    distribution is logarithmic; other values are one column each, so that any two are at distance
    1. A choice that may be inactive has one more column that says so.
    """

    space: Mapping[str, BaseDistribution]

    def describe(self, candidates: Sequence[Mapping[str, Any]]) -> Description:
        """Candidates name -> value; a name that is missing is inactive."""
        blocks = [self._columns(name, candidates) for name in self.space]
        widths = [block.shape[1] for block in blocks]
        return Description(
            np.concatenate(blocks, axis=1), np.repeat(np.arange(len(widths)), widths)
        )

    def _columns(self, name: str, candidates: Sequence[Mapping[str, Any]]) -> Array:
        distribution = self.space[name]
        active = np.array([name in candidate for candidate in candidates], dtype=bool)
        values = [candidate.get(name) for candidate in candidates]
        places = positions(distribution)
        if places is None:
            assert isinstance(distribution, CategoricalDistribution)
            columns = _one_hot(distribution, values)
        else:
            columns = np.array([MIDDLE if v is None else places(v) for v in values], dtype=float)
        return np.column_stack([columns, ~active])


def _one_hot(distribution: CategoricalDistribution, values: Sequence[Any]) -> Array:
    # two different rows differ in two columns: each by 1 / root of 2 makes their distance 1
    columns = np.zeros((len(values), len(distribution.choices)))
    for row, value in enumerate(values):
        if value is not None:
            columns[row, distribution.choices.index(value)] = np.sqrt(0.5)
    return columns


def positions(distribution: BaseDistribution) -> Any:
    """The function value -> place on [0, 1] of an ordered choice; None of any other.

    The values of a list of numbers are as far apart as they stand in the list.
    """
    if isinstance(distribution, CategoricalDistribution):
        ordered = _ordered(distribution)
        if ordered is None:
            return None
        return {value: place / max(len(ordered) - 1, 1) for place, value in enumerate(ordered)}.get
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high, log = distribution.low, distribution.high, distribution.log
    if high <= low:
        return lambda value: MIDDLE
    if log:
        span = np.log(high / low)
        return lambda value: float(np.log(value / low) / span)
    return lambda value: (value - low) / (high - low)


def _ordered(distribution: CategoricalDistribution) -> list[float] | None:
    """The choices by size, if all are numbers."""
    numbers = [c for c in distribution.choices if isinstance(c, (int, float))]
    whole = len(numbers) == len(distribution.choices) and not any(
        isinstance(number, bool) for number in numbers
    )
    return sorted(numbers) if whole else None


def draw(distribution: BaseDistribution, num: int, rng: np.random.Generator) -> list[Any]:
    """Values at random, uniform on the scale of `positions`."""
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        return [choices[place] for place in rng.integers(len(choices), size=num)]
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        drawn = np.exp(rng.uniform(np.log(low), np.log(high), num))
    elif step is None:
        drawn = rng.uniform(low, high, num)
    else:
        count = int((high - low) / step + 1e-9) + 1
        drawn = low + rng.integers(count, size=num) * step
    if isinstance(distribution, IntDistribution):
        drawn = np.rint(drawn).astype(int)
    return list(np.clip(drawn, low, high).tolist())


def nudge(distribution: BaseDistribution, value: Any, rng: np.random.Generator) -> Any:
    """Another value: a neighbour of an ordered one (up to a fifth of the range), or any other."""
    if isinstance(distribution, CategoricalDistribution):
        if ordered := _ordered(distribution):
            place = ordered.index(value) + int(rng.choice([-1, 1]))
            return ordered[min(max(place, 0), len(ordered) - 1)]
        others = [c for c in distribution.choices if c != value]
        return others[int(rng.integers(len(others)))] if others else value
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        moved = float(value * np.exp(rng.normal(0, 0.2) * np.log(high / low)))
    elif step is None:
        moved = float(value + rng.normal(0, 0.2) * (high - low))
    else:
        most = max(1, int(0.2 * (high - low) / step))
        moved = value + int(rng.choice([-1, 1])) * int(rng.integers(1, most + 1)) * step
    moved = min(max(moved, low), high)
    return round(moved) if isinstance(distribution, IntDistribution) else float(moved)
