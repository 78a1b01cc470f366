"""Handwritten digits that ship with scikit-learn: 1,797 pictures of 8 x 8, no download."""

import importlib.util
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.metrics import ACCURACY
from objectives.tasks.task import (
    Metric,
    Splits,
    TaskError,
    cross_entropy,
    mean_std,
    stratified,
    take,
)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Digits:
    """Ten digits, 1 x 8 x 8, values 0 to 16; 60 / 20 / 20% train, validation, test.

    Source: Alpaydin and Kaynak, UCI 1998, doi:10.24432/C50P49 (the test set), in scikit-learn.
    """

    split_seed: int = 0
    """Seed of the stratified split."""

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read scikit-learn's file without importing scikit-learn, which takes 1.5 s."""
        table = np.loadtxt(_digits_file(), delimiter=",")
        inputs = table[:, :64].reshape(-1, 1, 8, 8).astype(np.float32)
        targets = table[:, 64].astype(np.int64)
        train, validation, test = (
            take(inputs, targets, rows)
            for rows in stratified(targets, (0.6, 0.2, 0.2), self.split_seed)
        )
        mean, std = mean_std(train.inputs)
        return Splits(
            train=train,
            validation=validation,
            test=test,
            outputs=10,
            classes=tuple("0123456789"),
            mean=mean,
            std=std,
        )


def _digits_file() -> Path:
    found = importlib.util.find_spec("sklearn")
    for folder in (found.submodule_search_locations if found else None) or []:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.exists():
            return path
    raise TaskError(
        "task digits: scikit-learn's digits.csv.gz is not installed; pip install scikit-learn"
    )
