"""The size in which a family looks at pictures: a choice, paid for inside the network."""

from typing import Annotated

from pydantic import Field
from torch import nn

Resolution = Annotated[int, Field(ge=0, le=1024)]
"""`resolution`: the shorter side in pixels of the picture the network works on; 0 as given."""


def resized(input_shape: tuple[int, ...], resolution: int) -> tuple[int, int]:
    """(height, width) of the picture with `resolution` as its shorter side; 0 as given.

    >>> resized((3, 32, 48), 16)
    (16, 24)
    """
    height, width = input_shape[1:]
    factor = resolution / min(height, width) if resolution else 1.0
    return max(1, round(height * factor)), max(1, round(width * factor))


def resizing(input_shape: tuple[int, ...], resolution: int) -> list[nn.Module]:
    """Layers that bring a picture to `resolution`: nothing where it has it already.

    Averages over whole windows as far as the picture shrinks by whole factors, so that no pixel
    is skipped; then bilinear. Sizes are fixed, so that the layers export.
    """
    sides, wanted = input_shape[1:], resized(input_shape, resolution)
    windows = (max(1, sides[0] // wanted[0]), max(1, sides[1] // wanted[1]))
    layers: list[nn.Module] = []
    if max(windows) > 1:
        layers.append(nn.AvgPool2d(windows))
        sides = (sides[0] // windows[0], sides[1] // windows[1])
    if tuple(sides) != wanted:
        layers.append(nn.Upsample(wanted, mode="bilinear"))
    return layers


def canonical_resolution(input_shape: tuple[int, ...], resolution: int) -> int:
    """The shorter side in pixels, also where it is as given."""
    return resolution or min(input_shape[1:])
