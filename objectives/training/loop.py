"""The plain training loop: epochs of steps, resumable at every rung."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from objectives.device import Turnstile
from objectives.tasks.task import Splits, Task, load
from objectives.training.answers import mean_loss
from objectives.training.batches import steps_of
from objectives.training.loss import loss_of
from objectives.training.peers import Peers
from objectives.training.progress import Progress
from objectives.training.settings import Training

Targets = tuple[tuple[Tensor, float], ...]
"""((targets, weight), ...): the loss of a batch is the weighted sum of the losses."""
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Targets]]
"""(inputs, targets, generator) -> changed inputs and weighted targets.

Targets may be reordered and weighted, not computed with: where a teacher has a say they are the
rows of the batch, by which its answers are found again.
"""


class NonFiniteLossError(ArithmeticError):
    """Training diverged: the loss became infinite or not a number."""


@dataclass(frozen=True, kw_only=True)
class _Lesson:
    """What stays the same through a training."""

    task: Task
    splits: Splits
    settings: Training
    augment: Augment
    device: str
    turnstile: Turnstile
    teacher: Tensor | None
    peers: Peers


def train(
    progress: Progress,
    task: Task,
    settings: Training,
    augment: Augment,
    *,
    until_epoch: int,
    device: str,
    turnstile: Turnstile,
    teacher: Tensor | None = None,
    peers: Peers = Peers(),  # noqa: B008  # frozen
) -> None:
    """Train on until `until_epoch` epochs are done; the network ends in eval mode.

    `teacher`: another network's outputs (N, K) on the training split, in its order. They are those
    of the inputs as stored, whatever augmentation makes of them, so that they cost one pass.
    (Beyer et al. 2022, arXiv:2106.05237, find that a teacher which sees the augmented inputs
    teaches better, at the price of running it in every step.)

    A training that `patience` has ended does nothing more, and counts as having got there.

    Raises:
        NonFiniteLossError: the loss became infinite or not a number.
    """
    lesson = _Lesson(
        task=task,
        splits=load(task),
        settings=settings,
        augment=augment,
        device=device,
        turnstile=turnstile,
        teacher=teacher if settings.distil else None,
        peers=peers,
    )
    progress.to(device)
    with torch.random.fork_rng(devices=[]):
        while progress.epoch < until_epoch and not progress.stopped:
            # dropout draws from torch's global state: seeded by epoch, a resume repeats it
            torch.manual_seed(_epoch_seed(progress, peers))
            _train_epoch(progress, lesson)
            progress.epoch += 1
            if settings.patience:
                _validate(progress, lesson)
    progress.epoch = max(progress.epoch, until_epoch)
    progress.network.eval()


def _epoch_seed(progress: Progress, peers: Peers) -> int:
    """Another one each epoch, and for each peer: their inputs are not dropped alike."""
    return (progress.generator.initial_seed() + progress.epoch + 2**40 * peers.rank) % 2**63


def _train_epoch(progress: Progress, lesson: _Lesson) -> None:
    """Every input once, in random order."""
    progress.network.train()
    order = torch.randperm(len(lesson.splits.train), generator=progress.generator)
    for batches in steps_of(order, lesson.settings):
        with lesson.peers.computing(lesson.turnstile):
            loss = _step(progress, lesson, batches)
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss became {loss} in epoch {progress.epoch + 1} (lr {lesson.settings.lr:g})"
            )


def _step(progress: Progress, lesson: _Lesson, batches: list[Tensor]) -> float:
    """One step on the mean gradient over all inputs of `batches`; returns their mean loss."""
    progress.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=lesson.device)
    inputs = sum(map(len, batches))
    for rows in batches:
        loss = _loss(progress, lesson, rows) * (len(rows) / inputs)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
        total += loss.detach()
    lesson.peers.sum_gradients(progress.network)
    if lesson.settings.clip_norm:
        _clip(progress.network, lesson.settings.clip_norm)
    progress.optimizer.step()
    progress.schedule.step()
    if progress.average is not None:
        progress.average.update_parameters(progress.network)
    return float(lesson.peers.sum(total))


def _clip(network: nn.Module, norm: float) -> None:
    """Scale the gradient down to `norm` if it is longer.

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """
    torch.nn.utils.clip_grad_norm_(network.parameters(), norm)


def _loss(progress: Progress, lesson: _Lesson, rows: Tensor) -> Tensor:
    """The batch's mean loss, or this peer's part of it."""
    splits, device = lesson.splits, lesson.device
    inputs = splits.prepare(splits.train.inputs[rows]).to(device)
    targets = splits.train.targets[rows].to(device)
    taught = None if lesson.teacher is None else lesson.teacher[rows].to(device)
    mark = targets if taught is None else torch.arange(len(rows), device=device)
    inputs, weighted = lesson.augment(inputs, mark, progress.generator)
    part, weight = lesson.peers.share(len(rows))
    inputs = inputs[part]
    if inputs.dim() == 4:
        inputs = inputs.contiguous(memory_format=progress.layout)
    outputs = _forward(progress.network, inputs, lesson)
    loss = torch.zeros((), device=device)
    for marked, share in weighted:
        chosen = marked[part]
        if taught is None:
            mixed = loss_of(lesson.task, lesson.settings, outputs, chosen, None)
        else:
            mixed = loss_of(lesson.task, lesson.settings, outputs, targets[chosen], taught[chosen])
        loss = loss + share * mixed
    return weight * loss if weight < 1 else loss


def _forward(network: nn.Module, inputs: Tensor, lesson: _Lesson) -> Tensor:
    """Outputs in float32, computed in the precision that is set."""
    if lesson.settings.precision == "fp32":
        outputs: Tensor = network(inputs)
        return outputs
    with torch.autocast(torch.device(lesson.device).type, dtype=torch.bfloat16):
        outputs = network(inputs)
    return outputs.float()


def _validate(progress: Progress, lesson: _Lesson) -> None:
    """Whether this epoch's weights are the best so far, and whether to go on."""
    splits = lesson.splits
    with lesson.peers.computing(lesson.turnstile):
        loss = mean_loss(progress.newest, lesson.task, splits, splits.validation, lesson.device)
        loss = lesson.peers.agree(loss, lesson.device)
    if not math.isfinite(loss):
        raise NonFiniteLossError(f"the validation loss became {loss} in epoch {progress.epoch}")
    progress.judge(loss, lesson.settings.patience)
