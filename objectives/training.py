"""The plain training loop: epochs of steps, resumable at every rung."""

import math
from collections.abc import Callable
from dataclasses import dataclass as plain_dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.device import Turnstile
from objectives.tasks.task import Splits, Task, load

Targets = tuple[tuple[Tensor, float], ...]
"""((targets, weight), ...): the loss of a batch is the weighted sum of the losses."""
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Targets]]
"""(inputs, targets, generator) -> changed inputs and weighted targets."""

WARMUP_SHARE = 0.1
"""Share of all steps over which the learning rate rises from 0; cosine decay to 0 follows.

Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without restarts; warm-up as in
Goyal et al. 2017, arXiv:1706.02677.
"""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Training:
    """How weights are found. Every field is a choice of the study file's `training` section."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`sgd` has Nesterov momentum 0.9."""
    lr: float = Field(default=3e-3, gt=0)
    """Highest learning rate; linear warm-up, then cosine decay to 0 at the last rung."""
    weight_decay: float = Field(default=1e-4, ge=0)
    batch: int = Field(default=64, ge=2)
    """Inputs a step."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread over all classes; classification only."""


class NonFiniteLossError(ArithmeticError):
    """Training diverged: the loss became infinite or not a number."""


@plain_dataclass
class Progress:
    """A network in training; `state` and `restore` make it a checkpoint and back."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    generator: torch.Generator
    epoch: int = 0

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on; tensors and plain data only."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "epoch": self.epoch,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.epoch = state["epoch"]


def begin(
    network: nn.Module, settings: Training, *, examples: int, epochs: int, seed: int
) -> Progress:
    """Prepare to train `network` for `epochs` epochs of `examples` inputs each.

    The schedule spans all `epochs`, so a shorter rung is a prefix of the longer one.
    """
    optimizer = _optimizer(network, settings)
    steps = epochs * len(_batches(torch.arange(examples), settings.batch))
    warmup = max(1, round(WARMUP_SHARE * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return Progress(
        network=_channels_last(network),
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, factor),
        generator=torch.Generator().manual_seed(seed),
    )


def _channels_last(network: nn.Module) -> nn.Module:
    """Convolutions on pictures train faster so; weights of three dimensions have no such form."""
    if any(parameter.dim() > 4 for parameter in network.parameters()):
        return network
    return network.to(memory_format=torch.channels_last)


def _optimizer(network: nn.Module, settings: Training) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=settings.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )


def train(
    progress: Progress,
    task: Task,
    settings: Training,
    augment: Augment,
    *,
    until_epoch: int,
    device: str,
    turnstile: Turnstile,
) -> None:
    """Train on until `until_epoch` epochs are done; the network ends in eval mode.

    Raises:
        NonFiniteLossError: the loss became infinite or not a number.
    """
    splits = load(task)
    progress.network.to(device).train()
    # moments that `restore` read lie where the network was then; loading moves them after it
    progress.optimizer.load_state_dict(progress.optimizer.state_dict())
    with torch.random.fork_rng(devices=[]):
        while progress.epoch < until_epoch:
            # dropout draws from torch's global state: seeded by epoch, a resume repeats it
            torch.manual_seed((progress.generator.initial_seed() + progress.epoch) % 2**63)
            _train_epoch(progress, task, splits, settings, augment, device, turnstile)
            progress.epoch += 1
    progress.network.eval()


def _train_epoch(
    progress: Progress,
    task: Task,
    splits: Splits,
    settings: Training,
    augment: Augment,
    device: str,
    turnstile: Turnstile,
) -> None:
    """Every input once, in random order."""
    order = torch.randperm(len(splits.train), generator=progress.generator)
    for rows in _batches(order, settings.batch):
        with turnstile.computing():
            loss = _step(progress, task, splits, settings, augment, rows, device)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} in epoch {progress.epoch + 1} (lr {settings.lr:g})"
            )


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of `size`; a last one of a single input joins the one before (batch norm)."""
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _step(
    progress: Progress,
    task: Task,
    splits: Splits,
    settings: Training,
    augment: Augment,
    rows: Tensor,
    device: str,
) -> float:
    inputs = splits.prepare(splits.train.inputs[rows]).to(device)
    targets = splits.train.targets[rows].to(device)
    inputs, weighted = augment(inputs, targets, progress.generator)
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    outputs = progress.network(inputs)
    loss = torch.zeros((), device=device)
    for part, weight in weighted:
        loss = loss + weight * _smoothed(task, outputs, part, settings.label_smoothing)
    progress.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
    progress.optimizer.step()
    progress.schedule.step()
    return float(loss.detach())


def _smoothed(task: Task, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The task's loss; with smoothing, mixed with the loss against a uniform target.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    loss = task.loss(outputs, targets)
    if not smoothing:
        return loss
    uniform = -outputs.log_softmax(1).mean()
    return (1 - smoothing) * loss + smoothing * uniform


def answers(run: Callable[[Tensor], Tensor], inputs: Tensor, splits: Splits) -> Tensor:
    """Outputs (N, K) of a deployed network on stored inputs (N, ...), in chunks of 512."""
    return torch.cat([run(splits.prepare(chunk)) for chunk in torch.split(inputs, 512)])
