"""What is believed of every loss of a candidate, and what the candidate is therefore worth."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search.samplers.ehvi.box import best
from search.samplers.ehvi.boxes import free_boxes
from search.samplers.ehvi.curves import Curves
from search.samplers.ehvi.describing import Describer, Several
from search.samplers.ehvi.improvement import Belief, expected_improvement
from search.samplers.ehvi.process import Array, Description, Process

HEADROOM = 0.5
"""How far below the least loss so far the modelled losses reach, in distances from the least to
the median. Of 0.25 to 4 on NAS-Bench-201, less ranks unseen networks better; none leaves room."""
LEAST_SPREAD, WHOLE_SPREAD_AT = 0.3, 100
"""Share of its deviation that a belief counts with while little is known, and the number of
candidates with a result from which on it counts in full. Whoever has few trainings does better to
go by expectations (Rehbach et al. 2020, arXiv:2001.02957; De Ath et al. 2021, arXiv:1911.12809):
with all of it 24, 20 and 41 trainings to 80% of the hypervolume of NAS-Bench-201 on a Titan X, of
NAS-Bench-Macro and of NAS-Bench-201 on a Raspberry Pi, with 0.25 of it 20, 22 and 33, with 0.1 20,
22 and 36 (20 seeds each); a share that stays small falls behind after 100."""


class Model:
    """A process for each loss; candidates in flight count as if they met their expectation."""

    def __init__(
        self,
        describer: Describer,
        losses: Array,
        plain: Sequence[bool],
        curves: Curves | None,
        process: Callable[[int, Description, Array], Process],
        *,
        num_ahead: int,
        known: Callable[[Several], Array] | None,
        floor: float,
    ) -> None:
        """Fit.

        Args:
            describer: knows the candidates that are done, then those in flight, then others that
                `curves` tell of.
            losses: (n, m) of those that are done, NaN where unknown; 0 ideal, 1 reference.
            plain: (m,) whether the loss itself is modelled, not its logarithm.
            curves: of one objective, if there are any.
            process: fits a process to an objective.
            num_ahead: candidates in flight.
            known: candidates -> (n, m) losses that are certain, NaN elsewhere.
            floor: loss below which nothing is gained.
        """
        self.describer, self.losses, self.curves = describer, losses, curves
        self.known = known
        everyone = describer.known()
        ahead = len(losses) + np.arange(num_ahead)
        pending = np.full((len(ahead), losses.shape[1]), np.nan)
        self.shifts: list[float | None] = []
        self.processes: list[Process] = []
        self.spreads: list[float] = []
        for m in range(losses.shape[1]):
            rows, values, num_trials = self._observed(m)
            self.shifts.append(None if plain[m] else shift_of(values))
            described = self._at(m, everyone.rows(rows), self._shares(m))
            self.spreads.append(spread_of(num_trials))
            made = process(m, described, self._to_target(values, m))
            if len(ahead):
                waiting = self._at(m, everyone.rows(ahead))
                mean, _ = made.predict(waiting)
                pending[:, m] = self._from_target(mean, m)
                made = made.believing(waiting, mean)
            self.processes.append(made)
        self.floor = floor
        points = np.concatenate([losses[~np.isnan(losses).any(axis=1)], pending])
        self._see(points)

    def parents(self) -> list[int]:
        """Rows of what is done and not beaten, the newest first."""
        rows = np.flatnonzero(~np.isnan(self.losses).any(axis=1))
        inside = rows[(self.losses[rows] < 1).all(axis=1)]
        rows = inside if len(inside) else rows
        return [int(row) for row in rows[best(self.losses[rows])]][::-1]

    def worth(self, candidates: Several, *, rough: bool) -> Array:
        """(n,) expected growth of the hypervolume by each candidate.

        `rough`: by features and costs guessed from the choices.
        """
        described = (self.describer.rough if rough else self.describer.exact)(candidates)
        certain = np.full((len(candidates), self.losses.shape[1]), np.nan)
        if self.known is not None and not rough:
            certain = self.known(candidates)
        return self._worth(described, certain)

    def picks(self, candidates: Several, num: int) -> list[int]:
        """Rows of `num` candidates at most: each the best if those before it are as expected."""
        described = self.describer.exact(candidates)
        certain = np.full((len(candidates), self.losses.shape[1]), np.nan)
        if self.known is not None:
            certain = self.known(candidates)
        rows: list[int] = []
        while True:
            worth = self._worth(described, certain)
            worth[rows] = -1.0
            rows.append(int(np.argmax(worth)))
            if len(rows) >= min(num, len(candidates)):
                return rows
            self._believe(described.rows(np.array(rows[-1:])), certain[rows[-1]])

    def _worth(self, described: Description, certain: Array) -> Array:
        beliefs = []
        for m, process in enumerate(self.processes):
            sure = ~np.isnan(certain[:, m])
            mean, std = np.zeros(len(certain)), np.zeros(len(certain))
            if not sure.all():
                mean, std = process.predict(self._at(m, described))
            told = self._to_target(np.where(sure, certain[:, m], 1.0), m)
            std = np.where(sure, 0.0, self.spreads[m] * std)
            beliefs.append(Belief(np.where(sure, told, mean), std, self.shifts[m]))
        return expected_improvement(beliefs, *self.free)

    def _believe(self, one: Description, certain: Array) -> None:
        """One candidate more is in flight; `certain`: (m,) what is known of its losses."""
        point = np.array(certain)
        for m in map(int, np.flatnonzero(np.isnan(certain))):
            here = self._at(m, one)
            mean, _ = self.processes[m].predict(here)
            point[m] = self._from_target(mean, m)[0]
            self.processes[m] = self.processes[m].believing(here, mean)
        self._see(np.concatenate([self.front, point[np.newaxis]]))

    def _see(self, points: Array) -> None:
        """The front of what is done or in flight."""
        self.front = np.unique(points[best(points)], axis=0)
        self.free = free_boxes(self.front, np.ones(self.front.shape[1]), self.floor)

    def _curved(self, m: int) -> Curves | None:
        return self.curves if self.curves is not None and self.curves.objective == m else None

    def _observed(self, m: int) -> tuple[NDArray[np.int64], Array, int]:
        """Which candidates an objective is known of, its losses, and from how many trials."""
        curves = self._curved(m)
        if curves is not None:
            return curves.rows, curves.losses, curves.num_trials
        rows = np.flatnonzero(~np.isnan(self.losses[:, m]))
        return rows, self.losses[rows, m], len(rows)

    def _shares(self, m: int) -> Array | None:
        curves = self._curved(m)
        return None if curves is None else curves.shares

    def _at(self, m: int, described: Description, shares: Array | None = None) -> Description:
        """With the logarithm of the share of a training as one more number; all of it if None."""
        if self._curved(m) is None:
            return described
        column = np.zeros(len(described.columns)) if shares is None else np.log(shares)
        return described.joined(column)

    def _to_target(self, losses: Array, m: int) -> Array:
        shift = self.shifts[m]
        return losses if shift is None else np.log(np.maximum(losses + shift, 1e-12))

    def _from_target(self, targets: Array, m: int) -> Array:
        shift = self.shifts[m]
        return targets if shift is None else np.exp(targets) - shift


def spread_of(num_results: int) -> float:
    """Share of its deviation that a belief counts with after so many results.

    >>> [spread_of(n) for n in (6, 50, 500)]
    [0.3, 0.5, 1.0]
    """
    return min(1.0, max(LEAST_SPREAD, num_results / WHOLE_SPREAD_AT))


def shift_of(losses: Array) -> float | None:
    """What is added to losses before the logarithm; None for no logarithm."""
    if not len(losses) or losses.min() == losses.max():
        return None
    least = float(losses.min())
    typical = float(np.median(losses)) - least or float(losses.mean()) - least
    return HEADROOM * typical - least
