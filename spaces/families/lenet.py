"""LeNet-5 with choices: two convolutions with pooling, two hidden linear layers."""

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from spaces.families.layers import ACTIVATIONS, Activation, PoolKind, not_pictures, pooled, pooling


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class LeNet:
    """Convolutions of 6 and 16 channels, linear layers of 120 and 84, times `width`.

    Input (channels, height, width). The first convolution keeps the size of the map, so that
    pictures from 8 x 8 on fit; the second keeps it too where the map is under twice `kernel`.

    Source: LeCun et al. 1998, doi:10.1109/5.726791, figure 2; batch norm and activations as named
    here are ours.
    """

    width: float = Field(default=1.0, gt=0, le=32)
    """Factor on the channels and hidden units of the original."""
    kernel: Literal[3, 5, 7] = 5
    pool_kind: PoolKind = "avg"
    hidden: Literal[0, 1, 2] = 2
    """Hidden linear layers: 0, the first, or both."""
    norm: bool = False
    """Batch normalisation after each convolution."""
    activation: Activation = "tanh"

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures that can be halved twice."""
        if reason := not_pictures("lenet", input_shape, vocabulary):
            return reason
        if min(input_shape[1:]) < 4:
            return f"lenet halves the map twice; {input_shape[1]} x {input_shape[2]} is too small"
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "LeNet":
        """Every choice matters."""
        return self

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose convolutions and head."""
        first, second, wide, narrow = (max(1, round(n * self.width)) for n in (6, 16, 120, 84))
        height, width = (pooled(side, 2) for side in input_shape[1:])
        padding = 0 if min(height, width) >= 2 * self.kernel else self.kernel // 2
        shrink = 2 * (self.kernel // 2 - padding)
        height, width = (pooled(side - shrink, 2) for side in (height, width))
        layers = [
            *self._convolution(input_shape[0], first, self.kernel // 2),
            *self._convolution(first, second, padding),
            nn.Flatten(),
        ]
        units = second * height * width
        for hidden in (wide, narrow)[: self.hidden]:
            layers += [nn.Linear(units, hidden), ACTIVATIONS[self.activation]()]
            units = hidden
        return nn.Sequential(*layers, nn.Linear(units, outputs))

    def _convolution(self, channels: int, width: int, padding: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(width)] if self.norm else []
        return [
            nn.Conv2d(channels, width, self.kernel, padding=padding),
            *norm,
            ACTIVATIONS[self.activation](),
            pooling(self.pool_kind, 2),
        ]
