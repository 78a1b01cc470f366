"""A network in training: what the next epoch depends on, and which weights count so far."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from objectives.training.averaging import averaged
from objectives.training.batches import steps_of
from objectives.training.optimizers import make_optimizer
from objectives.training.schedules import factor
from objectives.training.settings import Training


@dataclass
class Best:
    """The epoch with the smallest validation loss so far."""

    epoch: int
    loss: float
    weights: dict[str, Tensor]


@dataclass
class Progress:
    """A network in training; `state` and `restore` make it a checkpoint and back."""

    network: nn.Module
    """What the optimizer changes; `result` is what has been learned."""
    optimizer: Optimizer
    schedule: LambdaLR
    generator: torch.Generator
    layout: torch.memory_format = torch.contiguous_format
    """Of pictures and of the weights that read them."""
    average: AveragedModel | None = None
    best: Best | None = None
    epoch: int = 0
    """Epochs done, or passed over once `stopped`."""
    stopped: bool = False
    """Whether the validation loss has kept training waiting for too long."""

    @property
    def newest(self) -> nn.Module:
        """The network, or its average where one is kept, after the latest step."""
        return self.network if self.average is None else self.average.module

    def result(self) -> nn.Module:
        """A copy of the network with the weights that count, in eval mode."""
        result = copy.deepcopy(self.newest)
        if self.best is not None:
            result.load_state_dict(self.best.weights)
        return result.eval()

    def judge(self, loss: float, patience: int) -> None:
        """Take the validation loss after an epoch: the best so far, or one time too often not."""
        if self.best is None or loss < self.best.loss:
            weights = {k: v.detach().clone() for k, v in self.newest.state_dict().items()}
            self.best = Best(self.epoch, loss, weights)
        self.stopped = self.epoch - self.best.epoch >= patience

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on; tensors and plain data only."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "epoch": self.epoch,
            "stopped": self.stopped,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`, that of a training begun with the same settings."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.best = None if state["best"] is None else Best(**state["best"])
        self.epoch, self.stopped = state["epoch"], state["stopped"]

    def to(self, device: str) -> None:
        """Move everything that the next step touches."""
        self.network.to(device)
        if self.average is not None:
            self.average.to(device)
        # moments that `restore` read lie where the network was then; loading moves them after it
        self.optimizer.load_state_dict(self.optimizer.state_dict())


def begin(
    network: nn.Module, settings: Training, *, examples: int, epochs: int, seed: int
) -> Progress:
    """Prepare to train `network` for `epochs` epochs of `examples` inputs each.

    The schedule spans all `epochs`, so a shorter rung is a prefix of the longer one.
    """
    layout = safe_layout(network)
    if layout is torch.channels_last:
        network = network.to(memory_format=layout)
    optimizer = make_optimizer(network, settings)
    steps = epochs * len(steps_of(torch.arange(examples), settings))
    return Progress(
        network=network,
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, factor(settings, steps)),
        generator=torch.Generator().manual_seed(seed),
        layout=layout,
        average=averaged(network, settings.ema) if settings.ema else None,
    )


NARROW = 16
"""Input channels below which a strided 1 x 1 convolution is kept out of channels-last."""


def safe_layout(network: nn.Module) -> torch.memory_format:
    """Channels-last, in which convolutions on pictures train faster, where it can be had.

    Weights of three dimensions have no such form. And the backward pass of a 1 x 1 convolution
    with a stride and few input channels (seen below 8) writes beyond its memory in that layout on
    a CPU (oneDNN issue 6035, torch 2.14): the process dies.
    """
    if any(parameter.dim() > 4 for parameter in network.parameters()):
        return torch.contiguous_format
    if any(_is_dangerous(module) for module in network.modules()):
        return torch.contiguous_format
    return torch.channels_last


def _is_dangerous(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d):
        return False
    pointwise = module.kernel_size == (1, 1) and max(module.stride) > 1
    return pointwise and module.in_channels // module.groups < NARROW
