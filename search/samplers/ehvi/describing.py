"""Candidates as descriptions: their choices, and what is known or guessed of their networks."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from search.samplers.ehvi.encoding import Encoding
from search.samplers.ehvi.process import Array, Description, squared_distances

Several = Sequence[Mapping[str, Any]]
MOST_KNOWN = 600
"""Observations that a model reads: its time grows with their third power."""
RIDGE = 1e-3
"""Of the guess, where features have variance 1."""


class Describer:
    """Descriptions of candidates, with features scaled by those of the candidates in `known`.

    Telling a network's features means building it. `rough` guesses them from the choices, by
    kernel regression on the candidates whose features are known, so that a thousand candidates
    can be ranked; `exact` asks. A feature that cannot be told (NaN) counts as average.
    """

    def __init__(
        self,
        encoding: Encoding,
        active: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        features: Callable[[Several], Array] | None,
        known: Several,
    ) -> None:
        self._encoding, self._active = encoding, active
        self._features = features
        self._choices = self._encoding.describe([active(each) for each in known])
        if features is None:
            return
        raw = features(known)
        with np.errstate(invalid="ignore"):
            self._mean = np.nan_to_num(_column(np.nanmean, raw))
            deviation = np.nan_to_num(_column(np.nanstd, raw))
        self._std = np.where(deviation > 1e-9, deviation, 1.0)
        self._known = self._scaled(raw)
        some = few(len(known))
        self._near = self._choices.rows(some)
        self._reach = float(np.median(squared_distances(self._near, self._near))) or 1.0
        kernel = self._kernel(self._near)
        kernel[np.diag_indices_from(kernel)] += RIDGE
        self._weights = cho_solve((cholesky(kernel, lower=True), True), self._known[some])

    def known(self) -> Description:
        """Of the candidates that it was made with."""
        return self._described(self._choices, None if self._features is None else self._known)

    def exact(self, candidates: Several) -> Description:
        """With their networks' own features."""
        choices = self._encoding.describe([self._active(each) for each in candidates])
        if self._features is None:
            return self._described(choices, None)
        return self._described(choices, self._scaled(self._features(candidates)))

    def rough(self, candidates: Several) -> Description:
        """With features guessed from the choices."""
        choices = self._encoding.describe([self._active(each) for each in candidates])
        if self._features is None:
            return self._described(choices, None)
        return self._described(choices, self._kernel(choices) @ self._weights)

    def _kernel(self, choices: Description) -> Array:
        inner = choices.columns @ self._near.columns.T
        near = np.exp(-squared_distances(choices, self._near) / self._reach)
        return np.asarray(near + inner / self._near.columns.shape[1])

    def _scaled(self, raw: Array) -> Array:
        return np.nan_to_num((raw - self._mean) / self._std)

    def _described(self, choices: Description, scaled: Array | None) -> Description:
        if scaled is None:
            return choices
        first = choices.columns.shape[1]
        return Description(
            np.concatenate([choices.columns, scaled], axis=1),
            np.concatenate([choices.groups, choices.num_groups + np.arange(scaled.shape[1])]),
            np.arange(first, first + scaled.shape[1]),
        )


def few(num: int) -> NDArray[np.int64]:
    """At most `MOST_KNOWN` of `num` observations: the newest half, the rest at random."""
    if num <= MOST_KNOWN:
        return np.arange(num)
    half = MOST_KNOWN // 2
    old = np.random.default_rng(num).choice(num - half, half, replace=False)
    return np.concatenate([np.sort(old), np.arange(num - half, num)])


def remembered(
    active: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """The same function; a proposal asks it several times of each of its candidates."""

    @lru_cache(maxsize=10_000)
    def of_items(items: tuple[tuple[str, Any], ...]) -> Mapping[str, Any]:
        return active(dict(items))

    return lambda parameters: of_items(tuple(parameters.items()))


def _column(statistic: Callable[..., Any], raw: Array) -> Array:
    """`statistic` of each column; NaN of one that is never known, without a warning."""
    return np.array(
        [statistic(c[~np.isnan(c)]) if (~np.isnan(c)).any() else np.nan for c in raw.T]
    )
