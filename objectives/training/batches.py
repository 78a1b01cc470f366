"""An epoch's rows as batches, and batches as steps."""

import torch
from torch import Tensor

from objectives.training.settings import Training


def steps_of(order: Tensor, settings: Training) -> list[list[Tensor]]:
    """The rows of each batch of each step of an epoch; the last step may have fewer of both."""
    batches, count = batches_of(order, settings.batch), settings.accumulate
    return [batches[start : start + count] for start in range(0, len(batches), count)]


def batches_of(order: Tensor, size: int) -> list[Tensor]:
    """Batches of `size`; a last one of a single input joins the one before (batch norm)."""
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
