"""What is known of candidates before a full training, and beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Seen(NamedTuple):
    """A value on the way to a full training."""

    share: float
    """Of a full training, above 0 to 1."""
    value: float
    of: Mapping[str, Any] | None = None
    """The candidate that has this value, if it is another than the trial's own."""


@dataclass(frozen=True)
class Curves:
    """Losses of one objective at shares of a full training."""

    objective: int
    rows: NDArray[np.int64]
    """(k,) the candidate, by its place among those that a model's describer knows."""
    shares: NDArray[np.float64]
    """(k,) of a full training, above 0 to 1."""
    losses: NDArray[np.float64]
    """(k,)"""
    num_trials: int
    """Trials that they are from."""
