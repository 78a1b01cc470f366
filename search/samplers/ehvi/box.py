"""Values of a study's objectives as losses in a box: 0 at the ideal, 1 at the reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from search.samplers.ehvi.process import Array

MARGIN = 0.1
"""Of the front's range, by which a default reference lies beyond its worst value."""


@dataclass(frozen=True)
class Box:
    """Where hypervolume counts; (m,) each, in the objectives' own units and signs."""

    ideal: tuple[float, ...]
    reference: tuple[float, ...]
    log: tuple[bool, ...]
    """Whether the loss grows with the logarithm of the value (costs)."""
    bounded: bool = True
    """Whether nothing is gained beyond the ideal."""

    def losses(self, values: Array) -> Array:
        """(n, m) values, NaN where unknown -> losses; below 0 where better than the ideal."""
        columns = []
        for m, log in enumerate(self.log):
            ends = np.array([self.ideal[m], self.reference[m]])
            column = values[:, m]
            if log:
                column, ends = np.log(np.maximum(column, 1e-300)), np.log(np.maximum(ends, 1e-300))
            columns.append((column - ends[0]) / (ends[1] - ends[0]))
        return np.stack(columns, axis=1)


def best(losses: Array) -> NDArray[np.bool_]:
    """(n,) whether no other point is nowhere worse and somewhere better."""
    if not len(losses):
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=bool)


def default_box(values: Array, maximize: Sequence[bool]) -> Box:
    """A box around the front of what is known (n, m): nothing better without a user's word.

    The reference is the front's worst value in each objective and a tenth of its range more
    (as BoTorch's infer_reference_point, v0.14, docs); the ideal its best.
    """
    signs = np.where(np.array(maximize), -1.0, 1.0)
    losses = values * signs
    front = losses[best(losses)]
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    spread = np.where(nadir > ideal, nadir - ideal, np.maximum(np.abs(ideal), 1.0))
    reference = nadir + MARGIN * spread
    return Box(
        tuple((signs * ideal).tolist()),
        tuple((signs * reference).tolist()),
        (False,) * len(signs),
        bounded=False,
    )
