"""Layers that several families offer by name, and the sides of the maps they leave."""

from collections.abc import Iterable
from typing import Literal, TypeVar

from torch import nn

T = TypeVar("T")
Activation = Literal["relu", "relu6", "leaky_relu", "elu", "silu", "hardswish", "gelu", "tanh"]
Norm = Literal["batch", "none"]
PoolKind = Literal["max", "avg"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}

SMALL = 64
"""Up to this side a picture is small: the first convolution of a family keeps its size.

Source: He et al. 2016, arXiv:1512.03385, section 4.2 (networks for 32 x 32); 64 is ours.
"""
LEAST_HALVED = 8
"""Smallest side that a stage still halves: a map under 4 x 4 has no room for a 3 x 3 kernel."""


def not_pictures(
    family: str, input_shape: tuple[int, ...], vocabulary: tuple[int, ...]
) -> str | None:
    """Why a family of convolutional networks cannot take such inputs, or None."""
    if len(input_shape) == 3 and not vocabulary:
        return None
    given = f"{'ids of shape' if vocabulary else 'shape'} {input_shape}"
    return f"{family} takes pictures (channels, height, width), not {given}"


def kernel_too_large(
    family: str, kernels: Iterable[int], input_shape: tuple[int, ...]
) -> str | None:
    """Why kernels do not fit a picture: one is larger than its longer side. Or None."""
    largest, (height, width) = max(kernels), input_shape[1:]
    if largest <= max(height, width, 3):
        return None
    return (
        f"{family} kernel {largest} is larger than the picture, {height} x {width}; "
        f"choose at most {max(height, width, 3)}"
    )


def each_stage(value: T | tuple[T, ...], depth: int) -> tuple[T, ...]:
    """One value a stage; a tuple may be longer (values of stages that do not exist)."""
    return value[:depth] if isinstance(value, tuple) else (value,) * depth


def pooling(kind: PoolKind, window: int) -> nn.Module:
    """A pooling with stride 2 that halves a map, rounding down for even windows, else up."""
    padding = (window - 1) // 2
    if kind == "max":
        return nn.MaxPool2d(window, stride=2, padding=padding)
    return nn.AvgPool2d(window, stride=2, padding=padding, count_include_pad=False)


def pooled(side: int, window: int) -> int:
    """Side length of a map after `pooling` with `window`."""
    return (side + 2 * ((window - 1) // 2) - window) // 2 + 1


def strided(side: int, stride: int) -> int:
    """Side length of a map after a convolution that keeps the size but for its stride."""
    return (side - 1) // stride + 1


def stem_stride(sides: tuple[int, ...]) -> int:
    """Stride of the first convolution: small pictures keep their size."""
    return 1 if min(sides) <= SMALL else 2


def stage_stride(sides: tuple[int, ...]) -> int:
    """Stride of a stage that halves its map, 1 where little would be left."""
    return 2 if min(sides) >= LEAST_HALVED else 1


def eighths(channels: float) -> int:
    """`channels` as a multiple of 8, at least 8, and not under nine tenths of it.

    Source: `_make_divisible` of the authors' MobileNet code (tensorflow/models, slim).
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
