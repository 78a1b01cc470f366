"""ResNet: stages of residual blocks, each stage half as high and twice as wide."""

from itertools import repeat
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from spaces.families.blocks import (
    Dropout,
    Residual,
    Squeeze,
    convolution,
    head,
    shortcut,
    squeeze_excitation,
)
from spaces.families.layers import (
    ACTIVATIONS,
    Activation,
    each_stage,
    not_pictures,
    pooling,
    stage_stride,
    stem_stride,
    strided,
)
from spaces.families.resolution import Resolution, canonical_resolution, resized, resizing
from spaces.part import PER_STAGE

BOTTLENECK = 4
"""A bottleneck's output is this many times as wide as inside.

Source: He et al. 2016, arXiv:1512.03385, table 1.
"""

Blocks = Annotated[int, Field(ge=1, le=48)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ResNet:
    """A first convolution, `depth` stages of residual blocks, linear head.

    Input (channels, height, width). The first stage has `width` channels, each further one twice
    as many on half the side. Pictures up to 64 pixels begin with a 3 x 3 convolution that keeps
    their size, larger ones with 7 x 7, stride 2, and a pooling; maps under 8 pixels
    are not halved.
    ResNet-18 is `depth: 4, blocks: 2, width: 64`.

    Sources: blocks, stages and both beginnings He et al. 2016, arXiv:1512.03385, table 1, figure 5
    and section 4.2; stride in the 3 x 3 convolution of a bottleneck as in torchvision; `se` Hu et
    al. 2018, arXiv:1709.01507, figure 3; `width` Zagoruyko and Komodakis 2016, arXiv:1605.07146.
    """

    depth: int = Field(default=3, ge=1, le=5)
    """Number of stages."""
    width: int = Field(default=16, ge=1, le=512)
    """Channels of the first stage; of a bottleneck, inside."""
    blocks: Annotated[Blocks | tuple[Blocks, ...], PER_STAGE] = 2
    """Residual blocks of a stage."""
    block: Literal["basic", "bottleneck"] = "basic"
    """Two 3 x 3 convolutions; or 1 x 1, 3 x 3 and 1 x 1 to four times the channels."""
    se: Squeeze = 0
    """Squeeze-and-excitation in each block, its hidden channels by this; 0 for none."""
    activation: Activation = "relu"
    dropout: Dropout = 0.0
    """Share of the averaged channels that a training step leaves out."""
    resolution: Resolution = 0
    """Shorter side in pixels that pictures are resized to inside the network; 0 as given."""

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures only."""
        return not_pictures("resnet", input_shape, vocabulary)

    def canonical(self, input_shape: tuple[int, ...]) -> "ResNet":
        """Values for each stage that exists; the resolution in pixels."""
        return ResNet(
            depth=self.depth,
            width=self.width,
            blocks=each_stage(self.blocks, self.depth),
            block=self.block,
            se=self.se,
            activation=self.activation,
            dropout=self.dropout,
            resolution=canonical_resolution(input_shape, self.resolution),
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose the beginning, the stages and the head."""
        sides = resized(input_shape, self.resolution)
        small = stem_stride(sides) == 1
        kernel, stride = (3, 1) if small else (7, 2)
        layers = resizing(input_shape, self.resolution)
        layers += convolution(
            input_shape[0], self.width, kernel, activation=self.activation, stride=stride
        )
        layers += [] if small else [pooling("max", 3)]
        sides = sides if small else (strided(sides[0], 4), strided(sides[1], 4))
        channels = self.width
        for stage, blocks in enumerate(each_stage(self.blocks, self.depth)):
            first = stage_stride(sides) if stage else 1
            for stride in (first, *repeat(1, blocks - 1)):
                block, channels = self._block(channels, self.width * 2**stage, stride)
                layers.append(block)
            sides = (strided(sides[0], first), strided(sides[1], first))
        return nn.Sequential(*layers, *head(channels, outputs, self.dropout))

    def _block(self, channels: int, width: int, stride: int) -> tuple[nn.Module, int]:
        """(residual block, channels it leaves)."""
        activation = self.activation
        if self.block == "basic":
            out = width
            body = [
                *convolution(channels, width, 3, activation=activation, stride=stride),
                *convolution(width, out, 3, activation=None),
            ]
        else:
            out = BOTTLENECK * width
            body = [
                *convolution(channels, width, 1, activation=activation),
                *convolution(width, width, 3, activation=activation, stride=stride),
                *convolution(width, out, 1, activation=None),
            ]
        body += squeeze_excitation(out, self.se)
        short = shortcut(channels, out, stride)
        return Residual(body, short, [ACTIVATIONS[activation]()]), out
