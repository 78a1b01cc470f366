"""What a task provides: splits of real data, a loss to train by, a metric to be judged by."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from objectives.measurement import Direction, Measurement, proportion


class TaskError(ValueError):
    """The data is missing or unusable: what, where, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Inputs and targets of one part of the data."""

    inputs: Tensor
    """(N, ...), uint8 as stored, float32, or int64 ids."""
    targets: Tensor
    """(N,) class numbers, or (N, K) values."""

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The parts of the data. Search, gate and calibration never see `test`."""

    train: Split
    validation: Split
    test: Split
    outputs: int
    """Numbers that a network returns for one input."""
    classes: tuple[str, ...] = ()
    mean: float | tuple[float, ...] = 0.0
    """Subtracted from every input before a network sees it, one number or one a column ..."""
    std: float | tuple[float, ...] = 1.0
    """... and the divisor after that; both in units of the stored values."""
    vocabulary: tuple[int, ...] = ()
    """Where inputs are ids (int64): how many there are, for all columns or for each."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, such as (channels, height, width)."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def signature(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """(shape of one input, outputs, vocabulary): what a network is built for."""
        return self.input_shape, self.outputs, self.vocabulary

    def prepare(self, inputs: Tensor) -> Tensor:
        """Stored inputs -> inputs of a network: standardised float32, or ids as they are."""
        if self.vocabulary:
            return inputs
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (inputs.float() - mean) / std


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How answers are judged."""

    name: str
    """The name of the objective in the study file: `accuracy`, `rmse`, ..."""
    unit: str
    direction: Direction
    perfect: float
    """The best value there is; the ideal of the hypervolume."""
    score: Callable[[Tensor, Tensor], Measurement]
    """(outputs (N, K), targets) -> value with interval."""
    constant: Callable[[Tensor, Tensor], float]
    """(train targets, judged targets) -> the value of the best constant answer."""


@runtime_checkable
class Task(Protocol):
    """A task. Implementations are frozen dataclasses; fields are the YAML keys."""

    def __hash__(self) -> int:
        """Tasks of equal options are read once."""

    @property
    def metric(self) -> Metric:
        """How answers are judged."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch; what training minimises."""

    def splits(self) -> Splits:
        """Read the data; the same parts each time.

        Raises:
            TaskError: the data is missing or unusable.
        """


def _accuracy(outputs: Tensor, targets: Tensor) -> Measurement:
    return proportion(int((outputs.argmax(1) == targets).sum()), len(targets))


def _majority(train: Tensor, judged: Tensor) -> float:
    return float((judged == train.mode().values).double().mean())


ACCURACY = Metric(
    name="accuracy",
    unit="ratio",
    direction="maximize",
    perfect=1.0,
    score=_accuracy,
    constant=_majority,
)
"""Share of right answers; its interval is Wilson's."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of logits (N, K) against class numbers (N,)."""
    return functional.cross_entropy(outputs, targets)


@lru_cache(maxsize=4)
def load(task: Task) -> Splits:
    """The splits of `task`, read once a process."""
    return task.splits()


@lru_cache(maxsize=4)
def fingerprint(task: Task) -> str:
    """Hash of the data as split and of the metric's name: what scores may depend on."""
    splits, digest = load(task), hashlib.sha256(task.metric.name.encode())
    for split in (splits.train, splits.validation, splits.test):
        for part in (split.inputs, split.targets):
            digest.update(f"{tuple(part.shape)}{part.dtype}".encode())
            digest.update(part.contiguous().numpy().tobytes())
    for scale in (splits.mean, splits.std):
        digest.update(np.asarray(scale, np.float64).tobytes())
    digest.update(f"{splits.outputs} {splits.vocabulary}".encode())
    return digest.hexdigest()[:16]


def stratified(
    targets: NDArray[np.int64], shares: tuple[float, ...], seed: int
) -> tuple[NDArray[np.int64], ...]:
    """Split positions into parts of the given shares, each class alike; the last takes the rest.

    `targets`: (N,) class numbers. `shares` sum to 1. Every class has at least one member in the
    first part.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in shares]
    for label in np.unique(targets):
        members = rng.permutation(np.flatnonzero(targets == label))
        ends = np.floor(np.cumsum(shares)[:-1] * len(members) + 0.5).astype(int)
        for part, chosen in zip(parts, np.split(members, np.maximum(ends, 1)), strict=True):
            part.append(chosen)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def take(
    inputs: NDArray[np.generic], targets: NDArray[np.int64], rows: NDArray[np.int64]
) -> Split:
    """The rows of two arrays as a split."""
    return Split(
        inputs=torch.from_numpy(inputs[rows]),
        targets=torch.from_numpy(targets[rows].astype(np.int64)),
    )


def mean_std(inputs: Tensor) -> tuple[float, float]:
    """Mean and standard deviation over all values of the training inputs.

    By numpy: torch's sums differ in their last digits between numbers of threads, and so would
    the keys of a driver and its workers.
    """
    values = inputs.numpy().astype(np.float64)
    return float(values.mean()), max(float(values.std(ddof=1)), 1e-6)
