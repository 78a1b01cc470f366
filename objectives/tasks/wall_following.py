"""Which way does a robot turn that follows a wall? Ultrasound readings in the order of time."""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import find_file
from objectives.tasks.metrics import ACCURACY, MACRO_F1
from objectives.tasks.splitting import columns_mean_std, in_time
from objectives.tasks.task import Metric, Split, Splits, TaskError, cross_entropy
from objectives.tasks.text import MetricName

CLASSES = ("Move-Forward", "Sharp-Right-Turn", "Slight-Left-Turn", "Slight-Right-Turn")
SENSORS = 24


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class WallFollowing:
    """24 distances in metres, 9 times a second, and one of four commands: 5,456 moments.

    Split in time: 65% train, the next 15% validate, the last 20% test. Source: Freire et al.
    2009, doi:10.1109/LARS.2009.5418323 (UCI data set 194).
    """

    root: str | None = None
    """Folder of `wall_following/sensor_readings_24.csv`; default `$PARETUNE_DATA/data`, `data`."""
    window: int = Field(default=1, ge=1, le=256)
    """Moments that an input holds, the last of them the one to decide; above 1, inputs are
    (N, window, 24), and none reaches into another part."""
    judged_by: MetricName = "accuracy"
    """The metric."""

    @property
    def metric(self) -> Metric:
        """Accuracy, or macro F1."""
        return MACRO_F1 if self.judged_by == "macro_f1" else ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read the file, with or without a line of names at its head."""
        readings, targets = self._read()
        train, validation, test = (
            Split(
                inputs=torch.from_numpy(_windows(readings[rows], self.window)),
                targets=torch.from_numpy(targets[rows[self.window - 1 :]]),
            )
            for rows in in_time(len(targets), (0.65, 0.15, 0.2))
        )
        mean, std = columns_mean_std(train.inputs)
        return Splits(
            train=train,
            validation=validation,
            test=test,
            outputs=len(CLASSES),
            classes=CLASSES,
            mean=mean,
            std=std,
        )

    def _read(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        name = "wall_following/sensor_readings_24.csv"
        path = find_file("wall_following", self.root, name, "UCI's sensor_readings_24.data")
        lines = path.read_text().splitlines()
        rows = [line.split(",") for line in lines if line and not line.startswith("S1")]
        for number, row in enumerate(rows):
            if len(row) != SENSORS + 1 or row[-1] not in CLASSES:
                raise TaskError(
                    f"{path}: reading {number} is not {SENSORS} numbers and one of "
                    f"{', '.join(CLASSES)}; mend it"
                )
        try:
            readings = np.array([row[:-1] for row in rows], dtype=np.float32)
        except ValueError as error:
            raise TaskError(f"{path}: {error}; mend it") from error
        return readings, np.array([CLASSES.index(row[-1]) for row in rows], dtype=np.int64)


def _windows(readings: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """(n, 24) -> (n - window + 1, window, 24), or as it is for a window of 1."""
    if window == 1:
        return readings
    windows = np.lib.stride_tricks.sliding_window_view(readings, window, axis=0)
    return np.ascontiguousarray(windows.transpose(0, 2, 1))
