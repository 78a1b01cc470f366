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

from objectives.measurement import Direction, Measurement


class TaskError(ValueError):
    """The data is missing or unusable: what, where, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Inputs and targets of one part of the data."""

    inputs: Tensor
    """(N, ...), uint8 or int16 as stored, float32, or int64 ids."""
    targets: Tensor
    """(N,) int64 class numbers, or (N, K) float32 values in the unit of the table."""

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
    target_mean: tuple[float, ...] = ()
    """Where targets are values: a network's outputs are (target - target_mean) / target_std ..."""
    target_std: tuple[float, ...] = ()
    """... by the training split; empty where targets are classes."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, such as (channels, height, width)."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def signature(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """(shape of one input, outputs, vocabulary): what a network is built for."""
        return self.input_shape, self.outputs, self.vocabulary

    @property
    def has_values(self) -> bool:
        """Whether targets are values, not classes."""
        return self.train.targets.is_floating_point()

    def prepare(self, inputs: Tensor) -> Tensor:
        """Stored inputs -> inputs of a network: standardised float32, or ids as they are."""
        if self.vocabulary:
            return inputs
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (inputs.float() - mean) / std

    def standardise(self, targets: Tensor) -> Tensor:
        """Targets (N, K) in the unit of the table -> what a network is to answer."""
        if not self.target_mean:
            return targets
        return (targets - targets.new_tensor(self.target_mean)) / targets.new_tensor(
            self.target_std
        )

    def restore(self, outputs: Tensor) -> Tensor:
        """Answers (N, K) of a network -> values in the unit of the table."""
        if not self.target_mean:
            return outputs
        return outputs * outputs.new_tensor(self.target_std) + outputs.new_tensor(self.target_mean)


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


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of logits (N, K) against class numbers (N,)."""
    return functional.cross_entropy(outputs, targets)


def squared_error(splits: Splits, outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of outputs (N, K) against standardised targets (N, K).

    1 is what the mean of the training targets gets, whatever their unit.
    """
    return functional.mse_loss(outputs, splits.standardise(targets))


@lru_cache(maxsize=4)
def load(task: Task) -> Splits:
    """The splits of `task`, read once a process.

    Raises:
        TaskError: the data is missing, or not what a task may hold.
    """
    splits = task.splits()
    for name, split in (
        ("train", splits.train),
        ("validation", splits.validation),
        ("test", splits.test),
    ):
        if reason := _unusable(split, splits.outputs, splits.vocabulary):
            raise TaskError(f"the {name} part of the data {reason}; mend the data or the task")
    return splits


def _unusable(split: Split, outputs: int, vocabulary: tuple[int, ...]) -> str | None:
    """The first reason why a network cannot be trained or judged on a part, or None."""
    inputs, targets = split.inputs, split.targets
    if not len(targets) or len(inputs) != len(targets):
        return f"holds {len(inputs)} inputs and {len(targets)} targets"
    if targets.dtype == torch.int64 and targets.dim() == 1:
        wrong = (targets < 0) | (targets >= outputs)
        rule = f"a class beyond 0 to {outputs - 1}"
    else:
        wrong = ~targets.isfinite().flatten(1).all(1)
        rule = "a target that is not a finite number"
    if not wrong.any():
        wrong, rule = _unusable_inputs(inputs, vocabulary)
    if not wrong.any():
        return None
    row = int(wrong.nonzero()[0])
    return f"holds {rule} in row {row}: target {targets[row].tolist()}"


def _unusable_inputs(inputs: Tensor, vocabulary: tuple[int, ...]) -> tuple[Tensor, str]:
    """((N,) which inputs cannot be used, the rule they break)."""
    if vocabulary:
        wrong = (inputs < 0) | (inputs >= torch.tensor(vocabulary))
        return wrong.flatten(1).any(1), f"an id beyond the vocabulary {list(vocabulary)}"
    if not inputs.is_floating_point():
        return torch.zeros(len(inputs), dtype=torch.bool), ""
    return ~inputs.isfinite().flatten(1).all(1), "an input that is not a finite number"


@lru_cache(maxsize=4)
def fingerprint(task: Task) -> str:
    """Hash of the data as split and of the metric's name: what scores may depend on."""
    splits, digest = load(task), hashlib.sha256(task.metric.name.encode())
    for split in (splits.train, splits.validation, splits.test):
        for part in (split.inputs, split.targets):
            digest.update(f"{tuple(part.shape)}{part.dtype}".encode())
            digest.update(part.contiguous().numpy().tobytes())
    # sums differ in their last digits with the number of threads and the processor
    scales = (splits.mean, splits.std, splits.target_mean, splits.target_std)
    told = [[f"{value:.6g}" for value in np.ravel(np.asarray(scale))] for scale in scales]
    digest.update(str(told).encode())
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
    inputs: NDArray[np.generic],
    targets: NDArray[np.int64] | NDArray[np.float32],
    rows: NDArray[np.int64],
) -> Split:
    """The rows of two arrays as a split."""
    return Split(inputs=torch.from_numpy(inputs[rows]), targets=torch.from_numpy(targets[rows]))


def mean_std(inputs: Tensor) -> tuple[float, float]:
    """Mean and standard deviation over all values of the training inputs.

    By numpy: torch's sums differ in their last digits between numbers of threads, and so would
    the keys of a driver and its workers.
    """
    values = inputs.numpy()
    mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64, ddof=1)
    return float(mean), max(float(std), 1e-6)
