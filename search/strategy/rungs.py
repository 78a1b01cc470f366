"""Multi-objective rungs: who trains on is decided by non-dominated rank among peers."""

import math

import numpy as np
from numpy.typing import NDArray

from search.pareto import Array, ranks

MANY = 64
"""Newcomers from which sorting all anew is quicker than taking them up one by one."""


class Rung:
    """Losses and non-dominated ranks of everyone who was scored at one rung.

    Losses include the costs, every entry minimised. Rank 0 is the rung's front, 1 the front of the
    rest, and so on (Deb et al. 2002, doi:10.1109/4235.996017). Ranks are kept up to date instead
    of being sorted anew for every candidate: whoever comes in pushes those that it dominates on
    its own level one level down, those push in their turn (Li et al. 2017, "Efficient
    non-domination level update", doi:10.1109/TCYB.2016.2621008). Many that come before anybody
    asks, as when a study is resumed, are sorted together.
    """

    def __init__(self, num_objectives: int) -> None:
        self._losses: Array = np.empty((16, num_objectives))
        self._ranks: NDArray[np.int64] = np.empty(16, dtype=np.int64)
        self._num = 0
        """Of those that have a rank."""
        self._new: list[Array] = []
        """Losses of those that have none yet."""

    def __len__(self) -> int:
        return self._num + len(self._new)

    @property
    def ranks(self) -> NDArray[np.int64]:
        """(n,) rank of everyone, in the order in which they came."""
        self._settle()
        return self._ranks[: self._num]

    def add(self, losses: Array) -> None:
        """Take up one candidate's (m,) losses."""
        self._new.append(losses)

    def _settle(self) -> None:
        """Give a rank to those that came."""
        came, self._new = self._new, []
        if len(came) > MANY:
            self._losses = np.concatenate([self._losses[: self._num], came])
            self._ranks = ranks(self._losses)
            self._num = len(self._losses)
            return
        for losses in came:
            self._insert(losses)

    def _insert(self, losses: Array) -> None:
        if self._num == len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty_like(self._losses)])
            self._ranks = np.concatenate([self._ranks, np.empty_like(self._ranks)])
        rank = self._rank(losses)
        self._losses[self._num] = losses
        came = np.array([self._num])
        while len(came):
            here = np.flatnonzero(self._ranks[: self._num] == rank)
            self._ranks[came] = rank
            below = _dominates(self._losses[came][:, np.newaxis], self._losses[here]).any(axis=0)
            came, rank = here[below], rank + 1
        self._num += 1

    def rank(self, losses: Array) -> int:
        """The rank that a candidate of (m,) losses has among all here: one below its betters'."""
        self._settle()
        return self._rank(losses)

    def _rank(self, losses: Array) -> int:
        settled = self._ranks[: self._num]
        better = _dominates(self._losses[: self._num], losses)
        return int(settled[better].max(initial=-1)) + 1

    def passes(self, losses: Array, reduction: float) -> tuple[bool, int]:
        """(whether a candidate that is not counted here yet trains on past this rung, its rank).

        It passes if fewer than one in `reduction` of all are of a better rank; so whoever is on
        the rung's own front passes, however good others are elsewhere.

        Source: asynchronous successive halving by non-dominated sorting, Schmucker et al. 2021,
        arXiv:2106.12639 (MO-ASHA), decided at once instead of by waiting for a place.
        """
        rank = self.rank(losses)
        better = int((self.ranks < rank).sum())
        return better < math.ceil((1 + len(self)) / reduction), rank


def _dominates(first: Array, second: Array) -> NDArray[np.bool_]:
    """Whether losses (..., m) are nowhere worse than others and somewhere better; broadcasts."""
    nowhere_worse, somewhere_better = (first <= second).all(axis=-1), (first < second).any(axis=-1)
    return np.asarray(nowhere_worse & somewhere_better, dtype=bool)
