"""Layers that several families offer by name."""

from typing import Literal

from torch import nn

Activation = Literal["relu", "leaky_relu", "silu", "hardswish", "gelu", "tanh"]
PoolKind = Literal["max", "avg"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


def not_pictures(
    family: str, input_shape: tuple[int, ...], vocabulary: tuple[int, ...]
) -> str | None:
    """Why a family of convolutional networks cannot take such inputs, or None."""
    if len(input_shape) == 3 and not vocabulary:
        return None
    given = f"{'ids of shape' if vocabulary else 'shape'} {input_shape}"
    return f"{family} takes pictures (channels, height, width), not {given}"


def pooling(kind: PoolKind, window: int) -> nn.Module:
    """A pooling with stride 2 that halves a map, rounding down for even windows, else up."""
    padding = (window - 1) // 2
    if kind == "max":
        return nn.MaxPool2d(window, stride=2, padding=padding)
    return nn.AvgPool2d(window, stride=2, padding=padding, count_include_pad=False)


def pooled(side: int, window: int) -> int:
    """Side length of a map after `pooling` with `window`."""
    return (side + 2 * ((window - 1) // 2) - window) // 2 + 1
