"""Two inputs in one: mixup and CutMix, and the weights of their targets."""

import math

import torch
from torch import Generator, Tensor

Targets = tuple[tuple[Tensor, float], ...]
"""((targets, weight), ...): weights sum to 1."""


def mix(
    inputs: Tensor, targets: Tensor, mixup_alpha: float, cutmix_alpha: float, generator: Generator
) -> tuple[Tensor, Targets]:
    """Mixup, CutMix, or where both are on, one of the two for the whole batch, evenly drawn.

    Source of the rule: torchvision's training recipe and timm (`switch_prob` 0.5).
    """
    if mixup_alpha and cutmix_alpha:
        cut = bool(torch.randint(2, (1,), generator=generator))
    else:
        cut = bool(cutmix_alpha)
    if cut:
        return cutmix(inputs, targets, cutmix_alpha, generator)
    return mixup(inputs, targets, mixup_alpha, generator)


def mixup(
    inputs: Tensor, targets: Tensor, alpha: float, generator: Generator
) -> tuple[Tensor, Targets]:
    """Mix every input with another of the batch, one share for all.

    Source: Zhang et al. 2018, arXiv:1710.09412, eq. 1; one lambda a batch as in its listing.
    """
    share = _beta(alpha, generator)
    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    mixed = share * inputs + (1 - share) * inputs[order]
    return mixed, ((targets, share), (targets[order], 1 - share))


def cutmix(
    inputs: Tensor, targets: Tensor, alpha: float, generator: Generator
) -> tuple[Tensor, Targets]:
    """Paste a rectangle of another picture of the batch, the same rectangle for all.

    The weights are the shares of the area, after the rectangle was cut at the border.
    Source: Yun et al. 2019, arXiv:1905.04899, eq. 1 and 2 and algorithm A1.
    """
    height, width = inputs.shape[2:]
    side = math.sqrt(1 - _beta(alpha, generator))
    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    rows = _span(height, side, generator)
    columns = _span(width, side, generator)
    mixed = inputs.clone()
    mixed[:, :, rows, columns] = inputs[order][:, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed, ((targets, 1 - pasted), (targets[order], pasted))


def _span(size: int, share: float, generator: Generator) -> slice:
    """`share` of `size` places around an even centre, cut at both ends."""
    length, centre = round(size * share), int(torch.randint(size, (1,), generator=generator))
    start = centre - length // 2
    return slice(max(0, start), min(size, start + length))


def _beta(alpha: float, generator: Generator) -> float:
    """A draw of Beta(alpha, alpha): a ratio of Gammas, as torch's Beta takes no generator."""
    gammas = torch._standard_gamma(torch.full((2,), float(alpha)), generator=generator)
    return float((gammas[0] / gammas.sum().clamp(min=1e-12)).clamp(0, 1))
