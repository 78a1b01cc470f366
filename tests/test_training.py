"""The training loop on synthetic data: resuming, schedule, batches, losses."""

import fcntl
import math
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import Blobs, go, linear, network, ready, through_a_file, unchanged
from torch import Generator, Tensor, nn
from torch.nn import functional

from objectives.device import Turnstile
from objectives.tasks import ACCURACY, Split, Splits, load
from objectives.tasks.digits import Digits
from objectives.training import (
    NonFiniteLossError,
    Progress,
    Targets,
    Training,
    answers,
    begin,
    train,
)
from spaces.augmentation import Augmentation
from spaces.families.convnet import ConvNet


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_one_epoch_and_two_more_from_the_checkpoint_are_three_epochs_at_once(
    optimizer: str, turnstile: Turnstile
) -> None:
    task, augment = Blobs(), Augmentation(noise=0.1, shift=0.2, mixup=0.2)
    settings = Training(optimizer=optimizer, lr=1e-2, batch=16)
    whole = ready(task, settings, epochs=3)
    go(whole, task, settings, 3, turnstile, augment)

    first = ready(task, settings, epochs=3)
    go(first, task, settings, 1, turnstile, augment)
    assert first.epoch == 1
    resumed = ready(task, settings, epochs=3, net=network(seed=1))
    resumed.restore(through_a_file(first.state()))
    go(resumed, task, settings, 3, turnstile, augment)

    expected, actual = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert resumed.epoch == whole.epoch == 3


def test_checkpoint_does_not_change_while_training_goes_on(turnstile: Turnstile) -> None:
    task, settings = Blobs(), Training(batch=16)
    progress = ready(task, settings, epochs=2)
    go(progress, task, settings, 1, turnstile)
    kept = through_a_file(progress.state())
    go(progress, task, settings, 2, turnstile)
    assert kept["epoch"] == 1
    assert not torch.equal(kept["network"]["0.weight"], progress.network.state_dict()["0.weight"])


def test_training_does_nothing_once_the_epoch_is_reached(turnstile: Turnstile) -> None:
    task, settings = Blobs(), Training(batch=16)
    progress = ready(task, settings, epochs=2)
    go(progress, task, settings, 1, turnstile)
    before = {key: value.clone() for key, value in progress.network.state_dict().items()}
    go(progress, task, settings, 1, turnstile)
    after = progress.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not progress.network.training


def test_training_ignores_and_leaves_the_global_random_state(turnstile: Turnstile) -> None:
    task, settings, weights = Blobs(), Training(batch=16), []
    for seed in (0, 1):
        progress = ready(task, settings, epochs=1)
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        go(progress, task, settings, 1, turnstile, Augmentation(noise=0.1, mixup=0.2, flip=True))
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(progress.network.state_dict()["0.weight"])
    assert torch.equal(weights[0], weights[1])


def test_another_seed_trains_other_weights(turnstile: Turnstile) -> None:
    task, settings, weights = Blobs(), Training(batch=16), []
    for seed in (0, 1):
        progress = begin(network(), settings, examples=task.count, epochs=1, seed=seed)
        go(progress, task, settings, 1, turnstile)
        weights.append(progress.network.state_dict()["0.weight"])
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (64, 32, [32, 32]),
        (65, 32, [32, 33]),
        (66, 32, [32, 32, 2]),
        (9, 2, [2, 2, 2, 3]),
        (5, 64, [5]),
    ],
)
def test_last_batch_of_one_joins_the_one_before_and_every_input_comes_once_an_epoch(
    count: int, batch: int, sizes: list[int], turnstile: Turnstile
) -> None:
    seen: list[list[int]] = []

    def watch(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
        seen.append(inputs[:, 0, 0, 0].int().tolist())
        assert (targets == inputs[:, 0, 0, 0].int() % 3).all()
        return unchanged(inputs, targets, generator)

    task, settings = Blobs(count=count), Training(batch=batch)
    go(ready(task, settings, epochs=2), task, settings, 2, turnstile, watch)
    first, second = seen[: len(sizes)], seen[len(sizes) :]
    assert [len(rows) for rows in first] == [len(rows) for rows in second] == sizes
    orders = [list(chain.from_iterable(epoch)) for epoch in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(count))
    assert orders[0] != orders[1]


def test_learning_rate_rises_over_a_tenth_and_falls_along_a_cosine(turnstile: Turnstile) -> None:
    task, settings = Blobs(count=64), Training(lr=0.5, batch=32)
    progress = ready(task, settings, epochs=20)
    rates: list[float] = []

    def watch(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
        rates.append(progress.optimizer.param_groups[0]["lr"])
        return unchanged(inputs, targets, generator)

    go(progress, task, settings, 20, turnstile, watch)
    rising = [0.5 * (step + 1) / 4 for step in range(4)]
    falling = [0.25 * (1 + math.cos(math.pi * step / 36)) for step in range(36)]
    assert rates == pytest.approx(rising + falling)
    assert progress.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        (Blobs(scale=5e37), Training(batch=16)),
        (Blobs(), Training(optimizer="sgd", lr=1e30, batch=16)),
    ],
    ids=["data", "lr"],
)
def test_loss_that_is_not_finite_raises_with_epoch_and_rate(
    task: Blobs, settings: Training, turnstile: Turnstile
) -> None:
    progress = ready(task, settings, epochs=3, net=linear())
    with pytest.raises(NonFiniteLossError, match=r"the loss became (nan|inf) in epoch \d \(lr "):
        go(progress, task, settings, 3, turnstile)


def one_step(
    settings: Training,
    turnstile: Turnstile,
    augment: Callable[[Tensor, Tensor, Generator], tuple[Tensor, Targets]] = unchanged,
) -> tuple[nn.Module, Tensor]:
    """(network before, its weight after one step of gradient descent on all of `Blobs`)."""
    task = Blobs()
    progress = ready(task, settings, epochs=1, net=linear())
    go(progress, task, settings, 1, turnstile, augment)
    return linear(), progress.network.state_dict()["1.weight"]


def descended(net: nn.Module, loss: Tensor, settings: Training) -> Tensor:
    """The weight after one Nesterov step: 1 + 0.9 times the gradient."""
    loss.backward()
    weight = net.get_parameter("1.weight")
    assert weight.grad is not None
    return (weight - settings.lr * 1.9 * weight.grad).detach()


SGD = {"optimizer": "sgd", "lr": 1e-3, "weight_decay": 0.0, "batch": 65}


def test_label_smoothing_is_that_of_torch(turnstile: Turnstile) -> None:
    settings, part = Training(**SGD, label_smoothing=0.2), load(Blobs()).train
    net, actual = one_step(settings, turnstile)
    loss = functional.cross_entropy(net(part.inputs), part.targets, label_smoothing=0.2)
    torch.testing.assert_close(actual, descended(net, loss, settings))


def test_loss_is_the_weighted_sum_over_the_targets(turnstile: Turnstile) -> None:
    def mix(inputs: Tensor, targets: Tensor, _: Generator) -> tuple[Tensor, Targets]:
        return inputs, ((targets, 0.3), ((targets + 1) % 3, 0.7))

    settings, part = Training(**SGD), load(Blobs()).train
    net, actual = one_step(settings, turnstile, mix)
    outputs = net(part.inputs)
    loss = 0.3 * functional.cross_entropy(outputs, part.targets)
    loss = loss + 0.7 * functional.cross_entropy(outputs, (part.targets + 1) % 3)
    torch.testing.assert_close(actual, descended(net, loss, settings))


def test_weights_decay_with_the_learning_rate(turnstile: Turnstile) -> None:
    settings = Training(**{**SGD, "weight_decay": 0.5})
    part = load(Blobs()).train
    net, actual = one_step(settings, turnstile)
    weight = net.get_parameter("1.weight")
    loss = functional.cross_entropy(net(part.inputs), part.targets)
    loss = loss + 0.25 * weight.square().sum()
    torch.testing.assert_close(actual, descended(net, loss, settings))


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0},
        {"batch": 1},
        {"weight_decay": -1.0},
        {"label_smoothing": 1.0},
        {"optimizer": "lbfgs"},
        {"momentum": 1.0},
        {"nesterov": True},
        {"ema": 1.0},
        {"accumulate": 0},
        {"temperature": 0.0},
        {"distil": 1.5},
        {"precision": "fp16"},
    ],
    ids=str,
)
def test_settings_that_cannot_train_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Training(**options)


def test_step_holds_the_shared_side_of_the_turnstile(turnstile: Turnstile, tmp_path: Path) -> None:
    taken: list[bool] = []

    def watch(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
        (room,) = tmp_path.rglob("*.room")
        descriptor = os.open(room, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken.append(True)
        finally:
            os.close(descriptor)
        return unchanged(inputs, targets, generator)

    task, settings = Blobs(), Training(batch=32)
    go(ready(task, settings, epochs=1), task, settings, 1, turnstile, watch)
    assert taken == [True, True]


def test_answers_come_prepared_in_chunks_and_in_order() -> None:
    part = Split(inputs=torch.randn(1100, 2), targets=torch.zeros(1100))
    splits = Splits(train=part, validation=part, test=part, outputs=2, mean=3.0, std=2.0)
    sizes: list[int] = []

    def run(inputs: Tensor) -> Tensor:
        sizes.append(len(inputs))
        return inputs

    assert torch.equal(answers(run, part.inputs, splits), (part.inputs - 3) / 2)
    assert sizes == [512, 512, 76]


def test_small_network_learns_the_digits(turnstile: Turnstile) -> None:
    task, settings = Digits(), Training(lr=1e-2)
    splits = load(task)
    torch.manual_seed(0)
    net = ConvNet(width=16).build(*splits.signature)
    progress = begin(net, settings, examples=len(splits.train), epochs=3, seed=0)
    train(
        progress,
        task,
        settings,
        Augmentation(),
        until_epoch=3,
        device="cpu",
        turnstile=turnstile,
    )
    with torch.no_grad():
        outputs = answers(progress.network, splits.validation.inputs, splits)
    constant = ACCURACY.constant(splits.train.targets, splits.validation.targets)
    assert ACCURACY.score(outputs, splits.validation.targets).value > 0.85 > constant


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_checkpoint_goes_on_training_on_a_gpu(optimizer: str, turnstile: Turnstile) -> None:
    task, settings = Blobs(), Training(optimizer=optimizer, batch=16)

    def on_gpu(progress: Progress, until_epoch: int) -> None:
        train(
            progress,
            task,
            settings,
            unchanged,
            until_epoch=until_epoch,
            device="cuda",
            turnstile=turnstile,
        )

    first = ready(task, settings, epochs=2)
    on_gpu(first, 1)
    resumed = ready(task, settings, epochs=2)
    resumed.restore(through_a_file(first.state()))
    on_gpu(resumed, 2)
    assert all(p.is_cuda and p.isfinite().all() for p in resumed.network.parameters())
