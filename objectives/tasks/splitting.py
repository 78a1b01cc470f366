"""Train, validation and test of what comes without official parts."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]

SHARES = (0.7, 0.15, 0.15)
"""Train, validation, test, where a task says nothing else."""


def shuffled(count: int, shares: tuple[float, ...], seed: int) -> tuple[Rows, ...]:
    """Split `count` positions at random into parts of the given shares, which sum to 1."""
    return tuple(
        np.sort(part) for part in _cut(np.random.default_rng(seed).permutation(count), shares)
    )


def in_time(count: int, shares: tuple[float, ...]) -> tuple[Rows, ...]:
    """Split `count` positions, in their order, into parts of the given shares."""
    return _cut(np.arange(count), shares)


def by_group(groups: NDArray[np.generic], parts: tuple[Rows, ...]) -> tuple[Rows, ...]:
    """Positions of parts of the distinct groups -> positions of their members.

    `groups`: (n,) names. `parts`: positions in the sorted distinct names.
    """
    _, member_of = np.unique(groups, return_inverse=True)
    return tuple(np.flatnonzero(np.isin(member_of, part)) for part in parts)


def columns_mean_std(inputs: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each column (last dimension); 1 for a column that never changes."""
    columns = inputs.flatten(0, -2).double()
    mean, std = columns.mean(0), columns.std(0, correction=0)
    std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def _cut(rows: Rows, shares: tuple[float, ...]) -> tuple[Rows, ...]:
    ends = np.floor(np.cumsum(shares)[:-1] * len(rows) + 0.5).astype(int)
    return tuple(np.split(rows, ends))
