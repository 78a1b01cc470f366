"""Arms of robots: the torques that a movement needs, and where a hand is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import find_file
from objectives.tasks.metrics import NMSE, RMSE, in_unit
from objectives.tasks.splitting import SHARES, columns_mean_std, shuffled
from objectives.tasks.task import Metric, Splits, TaskError, load, squared_error, take


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Sarcos:
    """Seven torques from the positions, speeds and accelerations of seven joints.

    4,449 moments of a real arm (the published test file alone); 70 / 15 / 15% at random. They
    are drawn from few trajectories, so that a random split is easier than a new movement.
    Source: Vijayakumar and Schaal 2000, Locally Weighted Projection Regression, ICML.
    """

    root: str | None = None
    """Folder of `sarcos_test/sarcos_inv_test.npy`; default `$PARETUNE_DATA/data` or `data`."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Normalised mean squared error, mean over the torques."""
        return in_unit(NMSE, "ratio", lambda: load(self))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of the standardised torques."""
        return squared_error(load(self), outputs, targets)

    def splits(self) -> Splits:
        """Read the array: 21 inputs, 7 torques."""
        source = "the array of gaussianprocess.org's sarcos_inv_test.mat, saved by numpy,"
        name = "sarcos_test/sarcos_inv_test.npy"
        path = find_file("sarcos", self.root, name, source)
        return _splits(path, np.load(path), 28, 21, self.split_seed)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Kin8nm:
    """How far the hand of a simulated arm of 8 joints is from a point: 8,192 positions.

    8 joint angles in, one distance out; 70 / 15 / 15% at random. Source: DELVE, Rasmussen et al.
    1996, family kin, 8 inputs, non-linear, medium noise.
    """

    root: str | None = None
    """Folder of `kin8nm/kin8nm.txt`; default `$PARETUNE_DATA/data` or `data`."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Root mean squared error, in the data's unit of length."""
        return in_unit(RMSE, "", lambda: load(self))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of the standardised distance."""
        return squared_error(load(self), outputs, targets)

    def splits(self) -> Splits:
        """Read the table: 8 inputs, 1 target, between spaces."""
        path = find_file("kin8nm", self.root, "kin8nm/kin8nm.txt", "data.txt of UCI's kin8nm")
        return _splits(path, np.loadtxt(path, ndmin=2), 9, 8, self.split_seed)


def _splits(
    path: Path, table: NDArray[np.float64], columns: int, inputs: int, seed: int
) -> Splits:
    """Random parts of a table whose last columns are the targets."""
    if table.ndim != 2 or table.shape[1] != columns:
        raise TaskError(f"{path} holds {table.shape} values, not (rows, {columns})")
    values = table.astype(np.float32)
    train, validation, test = (
        take(values[:, :inputs], values[:, inputs:], rows)
        for rows in shuffled(len(values), SHARES, seed)
    )
    mean, std = columns_mean_std(train.inputs)
    target_mean, target_std = columns_mean_std(train.targets)
    return Splits(
        train=train,
        validation=validation,
        test=test,
        outputs=columns - inputs,
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
    )
