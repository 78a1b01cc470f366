"""Random numbers, always drawn on the CPU: a seed fixes them on every device."""

import torch
from torch import Generator, Tensor


def uniform(count: int, generator: Generator) -> Tensor:
    """(count,) numbers, even in [-1, 1]."""
    return 2 * torch.rand(count, generator=generator) - 1


def chances(inputs: Tensor, shape: tuple[int, ...], share: float, generator: Generator) -> Tensor:
    """Truth values of `shape`, true with probability `share`, on the device of `inputs`."""
    return (torch.rand(shape, generator=generator) < share).to(inputs.device)


def stretches(size: int, count: int, share: float, generator: Generator) -> Tensor:
    """(count, size) truth values: one stretch of each row is true.

    Its length is even in [0, share] of `size`, rounded to whole places; it lies anywhere inside.
    Source: Park et al. 2019 (SpecAugment), arXiv:1904.08779, section 2.
    """
    length = torch.rand(count, generator=generator) * share * size
    return window(size, length, torch.rand(count, generator=generator))


def window(size: int, length: Tensor, place: Tensor) -> Tensor:
    """(N, size) truth values: `length` (N,) places from a start, both rounded, are true.

    `place` (N,) in [0, 1): 0 starts at the first place, near 1 ends at the last.
    """
    length = length.round()
    start = (place * (size + 1 - length)).floor()
    places = torch.arange(size)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
