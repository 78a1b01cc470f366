"""Two processes against one: the same weights, the same failures, nothing left behind."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from blobs import Blobs, ready, unchanged
from conftest import Command
from torch import Generator, Tensor, nn

from objectives.device import Turnstile
from objectives.parallel import PeerError, devices_of, train_on
from objectives.training import NonFiniteLossError, Progress, Targets, Training
from objectives.training.peers import Peers
from spaces.augmentation import Augmentation

Augment = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Targets]]


def plain(seed: int = 0) -> nn.Module:
    """No bias before the norm: its gradient is rounding alone, which Adam scales to full steps."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def trained(
    devices: int,
    settings: Training,
    turnstile: Turnstile,
    *,
    net: nn.Module | None = None,
    rungs: tuple[int, ...] = (2,),
    augment: Augment = unchanged,
    task: Blobs | None = None,
    teacher: Tensor | None = None,
) -> Progress:
    task = task or Blobs()
    progress = ready(task, settings, epochs=rungs[-1], net=net or plain())
    for until in rungs:
        train_on(
            devices_of("cpu", devices),
            progress,
            task,
            settings,
            augment,
            epochs=rungs[-1],
            until_epoch=until,
            threads=1,
            turnstile=turnstile,
            teacher=teacher,
        )
    return progress


def assert_alike(one: Progress, other: Progress) -> None:
    first, second = one.result().state_dict(), other.result().state_dict()
    for key in first:
        torch.testing.assert_close(second[key], first[key], rtol=1e-4, atol=1e-5)
    start = plain().state_dict()
    assert not torch.allclose(first["0.weight"], start["0.weight"], atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "lr": 0.05},
        {"optimizer": "adamw", "accumulate": 2, "clip_norm": 0.5, "ema": 0.9},
    ],
    ids=str,
)
def test_two_processes_train_the_weights_of_one(
    options: dict[str, Any], turnstile: Turnstile
) -> None:
    """65 inputs in batches of 16: 8 and 8, and 9 and 8 in the last, norms over all of them."""
    settings, augment = Training(batch=16, **options), Augmentation(mixup=0.2, noise=0.1)
    one = trained(1, settings, turnstile, augment=augment)
    two = trained(2, settings, turnstile, augment=augment)
    assert_alike(one, two)
    assert two.epoch == 2
    assert torch.equal(one.generator.get_state(), two.generator.get_state())


def test_two_processes_with_a_teacher_patience_and_rungs_train_the_weights_of_one(
    turnstile: Turnstile,
) -> None:
    settings = Training(batch=16, lr=0.01, distil=0.5, teacher="given", patience=5)
    teacher = torch.randn(65, 3, generator=torch.Generator().manual_seed(1))
    one = trained(1, settings, turnstile, rungs=(1, 3), teacher=teacher)
    two = trained(2, settings, turnstile, rungs=(1, 3), teacher=teacher)
    assert_alike(one, two)
    assert one.best is not None
    assert two.best is not None
    assert (one.best.epoch, two.best.loss) == (two.best.epoch, pytest.approx(one.best.loss))


def test_batch_smaller_than_the_number_of_processes_is_computed_by_each(
    turnstile: Turnstile,
) -> None:
    """8 inputs in batches of 3: the last one has 2, for 3 processes."""
    task, settings = Blobs(count=8), Training(batch=3, optimizer="sgd", lr=0.05)
    one, three = (
        trained(n, settings, turnstile, task=task, net=plain(), rungs=(1,)) for n in (1, 3)
    )
    unbiased = "1.running_var"  # where each computes all, the last inputs count three times
    first, second = one.result().state_dict(), three.result().state_dict()
    for key in first.keys() - {unbiased}:
        torch.testing.assert_close(second[key], first[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 65])
def test_shares_cover_the_batch_and_weigh_like_its_mean(count: int, size: int) -> None:
    values = torch.randn(size, generator=torch.Generator().manual_seed(0)).double()
    shares = [Peers(rank, count).share(size) for rank in range(count)]
    assert sum(weight for _, weight in shares) == pytest.approx(1)
    mean = sum(weight * values[rows].mean() for rows, weight in shares)
    torch.testing.assert_close(mean, values.mean())
    if size >= count:
        assert torch.equal(torch.cat([values[rows] for rows, _ in shares]), values)


def test_divergence_in_several_processes_is_told_as_in_one(turnstile: Turnstile) -> None:
    settings = Training(optimizer="sgd", lr=1e30, batch=16)
    with pytest.raises(NonFiniteLossError, match=r"the loss became (nan|inf) in epoch \d \(lr "):
        trained(2, settings, turnstile)


def breaks(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
    raise KeyError("no such colour")


def dies(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
    if torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return unchanged(inputs, targets, generator)


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


def test_exception_in_a_process_is_told(turnstile: Turnstile) -> None:
    with pytest.raises(PeerError, match="KeyError: 'no such colour'"):
        trained(2, Training(batch=16), turnstile, augment=breaks)


def test_process_that_dies_ends_the_others(turnstile: Turnstile) -> None:
    before = {child.pid for child in children()}
    with pytest.raises(PeerError, match=r"process 2 of 2 died|[Cc]onnection"):
        trained(2, Training(batch=16), turnstile, augment=dies)
    left = [child for child in children() if child.pid not in before]
    assert [child for child in left if "multiprocessing" not in " ".join(child.cmdline())] == []


def test_study_trains_candidates_on_two_processes_each(small: Path, command: Command) -> None:
    executor = "executor={process: {workers: 1, devices_per_candidate: 2}}"
    smaller = ("search.trials=1", "search.rungs=[1]", "space.compression=[prune: {ratio: 0.5}]")
    done = command("run", small, "--quiet", *smaller, executor)
    assert (done.returncode, done.stderr) == (0, "")
    told = command("front", small)
    assert (told.returncode, told.stderr) == (0, "")
    assert "accuracy" in told.stdout
