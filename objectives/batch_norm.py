"""Batch normalisation over a batch that several processes share.

torch's SyncBatchNorm does the same on GPUs, and refuses the CPU (torch 2.14: "expected input
tensor to be on GPU"), on which our tests compare it with one process.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def share_statistics(network: nn.Module) -> None:
    """Let every batch norm of `network` use the whole batch's mean and variance in training."""
    for module in network.modules():
        if isinstance(module, KINDS):
            module.forward = partial(_normalised, module)  # type: ignore[method-assign]


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its gradient, since each process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _normalised(norm: Any, inputs: Tensor) -> Tensor:
    """`inputs` (N, C, ...), one process's share, normalised as part of the whole.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1; the running variance is the
    unbiased one, as in torch.
    """
    if not norm.training:
        outputs: Tensor = type(norm).forward(norm, inputs)
        return outputs
    values = inputs.float()
    others = [dim for dim in range(values.dim()) if dim != 1]
    shape = [1, -1, *[1] * (values.dim() - 2)]
    count = torch.tensor([values.numel() / values.shape[1]], device=values.device)
    sums = _total(torch.cat([values.sum(others), count]))
    total, count = sums[:-1], sums[-1].detach()
    mean = total / count
    centred = values - mean.view(shape)
    variance = _total(centred.square().sum(others)) / count
    _remember(norm, mean.detach(), variance.detach(), count)
    scaled = centred * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        scaled = scaled * norm.weight.view(shape) + norm.bias.view(shape)
    return scaled.to(inputs.dtype)


def _total(value: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(value)
    return summed


def _remember(norm: Any, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Running statistics, for eval mode."""
    if not norm.track_running_stats:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * count / (count - 1).clamp(min=1), share)
