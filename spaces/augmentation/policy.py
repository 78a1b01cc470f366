"""A random choice of operations for each picture, under one strength.

The operations are those of RandAugment that need no range of pixel values: a batch is standardised
and its range is not known here. Left out: posterize, solarize, equalize and auto-contrast.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from spaces.augmentation.draws import uniform
from spaces.augmentation.pictures import brighten, saturate, stretch_contrast, turns, warp

Policy = Literal["none", "rand", "trivial"]
Operation = Callable[[Tensor, Tensor], Tensor]
"""(pictures (N, C, H, W), amount (N,) in [-1, 1]) -> changed pictures."""

RAND_OPERATIONS = 2
"""Operations a picture of `rand`, one after the other.

Source: Cubuk et al. 2020 (RandAugment), arXiv:1909.13719, section 4.4: N = 2 for ImageNet.
"""
ROTATE_RAD, SHEAR, SHIFT, PHOTOMETRIC = 0.5236, 0.3, 0.45, 0.9
"""What amount 1 means: 30 degrees; tangent; share of a side; share, or standard deviations.

Source: Cubuk et al. 2019 (AutoAugment), arXiv:1805.09501, table 6.
"""


def apply_policy(
    inputs: Tensor, policy: Literal["rand", "trivial"], strength: float, generator: Generator
) -> Tensor:
    """Pictures (N, C, H, W), each changed by operations drawn evenly from the table.

    `rand`: two operations, each at `strength` with a random sign. `trivial`: one, at an amount
    even in [-strength, strength]; Müller and Hutter 2021 (TrivialAugment), arXiv:2103.10158.
    """
    operations = _operations(inputs)
    for _ in range(RAND_OPERATIONS if policy == "rand" else 1):
        drawn = torch.randint(len(operations) + 1, (len(inputs),), generator=generator)
        amount = uniform(len(inputs), generator)
        amount = strength * (amount.sign() if policy == "rand" else amount)
        inputs = _apply(inputs, list(operations.values()), drawn, amount)
    return inputs


def _apply(inputs: Tensor, operations: list[Operation], drawn: Tensor, amount: Tensor) -> Tensor:
    """Apply operation `drawn` (N,) to each picture; beyond the last is the identity."""
    changed = inputs.clone()
    for number, operation in enumerate(operations):
        chosen = (drawn == number).nonzero()[:, 0]
        if len(chosen):
            rows = chosen.to(inputs.device)
            changed[rows] = operation(inputs[rows], amount[chosen])
    return changed


def _operations(inputs: Tensor) -> Mapping[str, Operation]:
    """Every operation for pictures with these channels; the identity comes on top."""
    return OPERATIONS if inputs.shape[1] == len("RGB") else COLOURLESS


def _rotate(inputs: Tensor, amount: Tensor) -> Tensor:
    return warp(inputs, turns(ROTATE_RAD * amount, inputs))


def _affine(inputs: Tensor, amount: Tensor, row: int, column: int) -> Tensor:
    """`amount` at one place of maps that are the identity elsewhere."""
    maps = torch.eye(2, 3).repeat(len(inputs), 1, 1)
    maps[:, row, column] = amount
    return warp(inputs, maps)


def _shear_x(inputs: Tensor, amount: Tensor) -> Tensor:
    return _affine(inputs, SHEAR * amount * (inputs.shape[2] / inputs.shape[3]), 0, 1)


def _shear_y(inputs: Tensor, amount: Tensor) -> Tensor:
    return _affine(inputs, SHEAR * amount * (inputs.shape[3] / inputs.shape[2]), 1, 0)


def _shift_x(inputs: Tensor, amount: Tensor) -> Tensor:
    return _affine(inputs, 2 * SHIFT * amount, 0, 2)  # affine_grid's coordinates span 2


def _shift_y(inputs: Tensor, amount: Tensor) -> Tensor:
    return _affine(inputs, 2 * SHIFT * amount, 1, 2)


def _brightness(inputs: Tensor, amount: Tensor) -> Tensor:
    return brighten(inputs, PHOTOMETRIC * amount)


def _contrast(inputs: Tensor, amount: Tensor) -> Tensor:
    return stretch_contrast(inputs, PHOTOMETRIC * amount)


def _sharpness(inputs: Tensor, amount: Tensor) -> Tensor:
    """Multiply the distance from a smoothed picture; the kernel is that of PIL's SMOOTH."""
    channels = inputs.shape[1]
    kernel = inputs.new_ones(channels, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    padded = functional.pad(inputs, (1, 1, 1, 1), mode="replicate")
    smooth = functional.conv2d(padded, kernel / 13, groups=channels)
    return smooth + (inputs - smooth) * (1 + PHOTOMETRIC * amount.to(inputs)[:, None, None, None])


def _saturation(inputs: Tensor, amount: Tensor) -> Tensor:
    return saturate(inputs, PHOTOMETRIC * amount)


COLOURLESS: dict[str, Operation] = {
    "rotate": _rotate,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "shift_x": _shift_x,
    "shift_y": _shift_y,
    "brightness": _brightness,
    "contrast": _contrast,
    "sharpness": _sharpness,
}
OPERATIONS: dict[str, Operation] = {**COLOURLESS, "saturation": _saturation}
