"""A plain convolutional network: stages of convolutions, each ended by a pooling."""

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from spaces.families.layers import ACTIVATIONS, Activation, PoolKind, not_pictures, pooled, pooling
from spaces.part import PER_STAGE

T = TypeVar("T")
Width = Annotated[int, Field(ge=1, le=4096)]
Kernel = Literal[1, 3, 5, 7, 9, 11]
Window = Annotated[int, Field(ge=0, le=7)]
Blocks = Annotated[int, Field(ge=1, le=16)]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ConvNet:
    """Stages of `blocks` x (convolution, batch norm, activation) and a pooling; linear head.

    Input (channels, height, width). After the last stage the map is averaged to one value a
    channel. Convolutions keep the size of the map.
    """

    depth: int = Field(default=2, ge=1, le=12)
    """Number of stages."""
    width: Annotated[Width | tuple[Width, ...], PER_STAGE] = 32
    """Channels of a stage."""
    kernel: Annotated[Kernel | tuple[Kernel, ...], PER_STAGE] = 3
    """Side of the convolutions of a stage."""
    blocks: Annotated[Blocks | tuple[Blocks, ...], PER_STAGE] = 1
    """Convolutions of a stage."""
    pool: Annotated[Window | tuple[Window, ...], PER_STAGE] = 2
    """Window of the pooling that ends a stage, stride 2; 0 for none; skipped on a 1 x 1 map."""
    pool_kind: PoolKind = "max"
    activation: Activation = "relu"

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures only."""
        return not_pictures("convnet", input_shape, vocabulary)

    def canonical(self, input_shape: tuple[int, ...]) -> "ConvNet":
        """Values for each stage that exists; pooling 0 where there is nothing to pool."""
        pools = self._pools(input_shape)
        return ConvNet(
            depth=self.depth,
            width=self._each(self.width),
            kernel=self._each(self.kernel),
            blocks=self._each(self.blocks),
            pool=pools,
            pool_kind=self.pool_kind if any(pools) else "max",
            activation=self.activation,
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose the stages and the head."""
        channels, layers = input_shape[0], []
        for width, kernel, blocks, pool in zip(
            self._each(self.width),
            self._each(self.kernel),
            self._each(self.blocks),
            self._pools(input_shape),
            strict=True,
        ):
            for _ in range(blocks):
                layers += _block(channels, width, kernel, self.activation)
                channels = width
            layers += [pooling(self.pool_kind, pool)] if pool else []
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)
        )

    def _each(self, value: T | tuple[T, ...]) -> tuple[T, ...]:
        """One value a stage; a tuple may be longer (values of stages that do not exist)."""
        return value[: self.depth] if isinstance(value, tuple) else (value,) * self.depth

    def _pools(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The pooling window of each stage, 0 where a side of the map is 1 already."""
        height, width = input_shape[1:]
        pools = []
        for window in self._each(self.pool):
            used = window if min(height, width) > 1 else 0
            if used:
                height, width = pooled(height, used), pooled(width, used)
            pools.append(used)
        return tuple(pools)


def _block(channels: int, width: int, kernel: int, activation: Activation) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        ACTIVATIONS[activation](),
    ]
