"""What a sampler may ask the search, if it wants to know more than Optuna's trials hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution

    from search.samplers.ehvi import Seen

Parameters = Mapping[str, Any]
"""Name of an open choice -> its value."""


class Knowledge(Protocol):
    """A study's scale, prices and networks."""

    def space(self) -> Mapping[str, BaseDistribution]:
        """Every open choice."""

    def box(self) -> tuple[Sequence[float], Sequence[float], Sequence[bool]]:
        """Ideal, reference and whether the axis is logarithmic, for each objective."""

    def active(self, parameters: Parameters) -> Parameters:
        """Those that matter."""

    def costs(self, several: Sequence[Parameters]) -> NDArray[np.float64]:
        """(n, m) values of the objectives, NaN where unknown: scores, and networks not priced."""

    def priced(self) -> Sequence[Parameters]:
        """Candidates that are no trials and have a price: those of the plan."""

    def curve(self, trial: int) -> Sequence[Seen]:
        """Scores on the way to a full training, also of a trial that was stopped."""

    def scored(self) -> int:
        """Index of the objective that training decides."""

    def features(self, several: Sequence[Parameters]) -> NDArray[np.float64]:
        """(n, f) numbers of their networks, NaN where they could not be told."""
