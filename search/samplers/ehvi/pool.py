"""Candidates worth a thought: random ones, relatives of good ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from search.samplers.ehvi.encoding import draw, nudge

Space = Mapping[str, BaseDistribution]
Parameters = dict[str, Any]


def random_ones(space: Space, num: int, rng: np.random.Generator) -> list[Parameters]:
    """Every choice uniform, and independent of the others."""
    columns = [draw(kind, num, rng) for kind in space.values()]
    return [dict(zip(space, values, strict=True)) for values in zip(*columns, strict=True)]


def neighbours(
    space: Space, parents: Sequence[Parameters], num: int, rng: np.random.Generator
) -> list[Parameters]:
    """Parents in turn with one choice changed, every third with one more."""
    names = [name for name, kind in space.items() if not kind.single()]
    if not names or not parents:
        return []
    made = []
    for index in range(num):
        child = dict(parents[index % len(parents)])
        for name in rng.choice(names, size=min(len(names), 1 + (index % 3 == 2)), replace=False):
            child[name] = nudge(space[name], child[name], rng)
        made.append(child)
    return made


def recombined(
    space: Space, parents: Sequence[Parameters], num: int, rng: np.random.Generator
) -> list[Parameters]:
    """Each choice from one of two different parents, with equal chances."""
    if len(parents) < 2:
        return []
    made = []
    for _ in range(num):
        first, second = (parents[i] for i in rng.choice(len(parents), size=2, replace=False))
        from_first = rng.random(len(space)) < 0.5
        made.append(
            {
                name: (first if own else second)[name]
                for name, own in zip(space, from_first, strict=True)
            }
        )
    return made
