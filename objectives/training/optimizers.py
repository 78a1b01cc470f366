"""From settings to torch's optimizers, one entry each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from objectives.training.settings import Training

Groups = list[dict[str, Any]]


def make_optimizer(network: nn.Module, settings: Training) -> Optimizer:
    """The optimizer of all weights that learn; those of one dimension do not decay.

    Source: He et al. 2019, arXiv:1812.01187, section 3.1 ("no bias decay": neither biases nor the
    scales and shifts of norms).
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    decaying, others = [p for p in weights if p.dim() > 1], [p for p in weights if p.dim() <= 1]
    groups: Groups = [
        {"params": params, "weight_decay": decay}
        for params, decay in ((decaying, settings.weight_decay), (others, 0.0))
        if params
    ]
    return OPTIMIZERS[settings.optimizer](groups, settings)


def _adamw(groups: Groups, settings: Training) -> Optimizer:
    """Source: Loshchilov and Hutter 2019, arXiv:1711.05101."""
    return torch.optim.AdamW(groups, lr=settings.lr)


def _adam(groups: Groups, settings: Training) -> Optimizer:
    """Source: Kingma and Ba 2015, arXiv:1412.6980."""
    return torch.optim.Adam(groups, lr=settings.lr)


def _sgd(groups: Groups, settings: Training) -> Optimizer:
    """Source: Sutskever et al. 2013 (ICML), eq. 3 and 4, as torch writes it."""
    momentum = settings.momentum
    return torch.optim.SGD(groups, lr=settings.lr, momentum=momentum, nesterov=momentum > 0)


def _rmsprop(groups: Groups, settings: Training) -> Optimizer:
    """Source: Sandler et al. 2018, arXiv:1801.04381, section 6.1 (decay 0.9)."""
    return torch.optim.RMSprop(groups, lr=settings.lr, alpha=0.9, momentum=settings.momentum)


OPTIMIZERS: dict[str, Callable[[Groups, Training], Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
    "rmsprop": _rmsprop,
}
