"""Multi-objective rungs: who trains on is decided by non-dominated rank among peers."""

import math

import numpy as np

from search.pareto import Array, ranks


class Rung:
    """Losses of everyone who was scored at one rung; costs included, every entry minimised."""

    def __init__(self, num_objectives: int) -> None:
        self._rows: Array = np.empty((16, num_objectives))
        self._num = 0

    @property
    def points(self) -> Array:
        """(n, m) losses, in the order in which they came."""
        return self._rows[: self._num]

    def add(self, losses: Array) -> None:
        """Take up one candidate's (m,) losses."""
        if self._num == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._num] = losses
        self._num += 1


def passes(losses: Array, peers: Array, reduction: float) -> tuple[bool, int]:
    """(whether a candidate trains on past its rung, its rank among all at that rung).

    `losses`: (m,), costs included, every entry minimised. `peers`: (n, m) of the other candidates
    that reached the rung so far. It passes if fewer than one in `reduction` of all are of a better
    rank; so whoever is on the rung's own front passes, however good others are elsewhere.

    Source: asynchronous successive halving by non-dominated sorting, Schmucker et al. 2021,
    arXiv:2106.12639 (MO-ASHA), decided at once instead of by waiting for a place.
    """
    everyone = np.vstack([losses[np.newaxis], peers]) if len(peers) else losses[np.newaxis]
    found = ranks(everyone)
    better = int((found[1:] < found[0]).sum())
    return better < math.ceil(len(everyone) / reduction), int(found[0])
