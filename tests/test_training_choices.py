"""What each choice of `training` does, against formulas and against torch's own."""

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from blobs import Blobs, go, linear, network, ready, through_a_file, unchanged
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor, nn
from torch.nn import functional

from objectives.device import Turnstile
from objectives.tasks import load
from objectives.training import NonFiniteLossError, Progress, Targets, Training, begin, mean_loss
from objectives.training.averaging import averaged
from objectives.training.optimizers import OPTIMIZERS, make_optimizer
from objectives.training.progress import safe_layout
from objectives.training.schedules import factor
from spaces.augmentation import Augmentation

CHOICES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name} for name in OPTIMIZERS},
    **{name: {"schedule": name} for name in ("step", "constant", "onecycle")},
    "clipped": {"clip_norm": 0.1},
    "accumulated": {"accumulate": 3},
    "averaged": {"ema": 0.95},
    "patient": {"patience": 2},
    "patient average": {"patience": 2, "ema": 0.95},
    "bf16": {"precision": "bf16"},
}


@pytest.mark.parametrize("choice", CHOICES)
def test_resumed_training_repeats_an_uninterrupted_one(choice: str, turnstile: Turnstile) -> None:
    task, augment = Blobs(), Augmentation(noise=0.1, mixup=0.2)
    settings = Training(lr=1e-2, batch=16, **CHOICES[choice])
    whole = ready(task, settings, epochs=4)
    go(whole, task, settings, 4, turnstile, augment)

    progress = ready(task, settings, epochs=4)
    for epoch in (1, 2, 4):
        go(progress, task, settings, epoch, turnstile, augment)
        state = through_a_file(progress.state())
        progress = ready(task, settings, epochs=4, net=network(seed=epoch))
        progress.restore(state)
    expected, actual = whole.result().state_dict(), progress.result().state_dict()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    assert (progress.epoch, progress.stopped) == (whole.epoch, whole.stopped)
    assert not torch.equal(expected["0.weight"], network().state_dict()["0.weight"])


# --- schedules ---


def test_onecycle_is_that_of_torch() -> None:
    optimizer = torch.optim.SGD(linear().parameters(), lr=0.5)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.5, total_steps=50, cycle_momentum=False
    )
    ours = factor(Training(schedule="onecycle"), steps=50)
    for step in range(49):
        assert 0.5 * ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_step_falls_to_a_tenth_at_half_and_a_hundredth_at_three_quarters() -> None:
    rate = factor(Training(schedule="step", warmup=0.2), steps=50)
    rising = [(step + 1) / 10 for step in range(10)]
    assert [rate(step) for step in range(50)] == pytest.approx(
        [*rising, *[1.0] * 20, *[0.1] * 10, *[0.01] * 10]
    )


def test_constant_stays_at_its_height_after_the_warmup() -> None:
    rate = factor(Training(schedule="constant", warmup=0.5), steps=8)
    assert [rate(step) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("schedule", ["cosine", "step", "constant", "onecycle"])
def test_rate_stays_between_nothing_and_its_height(schedule: Any, steps: int) -> None:
    rate = factor(Training(schedule=schedule), steps)
    rates = [rate(step) for step in range(steps + 1)]  # torch asks for one more after the last
    assert all(0 <= value <= 1 for value in rates)
    assert max(rates) > 0.8


# --- optimizers and steps ---


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_decay_and_biases_and_norms_do_not(name: Any) -> None:
    """Without a gradient only decay changes weights; after a step of each kind of decay."""
    net = network()
    before = {key: value.clone() for key, value in net.named_parameters()}
    optimizer = make_optimizer(net, Training(optimizer=name, lr=0.1, weight_decay=0.5))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {key for key, value in net.named_parameters() if not value.equal(before[key])}
    assert changed == {"0.weight", "4.weight"}


def test_momentum_reaches_the_optimizers_that_have_it() -> None:
    for name in ("sgd", "rmsprop"):
        optimizer = make_optimizer(linear(), Training(optimizer=name, momentum=0.7))
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}
    plain = make_optimizer(linear(), Training(optimizer="sgd", momentum=0.0))
    assert not plain.param_groups[0]["nesterov"]


def test_accumulated_batches_make_the_step_of_one_large_batch(turnstile: Turnstile) -> None:
    """The 65 inputs are batches of 16, 16, 16 and 17."""
    weights = []
    for options in ({"batch": 65}, {"batch": 16, "accumulate": 4}, {"batch": 16}):
        settings = Training(optimizer="sgd", lr=0.1, **options)
        progress = ready(Blobs(), settings, epochs=2, net=linear())
        go(progress, Blobs(), settings, 2, turnstile)
        weights.append(progress.network.state_dict()["1.weight"])
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2], atol=1e-3)


def test_steps_of_accumulated_batches_are_counted_by_the_schedule(turnstile: Turnstile) -> None:
    """Five batches make two steps of three and two; the rate is at its end after both epochs."""
    settings = Training(batch=13, accumulate=3, lr=0.5)
    progress = ready(Blobs(), settings, epochs=2)
    go(progress, Blobs(), settings, 2, turnstile)
    assert progress.schedule.last_epoch == 4
    assert progress.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_gradient_is_clipped_to_the_norm(turnstile: Turnstile) -> None:
    settings = Training(
        optimizer="sgd", momentum=0.0, lr=1.0, weight_decay=0.0, batch=65, clip_norm=0.01
    )
    progress = ready(Blobs(), settings, epochs=1, net=linear())
    go(progress, Blobs(), settings, 1, turnstile)
    before, after = linear().state_dict(), progress.network.state_dict()
    moved = torch.cat([(after[key] - before[key]).flatten() for key in before])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


# --- bf16 ---


class Watched(nn.Module):
    """Notes the type of what its layer computes and of what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)
        self.seen: set[torch.dtype] = set()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.flatten(1))
        self.seen.add(outputs.dtype)
        return outputs


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_bf16_computes_in_it_and_keeps_weights_in_fp32(
    precision: Any, dtype: torch.dtype, turnstile: Turnstile
) -> None:
    net, settings = Watched(), Training(precision=precision, batch=16)
    progress = ready(Blobs(), settings, epochs=1, net=net)
    go(progress, Blobs(), settings, 1, turnstile)
    assert net.seen == {dtype}
    assert net.layer.weight.dtype == torch.float32


# --- averaged weights ---


def test_average_follows_with_a_decay_that_rises_to_its_bound() -> None:
    net = nn.Linear(1, 1, bias=False)
    average = averaged(net, decay=0.5)
    values = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]
    expected = values[0]
    for count, value in enumerate(values):
        nn.init.constant_(net.weight, value)
        average.update_parameters(net)
        if count:
            decay = min(0.5, (1 + count) / (10 + count))
            expected = decay * expected + (1 - decay) * value
        assert float(average.module.weight.detach()) == pytest.approx(expected)


def test_average_is_what_has_been_learned_statistics_included(turnstile: Turnstile) -> None:
    settings = Training(batch=16, ema=0.9, lr=0.05)
    progress = ready(Blobs(), settings, epochs=2)
    go(progress, Blobs(), settings, 2, turnstile)
    result, newest = progress.result().state_dict(), progress.network.state_dict()
    assert not torch.allclose(result["0.weight"], newest["0.weight"])
    assert not torch.allclose(result["1.running_mean"], newest["1.running_mean"])
    assert result["1.num_batches_tracked"] == newest["1.num_batches_tracked"] == 8


def test_average_does_not_change_what_is_trained(turnstile: Turnstile) -> None:
    weights = []
    for ema in (0.0, 0.9):
        settings = Training(batch=16, ema=ema)
        progress = ready(Blobs(), settings, epochs=2)
        go(progress, Blobs(), settings, 2, turnstile)
        weights.append(progress.network.state_dict()["0.weight"])
    assert torch.equal(*weights)


# --- early stop ---


def watched_losses(settings: Training, epochs: int, turnstile: Turnstile) -> list[float]:
    """The validation loss after every epoch of a training that is not ended early."""
    settings, found = dataclasses.replace(settings, patience=0), []
    task, progress = Blobs(), ready(Blobs(), settings, epochs=epochs)
    for epoch in range(1, epochs + 1):
        go(progress, task, settings, epoch, turnstile)
        split = load(task).validation
        found.append(mean_loss(progress.newest, task, load(task), split, "cpu"))
    return found


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_training_ends_after_so_many_epochs_without_a_smaller_loss(
    patience: int, turnstile: Turnstile
) -> None:
    """A rate so high that the loss goes up and down; the rung counts as reached."""
    settings = Training(optimizer="sgd", lr=0.5, schedule="constant", batch=16, patience=patience)
    losses = watched_losses(settings, 25, turnstile)
    best = end = 1
    for end in range(1, 26):
        if losses[end - 1] < losses[best - 1]:
            best = end
        if end - best >= patience:
            break
    assert 1 < end < 25

    seen: set[int] = set()
    progress = ready(Blobs(), settings, epochs=25)

    def watch(inputs: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Targets]:
        seen.add(progress.epoch + 1)
        return unchanged(inputs, targets, generator)

    go(progress, Blobs(), settings, 25, turnstile, watch)
    assert progress.best is not None
    assert (progress.best.epoch, progress.best.loss) == (best, losses[best - 1])
    assert seen == set(range(1, end + 1))
    assert (progress.epoch, progress.stopped) == (25, True)
    kept = mean_loss(progress.result(), Blobs(), load(Blobs()), load(Blobs()).validation, "cpu")
    assert kept == losses[best - 1]


def test_training_that_was_ended_stays_ended_at_later_rungs(turnstile: Turnstile) -> None:
    settings = Training(optimizer="sgd", lr=0.5, schedule="constant", batch=16, patience=1)
    progress = ready(Blobs(), settings, epochs=40)
    go(progress, Blobs(), settings, 30, turnstile)
    assert progress.stopped
    kept = through_a_file(progress.state())
    resumed = ready(Blobs(), settings, epochs=40)
    resumed.restore(kept)
    go(resumed, Blobs(), settings, 40, turnstile)
    assert resumed.epoch == 40
    first, second = progress.result().state_dict(), resumed.result().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_validation_loss_that_is_not_finite_is_told() -> None:
    progress = ready(Blobs(), Training(), epochs=1)
    progress.judge(1.0, patience=1)
    assert progress.best is not None
    assert not progress.stopped
    with pytest.raises(NonFiniteLossError, match="the validation loss became inf in epoch 1"):
        diverged(progress)


class _Overflowing(Blobs):
    """Finite in training, infinite on the validation split."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = functional.cross_entropy(outputs, targets)
        return loss if outputs.requires_grad else loss * math.inf


def diverged(progress: Progress) -> None:
    settings = Training(batch=16, patience=1)
    go(progress, _Overflowing(), settings, 1, Turnstile("cpu"))


# --- canonical form ---

VALUES: dict[str, tuple[Any, ...]] = {
    "optimizer": ("adamw", "adam", "sgd", "rmsprop"),
    "schedule": ("cosine", "onecycle"),
    "warmup": (0.1, 0.3),
    "momentum": (0.9, 0.5),
    "ema": (0.0, 0.9),
    "accumulate": (1, 2),
    "clip_norm": (0.0, 1.0),
    "patience": (0, 3),
    "precision": ("fp32", "bf16"),
    "teacher": ("none", "my:teacher"),
    "distil": (0.0, 0.5),
    "temperature": (4.0, 2.0),
}
settings_ = st.fixed_dictionaries({name: st.sampled_from(v) for name, v in VALUES.items()})


@given(options=settings_)
def test_canonical_form_is_its_own(options: dict[str, Any]) -> None:
    canonical = Training(**options).in_use()
    assert Training(**canonical).in_use() == canonical
    assert {name: options[name] for name in canonical if name in options} == {
        name: value for name, value in canonical.items() if name in options
    }


def test_choices_that_do_not_matter_leave_the_candidate() -> None:
    def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
        return Training(**one).in_use() == Training(**other).in_use()

    assert alike({"momentum": 0.5}, {})
    assert not alike({"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "sgd"})
    assert alike({"temperature": 2.0, "distil": 0.5}, {})
    assert alike({"teacher": "my:teacher", "temperature": 2.0}, {})
    taught = {"teacher": "my:teacher", "distil": 0.5}
    assert not alike({**taught, "temperature": 2.0}, taught)
    assert alike({"schedule": "onecycle", "warmup": 0.5}, {"schedule": "onecycle"})
    assert not alike({"warmup": 0.5}, {})
    for name, off, on in (("ema", 0.0, 0.9), ("patience", 0, 2), ("accumulate", 1, 2)):
        assert alike({name: off}, {})
        assert not alike({name: on}, {})


def test_every_pair_of_options_that_are_on_is_told_apart() -> None:
    on = [{name: values[1]} for name, values in VALUES.items() if name not in ("momentum",)]
    base = {"teacher": "a:b", "distil": 0.25}
    told = [Training(**{**base, **options}).in_use() for options in on]
    assert all(one != other for one, other in itertools.combinations(told, 2))


@pytest.mark.parametrize(
    ("layer", "layout"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), torch.contiguous_format),
        (nn.Conv2d(32, 64, 1, stride=2, groups=8), torch.contiguous_format),
        (nn.Conv2d(16, 8, 1, stride=2), torch.channels_last),
        (nn.Conv2d(4, 8, 1), torch.channels_last),
        (nn.Conv2d(4, 8, 3, stride=2), torch.channels_last),
        (nn.Conv3d(1, 2, 3), torch.contiguous_format),
    ],
)
def test_layout_in_which_a_backward_pass_would_crash_is_left_alone(
    layer: nn.Module, layout: torch.memory_format
) -> None:
    assert safe_layout(nn.Sequential(nn.ReLU(), layer)) is layout


def test_network_with_a_narrow_strided_shortcut_trains() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 1, stride=2), nn.Flatten(), nn.Linear(72, 2)
    )
    progress = begin(network, Training(), examples=8, epochs=1, seed=0)
    inputs = torch.randn(64, 3, 8, 8).contiguous(memory_format=progress.layout)
    progress.network(inputs).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
