"""A moving average of the weights over the steps of a training."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of `network` whose weights and statistics follow it with `decay` a step.

    The decay itself begins at 2/11 and rises to `decay`, so that the average of a short training
    is not that of its first, random weights. Statistics of norms are averaged like weights; counts
    are copied.

    Source: Polyak and Juditsky 1992, doi:10.1137/0330046; the rise, min(decay, (1 + n) / (10 + n))
    after n steps, is that of tf.train.ExponentialMovingAverage(num_updates=n).
    """

    def follow(average: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + float(count)) / (10 + float(count)))
        with torch.no_grad():
            for mean, value in zip(average, current, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(value, share)
                else:
                    mean.copy_(value)

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
