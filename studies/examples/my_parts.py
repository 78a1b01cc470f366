"""A family, a step and a task of one's own; own.yaml beside this file names them.

python -m search.run studies/examples/own.yaml
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from objectives.tasks import ACCURACY, Metric, Split, Splits
from spaces.compression import Applied


def perceptron(
    input_shape: tuple[int, ...], outputs: int, *, depth: int = 1, width: int = 16
) -> nn.Module:
    """A family: any function or class that takes the shapes and its choices."""
    layers: list[nn.Module] = [nn.Flatten()]
    size = input_shape[0]
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, outputs))


@dataclass(frozen=True)
class Round:
    """A step: weights rounded to multiples of 2^-bits; 0 leaves them."""

    bits: int = 0

    def idle(self) -> bool:
        return self.bits == 0

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_((parameter * 2**self.bits).round() / 2**self.bits)
        return Applied(record={"bits": self.bits})


@dataclass(frozen=True)
class Ring:
    """A task: does a point of the plane lie in a ring?"""

    points: int = 1200
    metric: Metric = ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        inputs = torch.randn(self.points, 2, generator=torch.Generator().manual_seed(0))
        radius = inputs.norm(dim=1)
        targets = ((radius > 0.7) & (radius < 1.4)).long()
        parts = [
            Split(inputs=x, targets=y)
            for x, y in zip(
                inputs.split(self.points // 3), targets.split(self.points // 3), strict=True
            )
        ]
        return Splits(train=parts[0], validation=parts[1], test=parts[2], outputs=2)
