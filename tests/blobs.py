"""A synthetic task of milliseconds, small networks for it, and trainings of these."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from objectives.device import Turnstile
from objectives.tasks import ACCURACY, Metric, Split, Splits
from objectives.training import Progress, Targets, Training, begin, train


@dataclass(frozen=True)
class Blobs:
    """Synthetic: `count` pictures of 1 x 4 x 4 noise, brighter with the class; the first pixel
    of picture i holds i, so that every picture is known by it."""

    count: int = 65
    classes: int = 3
    scale: float = 1.0

    @property
    def metric(self) -> Metric:
        return ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        generator = torch.Generator().manual_seed(0)
        targets = torch.arange(self.count) % self.classes
        inputs = torch.randn(self.count, 1, 4, 4, generator=generator) * self.scale
        inputs += targets.view(-1, 1, 1, 1)
        inputs[:, 0, 0, 0] = torch.arange(self.count)
        part = Split(inputs=inputs, targets=targets)
        return Splits(train=part, validation=part, test=part, outputs=self.classes)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def linear(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))


def unchanged(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
    return inputs, ((targets, 1.0),)


def ready(task: Blobs, settings: Training, epochs: int, net: nn.Module | None = None) -> Progress:
    return begin(net or network(), settings, examples=task.count, epochs=epochs, seed=7)


def go(
    progress: Progress,
    task: Blobs,
    settings: Training,
    until_epoch: int,
    turnstile: Turnstile,
    augment: Callable[[Tensor, Tensor, Generator], tuple[Tensor, Targets]] = unchanged,
) -> None:
    train(
        progress,
        task,
        settings,
        augment,
        until_epoch=until_epoch,
        device="cpu",
        turnstile=turnstile,
    )


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded
