"""Changes to a training batch that keep its meaning; done on the device that trains."""

import math

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor
from torch.nn import functional

Targets = tuple[tuple[Tensor, float], ...]


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Augmentation:
    """Each field is a choice of the study file's `augmentation` section; 0 switches it off.

    Random numbers come from the CPU generator of the training, so a seed fixes them on every
    device.
    """

    rotate_deg: float = Field(default=0.0, ge=0, le=180)
    """Pictures are turned by an angle drawn evenly from [-rotate_deg, rotate_deg]."""
    shift: float = Field(default=0.0, ge=0, lt=1)
    """Pictures are moved by up to this share of their sides; what comes in is background."""
    flip: bool = False
    """Pictures are mirrored left to right, one in two."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of Gaussian noise, in standard deviations of the data."""
    mixup: float = Field(default=0.0, ge=0)
    """Alpha of mixup's Beta(alpha, alpha); 0 for none."""

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: Generator
    ) -> tuple[Tensor, Targets]:
        """(inputs (N, ...), targets (N, ...)) -> changed inputs and weighted targets."""
        if inputs.dim() == 4 and (self.rotate_deg or self.shift or self.flip):
            inputs = self._move(inputs, generator)
        if self.noise:
            noise = torch.randn(inputs.shape, generator=generator).to(inputs.device)
            inputs = inputs + self.noise * noise
        if self.mixup:
            return _mixup(inputs, targets, self.mixup, generator)
        return inputs, ((targets, 1.0),)

    def _move(self, inputs: Tensor, generator: Generator) -> Tensor:
        """One affine map a picture, bilinear; border pixels repeat."""
        count = len(inputs)
        angle = _uniform(count, generator) * math.radians(self.rotate_deg)
        mirror = torch.ones(count)
        if self.flip:
            mirror -= 2 * torch.randint(2, (count,), generator=generator)
        maps = torch.zeros(count, 2, 3)
        aspect = inputs.shape[2] / inputs.shape[3]  # both sides span 2: a turn must not shear
        maps[:, 0, 0], maps[:, 0, 1] = angle.cos() * mirror, -angle.sin() * aspect
        maps[:, 1, 0], maps[:, 1, 1] = angle.sin() * mirror / aspect, angle.cos()
        # affine_grid's coordinates span 2, from -1 to 1
        maps[:, 0, 2] = _uniform(count, generator) * 2 * self.shift
        maps[:, 1, 2] = _uniform(count, generator) * 2 * self.shift
        grid = functional.affine_grid(maps.to(inputs), list(inputs.shape), align_corners=False)
        return functional.grid_sample(inputs, grid, padding_mode="border", align_corners=False)


def _uniform(count: int, generator: Generator) -> Tensor:
    """(count,) numbers, even in [-1, 1]."""
    return 2 * torch.rand(count, generator=generator) - 1


def _mixup(
    inputs: Tensor, targets: Tensor, alpha: float, generator: Generator
) -> tuple[Tensor, Targets]:
    """Mix every input with another of the batch, one share for all.

    Source: Zhang et al. 2018, arXiv:1710.09412, eq. 1; one lambda a batch as in its listing.
    """
    # a Beta is a ratio of Gammas; torch.distributions.Beta takes no generator
    gammas = torch._standard_gamma(torch.full((2,), float(alpha)), generator=generator)
    share = float((gammas[0] / gammas.sum().clamp(min=1e-12)).clamp(0, 1))
    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    mixed = share * inputs + (1 - share) * inputs[order]
    return mixed, ((targets, share), (targets[order], 1 - share))
