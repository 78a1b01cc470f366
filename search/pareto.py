"""Dominance, fronts and hypervolume: pure functions on arrays of losses.

Losses: (n, m) float64, every column minimised. `losses` is the one place where signs flip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.measurement import Direction

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The box of the hypervolume: objective -> value, in natural sign and base unit."""

    ideal: Mapping[str, float]
    """The cheapest of the plan; a perfect score."""
    reference: Mapping[str, float]
    """Limit, the user's reference, or the dearest of the plan; the score of a constant answer."""
    log: Mapping[str, bool]
    """Whether the axis is logarithmic (costs are, scores are not)."""

    def unit_losses(self, values: Array, names: Sequence[str]) -> Array:
        """(n, m) values -> losses with 0 at the ideal and 1 at the reference, 0 at best."""
        columns = [self._unit(values[:, index], name) for index, name in enumerate(names)]
        return np.clip(np.stack(columns, axis=1), 0.0, None)

    def _unit(self, values: Array, name: str) -> Array:
        ideal, reference = self.ideal[name], self.reference[name]
        if self.log[name]:
            values, ideal, reference = (
                np.log(np.maximum(values, 1e-300)),
                float(np.log(ideal)),
                float(np.log(reference)),
            )
        unit: Array = (values - ideal) / (reference - ideal)
        return unit


def losses(values: Array, directions: Sequence[Direction]) -> Array:
    """Values (n, m) in natural sign -> losses: maximised columns change sign.

    Raises:
        ValueError: a value is NaN (comparisons with NaN would hide a point).
    """
    if np.isnan(values).any():
        raise ValueError("a measured value is NaN")
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
    return np.asarray(values * signs, dtype=np.float64)


def non_dominated(points: Array) -> NDArray[np.bool_]:
    """(n,) whether no other point is at least as good everywhere and better somewhere.

    Points of equal losses are all kept.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    import moocore  # late: reading a front needs none of it

    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=bool)


def ranks(points: Array) -> NDArray[np.int64]:
    """(n,) 0 for the front, 1 for the front of the rest, and so on.

    Source: non-dominated sorting, Deb et al. 2002, doi:10.1109/4235.996017.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=np.int64)
    import moocore  # late: reading a front needs none of it

    return np.asarray(moocore.pareto_rank(points), dtype=np.int64)


def hypervolume(unit_losses: Array) -> float:
    """Volume of the unit box that the points dominate; 0 to 1. Points outside do not count."""
    inside = unit_losses[(unit_losses < 1).all(axis=1)] if len(unit_losses) else unit_losses
    if len(inside) == 0:
        return 0.0
    import moocore  # late: reading a front needs none of it

    return float(moocore.hypervolume(inside, ref=np.ones(inside.shape[1])))


def knee(unit_losses: Array) -> int:
    """Index of the member nearest to the ideal: the least Euclidean norm of its losses.

    Ties go to the first. Unit: the scale's box, so that no objective dominates by its unit.
    """
    return int(np.argmin(np.linalg.norm(unit_losses, axis=1)))
