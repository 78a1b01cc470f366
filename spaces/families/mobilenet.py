"""MobileNet: stages of inverted residuals with depthwise convolutions."""

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
    squeeze_excitation,
)
from spaces.families.layers import (
    Activation,
    each_stage,
    eighths,
    kernel_too_large,
    not_pictures,
    stage_stride,
    stem_stride,
    strided,
)
from spaces.families.resolution import Resolution, canonical_resolution, resized, resizing
from spaces.part import PER_STAGE

STEM = 32
STAGES = ((16, 1), (24, 2), (32, 2), (64, 2), (96, 1), (160, 2), (320, 1))
"""(channels, stride) of each stage. Source: Sandler et al. 2018, arXiv:1801.04381, table 2."""

Expansion = Literal[1, 2, 3, 4, 5, 6, 8]
Kernel = Literal[3, 5, 7]
Blocks = Annotated[int, Field(ge=1, le=8)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class MobileNet:
    """A 3 x 3 convolution, the first `depth` stages of MobileNetV2, a 1 x 1 layer, linear head.

    Input (channels, height, width). A block widens `expansion` times, filters each channel apart,
    and narrows without an activation; a shortcut skips it where shapes agree. Pictures up to 64
    pixels keep their size in the first convolution, and maps under 8 pixels in every stage.

    Sources: blocks, `width`, `expansion`, stages Sandler et al. 2018, arXiv:1801.04381, tables 1
    and 2; `se` and activations Howard et al. 2019, arXiv:1905.02244, section 5 (MobileNetV3, there
    hard-swish, `se` 4); `kernel` and `blocks` of a stage Tan et al. 2019, arXiv:1807.11626;
    `resolution` Howard et al. 2017, arXiv:1704.04861, section 3.4.
    """

    depth: int = Field(default=4, ge=1, le=len(STAGES))
    """Number of stages, of 16, 24, 32, 64, 96, 160 and 320 channels times `width`."""
    width: float = Field(default=1.0, gt=0, le=8)
    """Factor on all channels; they are rounded to multiples of 8."""
    expansion: Annotated[Expansion | tuple[Expansion, ...], PER_STAGE] = 4
    """How many times wider a block is inside, by stage."""
    kernel: Annotated[Kernel | tuple[Kernel, ...], PER_STAGE] = 3
    """Side of the depthwise convolutions of a stage."""
    blocks: Annotated[Blocks | tuple[Blocks, ...], PER_STAGE] = 2
    """Inverted residuals of a stage."""
    se: Squeeze = 0
    """Squeeze-and-excitation inside each block, its hidden channels by this; 0 for none."""
    last: Literal[0, 1, 2, 4] = 4
    """The 1 x 1 layer before the average is this many times as wide as the map; 0 for none."""
    activation: Activation = "relu6"
    dropout: Dropout = 0.0
    """Share of the averaged channels that a training step leaves out."""
    resolution: Resolution = 0
    """Shorter side in pixels that pictures are resized to inside the network; 0 as given."""

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures only, at least as large as the kernels."""
        if reason := not_pictures("mobilenet", input_shape, vocabulary):
            return reason
        shape = (input_shape[0], *resized(input_shape, self.resolution))
        return kernel_too_large("mobilenet", each_stage(self.kernel, self.depth), shape)

    def canonical(self, input_shape: tuple[int, ...]) -> "MobileNet":
        """Values for each stage that exists; the resolution in pixels."""
        return MobileNet(
            depth=self.depth,
            width=self.width,
            expansion=each_stage(self.expansion, self.depth),
            kernel=each_stage(self.kernel, self.depth),
            blocks=each_stage(self.blocks, self.depth),
            se=self.se,
            last=self.last,
            activation=self.activation,
            dropout=self.dropout,
            resolution=canonical_resolution(input_shape, self.resolution),
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose first layer, stages, last layer and head."""
        sides = resized(input_shape, self.resolution)
        channels, stride = eighths(STEM * self.width), stem_stride(sides)
        layers = resizing(input_shape, self.resolution)
        layers += convolution(
            input_shape[0], channels, 3, activation=self.activation, stride=stride
        )
        sides = (strided(sides[0], stride), strided(sides[1], stride))
        for (base, halved), expansion, kernel, blocks in zip(
            STAGES[: self.depth],
            each_stage(self.expansion, self.depth),
            each_stage(self.kernel, self.depth),
            each_stage(self.blocks, self.depth),
            strict=True,
        ):
            width, first = eighths(base * self.width), min(halved, stage_stride(sides))
            for stride in (first, *repeat(1, blocks - 1)):
                layers += self._block(channels, width, expansion, kernel, stride)
                channels = width
            sides = (strided(sides[0], first), strided(sides[1], first))
        if self.last:
            wide = self.last * channels
            layers += convolution(channels, wide, 1, activation=self.activation)
            channels = wide
        return nn.Sequential(*layers, *head(channels, outputs, self.dropout))

    def _block(
        self, channels: int, width: int, expansion: int, kernel: int, stride: int
    ) -> list[nn.Module]:
        """An inverted residual; without the first 1 x 1 layer where it widens nothing."""
        hidden, activation = channels * expansion, self.activation
        wider = convolution(channels, hidden, 1, activation=activation) if expansion > 1 else []
        body = [
            *wider,
            *convolution(
                hidden, hidden, kernel, activation=activation, stride=stride, groups=hidden
            ),
            *squeeze_excitation(hidden, self.se),
            *convolution(hidden, width, 1, activation=None),
        ]
        return [Residual(body, [], [])] if channels == width and stride == 1 else body
