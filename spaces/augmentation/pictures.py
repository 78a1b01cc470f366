"""Changes to pictures (N, C, H, W) that are standardised: 0 is the mean of the data."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from spaces.augmentation.draws import uniform, window

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel. Source: ITU-R BT.601."""
ASPECT = 1 / 0.3
"""Height to width of an erased rectangle, at most and at least its inverse.

Source: Zhong et al. 2020 (random erasing), arXiv:1708.04896: r1 = 0.3.
"""


def move(
    inputs: Tensor,
    generator: Generator,
    *,
    rotate_deg: float = 0.0,
    shift: float = 0.0,
    flip: bool = False,
    scale: float = 0.0,
) -> Tensor:
    """One affine map a picture."""
    count = len(inputs)
    angle = uniform(count, generator) * math.radians(rotate_deg)
    mirror = torch.ones(count)
    if flip:
        mirror -= 2 * torch.randint(2, (count,), generator=generator)
    maps = turns(angle, inputs)
    maps[:, :, 0] *= mirror[:, None]
    # affine_grid's coordinates span 2, from -1 to 1
    maps[:, 0, 2] = uniform(count, generator) * 2 * shift
    maps[:, 1, 2] = uniform(count, generator) * 2 * shift
    if scale:
        maps[:, :, :2] *= (uniform(count, generator) * math.log1p(scale)).exp()[:, None, None]
    return warp(inputs, maps)


def turns(angle: Tensor, inputs: Tensor) -> Tensor:
    """Maps (N, 2, 3) of `warp` that turn by `angle` (N,) in radians."""
    maps = torch.zeros(len(angle), 2, 3)
    aspect = inputs.shape[2] / inputs.shape[3]  # both sides span 2: a turn must not shear
    maps[:, 0, 0], maps[:, 0, 1] = angle.cos(), -angle.sin() * aspect
    maps[:, 1, 0], maps[:, 1, 1] = angle.sin() / aspect, angle.cos()
    return maps


def warp(inputs: Tensor, maps: Tensor) -> Tensor:
    """Pictures with pixels taken from where `maps` (N, 2, 3) say, bilinear; borders repeat."""
    grid = functional.affine_grid(maps.to(inputs), list(inputs.shape), align_corners=False)
    return functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


def crop(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Pad each side with 0 by a share of its length, rounded up; cut out the former size.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2: 4 of 32 pixels, a share of 0.125.
    """
    count, _, height, width = inputs.shape
    down, across = math.ceil(share * height), math.ceil(share * width)
    top = torch.randint(2 * down + 1, (count, 1), generator=generator)
    left = torch.randint(2 * across + 1, (count, 1), generator=generator)
    rows = (top + torch.arange(height)).to(inputs.device)
    columns = (left + torch.arange(width)).to(inputs.device)
    padded = functional.pad(inputs, (across, across, down, down)).movedim(1, 3)
    picture = torch.arange(count, device=inputs.device)[:, None, None]
    return padded[picture, rows[:, :, None], columns[:, None]].movedim(3, 1)


def light(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Other brightness and contrast, each picture its own."""
    inputs = brighten(inputs, share * uniform(len(inputs), generator))
    return stretch_contrast(inputs, share * uniform(len(inputs), generator))


def colour(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Stronger or weaker colours, each picture its own."""
    return saturate(inputs, share * uniform(len(inputs), generator))


def brighten(inputs: Tensor, amount: Tensor) -> Tensor:
    """Add `amount` (N,), in standard deviations of the data."""
    return inputs + _each(amount, inputs)


def stretch_contrast(inputs: Tensor, amount: Tensor) -> Tensor:
    """Multiply the distance from the picture's mean by 1 + `amount` (N,)."""
    mean = inputs.mean((1, 2, 3), keepdim=True)
    return mean + (inputs - mean) * (1 + _each(amount, inputs))


def saturate(inputs: Tensor, amount: Tensor) -> Tensor:
    """Multiply the distance of red, green, blue from grey by 1 + `amount` (N,)."""
    grey = (inputs * inputs.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    return grey + (inputs - grey) * (1 + _each(amount, inputs))


def _each(amount: Tensor, inputs: Tensor) -> Tensor:
    return amount.to(inputs)[:, None, None, None]


def erase(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Set a rectangle of each picture to 0; its area is even in [0, share] of the picture's.

    Source: Zhong et al. 2020, arXiv:1708.04896, algorithm 1, without its probability: an area may
    be next to nothing.
    """
    count, _, height, width = inputs.shape
    area = torch.rand(count, generator=generator) * share
    aspect = (uniform(count, generator) * math.log(ASPECT)).exp()
    tall = (area * aspect).sqrt().clamp(max=1.0).maximum(area)  # so that the width fits too
    wide = area / tall.clamp(min=1e-12)
    rows = window(height, tall * height, torch.rand(count, generator=generator))
    columns = window(width, wide * width, torch.rand(count, generator=generator))
    erased = (rows[:, None, :, None] & columns[:, None, None, :]).to(inputs.device)
    return inputs.masked_fill(erased, 0)
