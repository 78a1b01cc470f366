"""SqueezeNet: fire modules, which squeeze to few channels before each 3 x 3 convolution."""

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from spaces.families.blocks import Dropout, Parallel, convolution, head
from spaces.families.layers import (
    Activation,
    Norm,
    not_pictures,
    pooled,
    pooling,
    stage_stride,
    stem_stride,
    strided,
)
from spaces.families.resolution import Resolution, canonical_resolution, resized, resizing

POOLINGS = 3
"""Before the first, second and third group of fire modules, as in SqueezeNet 1.1."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SqueezeNet:
    """A 3 x 3 convolution, `depth` fire modules in groups after a pooling each, linear head.

    Input (channels, height, width). A fire module squeezes to few channels by 1 x 1, then expands
    by 1 x 1 and 3 x 3 side by side. The i-th (from 0) has `width` + `increment` (i // `every`)
    channels. SqueezeNet 1.1 is `depth: 8, width: 128, increment: 128, squeeze: 0.125, norm: none`.
    Pictures up to 64 pixels keep their size in the first convolution; maps under 8 pixels are not
    pooled. The classes are a linear layer of the average, where the original averages a 1 x 1
    convolution and its ReLU. No shortcuts (section 6 of the source): around joined branches, how
    many channels each of them loses to pruning would depend on the weights.

    Source: Iandola et al. 2016, arXiv:1602.07360, section 5.1 (`width` base_e, `increment` incr_e,
    `every` freq, `share` pct_3x3, `squeeze` SR); early pooling of version 1.1 from the authors'
    repository. `norm: batch` is ours.
    """

    depth: int = Field(default=4, ge=1, le=16)
    """Number of fire modules."""
    width: int = Field(default=64, ge=2, le=1024)
    """Channels that the first fire modules expand to."""
    increment: int = Field(default=64, ge=0, le=1024)
    """Channels more after each group."""
    every: int = Field(default=2, ge=1, le=16)
    """Fire modules of a group."""
    squeeze: float = Field(default=0.125, gt=0, le=1)
    """Squeezed channels as a share of the expanded ones."""
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of 3 x 3 among the expanding filters; the others are 1 x 1."""
    norm: Norm = "batch"
    """What follows each convolution; `none` gives it a bias instead."""
    activation: Activation = "relu"
    dropout: Dropout = 0.0
    """Share of the averaged channels that a training step leaves out."""
    resolution: Resolution = 0
    """Shorter side in pixels that pictures are resized to inside the network; 0 as given."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures only."""
        return not_pictures("squeezenet", input_shape, vocabulary)

    def canonical(self, input_shape: tuple[int, ...]) -> "SqueezeNet":
        """The increment 0 where there is one group; the resolution in pixels."""
        return SqueezeNet(
            depth=self.depth,
            width=self.width,
            increment=self.increment if self.depth > self.every else 0,
            every=self.every,
            squeeze=self.squeeze,
            share=self.share,
            norm=self.norm,
            activation=self.activation,
            dropout=self.dropout,
            resolution=canonical_resolution(input_shape, self.resolution),
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose the first convolution, the groups and the head."""
        sides = resized(input_shape, self.resolution)
        channels, stride = max(1, self.width // 2), stem_stride(sides)
        layers = resizing(input_shape, self.resolution)
        layers += self._convolution(input_shape[0], channels, 3, stride)
        sides = (strided(sides[0], stride), strided(sides[1], stride))
        for index in range(self.depth):
            group, first = divmod(index, self.every)
            if not first and group < POOLINGS and stage_stride(sides) > 1:
                layers.append(pooling("max", 3))
                sides = (pooled(sides[0], 3), pooled(sides[1], 3))
            width = self.width + self.increment * group
            layers += self._fire(channels, width)
            channels = width
        return nn.Sequential(*layers, *head(channels, outputs, self.dropout))

    def _fire(self, channels: int, width: int) -> list[nn.Module]:
        """Squeeze, then expand by two kernels side by side."""
        squeezed = max(1, round(self.squeeze * width))
        large = min(width - 1, max(1, round(self.share * width)))
        return [
            *self._convolution(channels, squeezed, 1),
            Parallel(
                [
                    self._convolution(squeezed, width - large, 1),
                    self._convolution(squeezed, large, 3),
                ]
            ),
        ]

    def _convolution(
        self, channels: int, width: int, kernel: int, stride: int = 1
    ) -> list[nn.Module]:
        return convolution(
            channels, width, kernel, activation=self.activation, norm=self.norm, stride=stride
        )
