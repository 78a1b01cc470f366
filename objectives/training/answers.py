"""What a network answers on a whole split."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from objectives.tasks.task import Split, Splits, Task

CHUNK = 512
"""Inputs at once."""


def answers(run: Callable[[Tensor], Tensor], inputs: Tensor, splits: Splits) -> Tensor:
    """Outputs (N, K) of a deployed network on stored inputs (N, ...), in chunks of 512."""
    return torch.cat([run(splits.prepare(chunk)) for chunk in torch.split(inputs, CHUNK)])


def mean_loss(network: nn.Module, task: Task, splits: Splits, split: Split, device: str) -> float:
    """The task's loss over a split, float32, chunk means weighted by their sizes.

    Leaves the network in eval mode.
    """

    def run(inputs: Tensor) -> Tensor:
        outputs: Tensor = network(inputs.to(device))
        return outputs.float().cpu()

    network.eval()
    with torch.no_grad():
        outputs = answers(run, split.inputs, splits)
        parts = zip(torch.split(outputs, CHUNK), torch.split(split.targets, CHUNK), strict=True)
        total = sum(len(part) * float(task.loss(part, targets)) for part, targets in parts)
    return total / len(split)
