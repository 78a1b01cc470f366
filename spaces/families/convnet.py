"""A convolutional network: stages of blocks, each ended by a pooling."""

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
    Norm,
    each_stage,
    kernel_too_large,
    not_pictures,
    pooled,
    pooling,
    strided,
)
from spaces.families.resolution import Resolution, canonical_resolution, resized, resizing
from spaces.part import PER_STAGE

Width = Annotated[int, Field(ge=1, le=4096)]
Kernel = Literal[1, 3, 5, 7, 9, 11]
Window = Annotated[int, Field(ge=0, le=7)]
Block = Literal["plain", "residual", "separable"]
Blocks = Annotated[int, Field(ge=1, le=16)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ConvNet:
    """Stages of `blocks` x (convolution, batch norm, activation) and a pooling; linear head.

    Input (channels, height, width). After the last stage the map is averaged to one value a
    channel. Convolutions keep the size of the map.

    Sources: `residual` He et al. 2016, arXiv:1512.03385; `separable` Howard et al. 2017,
    arXiv:1704.04861; `se` Hu et al. 2018, arXiv:1709.01507; `stride` Springenberg et al. 2015,
    arXiv:1412.6806; `batch` Ioffe and Szegedy 2015, arXiv:1502.03167; `dropout` Srivastava et al.
    2014, JMLR 15.
    """

    depth: int = Field(default=2, ge=1, le=12)
    """Number of stages."""
    width: Annotated[Width | tuple[Width, ...], PER_STAGE] = 32
    """Channels of a stage."""
    kernel: Annotated[Kernel | tuple[Kernel, ...], PER_STAGE] = 3
    """Side of the convolutions of a stage."""
    blocks: Annotated[Blocks | tuple[Blocks, ...], PER_STAGE] = 1
    """Blocks of a stage."""
    block: Block = "plain"
    """One convolution; two and a shortcut; a depthwise and a 1 x 1, but the first block plain."""
    norm: Norm = "batch"
    """What follows each convolution; `none` gives it a bias instead."""
    se: Squeeze = 0
    """Squeeze-and-excitation in each block, with width / se hidden channels; 0 for none."""
    pool: Annotated[Window | tuple[Window, ...], PER_STAGE] = 2
    """Window of the pooling that ends a stage, stride 2; 0 for none; skipped on a 1 x 1 map."""
    pool_kind: Literal["max", "avg", "stride"] = "max"
    """`stride`: no pooling; the last block of the stage has the stride `pool`."""
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
        """Pictures only, at `resolution` at least as large as the kernels."""
        if reason := not_pictures("convnet", input_shape, vocabulary):
            return reason
        seen = (input_shape[0], *resized(input_shape, self.resolution))
        return kernel_too_large("convnet", each_stage(self.kernel, self.depth), seen)

    def canonical(self, input_shape: tuple[int, ...]) -> "ConvNet":
        """Values for each stage that exists; pooling 0 where there is nothing to pool."""
        pools = self._pools(input_shape)
        return ConvNet(
            depth=self.depth,
            width=each_stage(self.width, self.depth),
            kernel=each_stage(self.kernel, self.depth),
            blocks=each_stage(self.blocks, self.depth),
            block=self.block,
            norm=self.norm,
            se=self.se,
            pool=pools,
            pool_kind=self.pool_kind if any(pools) else "max",
            activation=self.activation,
            dropout=self.dropout,
            resolution=canonical_resolution(input_shape, self.resolution),
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose the stages and the head."""
        channels = input_shape[0]
        layers: list[nn.Module] = []
        for width, kernel, blocks, pool in zip(
            each_stage(self.width, self.depth),
            each_stage(self.kernel, self.depth),
            each_stage(self.blocks, self.depth),
            self._pools(input_shape),
            strict=True,
        ):
            last = pool if pool and self.pool_kind == "stride" else 1
            for stride in (*(1,) * (blocks - 1), last):
                # a first depthwise convolution would tie its channels to the picture's
                block = self.block if layers or self.block != "separable" else "plain"
                layers += self._block(block, channels, width, kernel, stride)
                channels = width
            if pool and self.pool_kind != "stride":
                layers.append(pooling(self.pool_kind, pool))
        return nn.Sequential(
            *resizing(input_shape, self.resolution),
            *layers,
            *head(channels, outputs, self.dropout),
        )

    def _block(
        self, block: Block, channels: int, width: int, kernel: int, stride: int
    ) -> list[nn.Module]:
        squeeze = squeeze_excitation(width, self.se)
        if block == "residual":
            body = [
                *self._convolution(channels, width, kernel, stride),
                *convolution(width, width, kernel, activation=None, norm=self.norm),
                *squeeze,
            ]
            short = shortcut(channels, width, stride, self.norm)
            return [Residual(body, short, [ACTIVATIONS[self.activation]()])]
        if block == "separable":
            return [
                *self._convolution(channels, channels, kernel, stride, groups=channels),
                *self._convolution(channels, width, 1, 1),
                *squeeze,
            ]
        return [*self._convolution(channels, width, kernel, stride), *squeeze]

    def _convolution(
        self, channels: int, width: int, kernel: int, stride: int, groups: int = 1
    ) -> list[nn.Module]:
        return convolution(
            channels,
            width,
            kernel,
            activation=self.activation,
            norm=self.norm,
            stride=stride,
            groups=groups,
        )

    def _pools(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The pooling window of each stage, 0 where a side of the map is 1 already."""
        left = strided if self.pool_kind == "stride" else pooled
        height, width = resized(input_shape, self.resolution)
        pools = []
        for window in each_stage(self.pool, self.depth):
            used = window if min(height, width) > 1 else 0
            if used:
                height, width = left(height, used), left(width, used)
            pools.append(used)
        return tuple(pools)
