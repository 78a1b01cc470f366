"""What every compression step of the table promises, on every family of the table."""

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import OPTIONS, built, default_families, example_of, signature_of
from objectives.complexity import count_flops
from spaces.compression import (
    RECOVERY_LR,
    STEPS,
    Learner,
    Lesson,
    Step,
    StepError,
    TrainingFree,
)

ACTIVE: dict[str, list[dict[str, Any]]] = {
    **OPTIONS,
    "prune": [
        {"ratio": 0.25},
        {"ratio": 0.5, "round_to": 8, "importance": "bn_scale"},
        {"ratio": 0.9, "round_to": 1, "importance": "taylor"},
        {"parts": 2, "ratio": (0.0, 0.5), "importance": "random"},
        {"ratio": 0.5, "schedule": "iterative", "importance": "l1"},
        {"ratio": 0.5, "schedule": "dynamic"},
    ],
    "quantize": [{"scheme": scheme} for scheme in ("int8", "int8_aware", "fp16")],
}
"""Step -> options that change a network, from mild to strong."""

FAMILIES = {name: family for name, family in default_families().items() if name != "module"}
"""Those of the table; `module` has no network of its own but one of millions of weights, which
`benchmarks.steps` walks too."""
every_step = pytest.mark.parametrize("name", STEPS)
every_family = pytest.mark.parametrize("family", FAMILIES)


class Rehearsal:
    """A trainer that trains for two steps on random targets."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        self.original, self.example = copy.deepcopy(network).eval(), example
        self.epochs = 0

    def loss(self, network: nn.Module) -> Tensor:
        return network(self.example).square().mean()

    def train(
        self,
        network: nn.Module,
        epochs: int,
        *,
        lr: float = RECOVERY_LR,
        lesson: Lesson | None = None,
    ) -> None:
        self.epochs += epochs
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3 * lr)
        for _ in range(2 * epochs):
            optimizer.zero_grad()
            self.loss(network.train()).backward()
            optimizer.step()
        network.eval()


def fresh(family: str = "convnet", seed: int = 0) -> nn.Module:
    return built(FAMILIES[family], seed)


def examples(family: str = "convnet", count: int = 4) -> Tensor:
    return example_of(signature_of(FAMILIES[family]), count)


def active(name: str) -> list[Step]:
    return [STEPS[name](**options) for options in ACTIVE[name]]


def applied_or_refused(step: Step, family: str) -> nn.Module | None:
    """The compressed network; None where the step refuses it by name, in a sentence."""
    network = fresh(family)
    try:
        step.apply(network, examples(family))
    except StepError as error:
        reason = str(error)
    else:
        return network
    name = next(name for name, kind in STEPS.items() if type(step) is kind)
    assert reason.startswith(f"{name}: ")
    assert len(reason.split()) > 4
    return None


@every_step
def test_step_without_options_is_idle_and_leaves_the_outputs(name: str) -> None:
    step, network = STEPS[name](), fresh("convnet")
    assert step.idle()
    with torch.no_grad():
        before = network(examples())
        applied = step.apply(network, examples())
        assert torch.equal(network(examples()), before)
    assert applied.finetune_epochs == 0


@every_step
def test_step_that_changes_something_is_not_idle(name: str) -> None:
    assert ACTIVE[name], f"give options of {name} that change a network"
    assert not any(step.idle() for step in active(name))


@every_step
@every_family
def test_step_works_on_a_family_or_is_refused_by_name(name: str, family: str) -> None:
    outputs_expected = signature_of(FAMILIES[family])[1]
    for step in active(name):
        network = applied_or_refused(step, family)
        if network is None:
            continue
        with torch.no_grad():
            outputs = network(examples(family, 3))
        assert outputs.shape == (3, outputs_expected)
        assert outputs.isfinite().all()


@every_step
def test_every_step_works_on_some_family(name: str) -> None:
    for step in active(name):
        assert any(applied_or_refused(step, family) is not None for family in FAMILIES)


@every_step
@every_family
def test_step_never_adds_flops_or_parameters(name: str, family: str) -> None:
    (shape, _, vocabulary), whole = signature_of(FAMILIES[family]), fresh(family)

    def cost(network: nn.Module) -> tuple[int, int]:
        parameters = sum(p.numel() for p in network.parameters())
        return 0 if vocabulary else count_flops(network, shape).total, parameters

    before = cost(whole)
    for step in active(name):
        network = applied_or_refused(step, family)
        if network is not None:
            assert all(map(int.__le__, cost(network), before))


@every_step
@every_family
def test_shapes_and_record_do_not_depend_on_the_weights(name: str, family: str) -> None:
    for step in active(name):
        if applied_or_refused(step, family) is None:
            continue
        networks = [fresh(family, seed) for seed in (0, 1)]
        applied = [step.apply(network, examples(family)) for network in networks]
        shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in networks]
        assert shapes[0] == shapes[1]
        assert applied[0] == applied[1]


@every_step
@every_family
def test_step_with_training_leaves_the_weights_that_it_leaves_without(
    name: str, family: str
) -> None:
    """What was trained is loaded into a fresh network to which the step was applied."""
    for step in active(name):
        untrained, network = applied_or_refused(step, family), fresh(family)
        if untrained is None or not isinstance(step, Learner):
            continue
        trainer = Rehearsal(network, examples(family))
        applied = step.learn(network, examples(family), trainer)
        assert applied == step.apply(fresh(family), examples(family))
        untrained.load_state_dict(network.state_dict())
        with torch.no_grad():
            assert torch.equal(untrained(examples(family)), network(examples(family)))
        assert not network.training
        assert all(parameter.requires_grad for parameter in network.parameters())


@every_step
def test_step_is_training_free_only_if_it_trains_nothing_and_asks_for_nothing(name: str) -> None:
    for step in active(name):
        network = fresh()
        trainer = Rehearsal(network, examples())
        if isinstance(step, Learner):
            applied = step.learn(network, examples(), trainer)
        else:
            applied = step.apply(network, examples())
        free = isinstance(step, TrainingFree) and step.training_free()
        assert free == (trainer.epochs + applied.finetune_epochs == 0)


@every_step
def test_step_is_deterministic(name: str) -> None:
    for step in active(name):
        states = []
        for seed in (0, 1):
            network = fresh("convnet")
            torch.manual_seed(seed)
            step.apply(network, examples())
            states.append(network.state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@every_step
def test_record_is_json_and_says_that_something_was_done(name: str) -> None:
    for step in active(name):
        applied = step.apply(fresh("convnet"), examples())
        assert applied.record
        assert json.loads(json.dumps(applied.record)) == applied.record
        assert applied.finetune_epochs >= 0


@every_step
@pytest.mark.parametrize("training", [False, True])
def test_step_leaves_the_network_in_the_mode_it_was_in(name: str, training: bool) -> None:
    for step in active(name):
        network = fresh("convnet").train(training)
        step.apply(network, examples())
        assert all(module.training is training for module in network.modules())


@every_step
def test_compressed_network_can_still_be_trained_copied_and_saved(name: str) -> None:
    for step in active(name):
        network = fresh("convnet")
        step.apply(network, examples())
        assert all(parameter.requires_grad for parameter in network.parameters())
        again = fresh("convnet")
        step.apply(again, examples())
        again.load_state_dict(network.state_dict())
        copy.deepcopy(network).train()(examples()).sum().backward()


@every_step
def test_step_is_frozen_equal_by_value_and_refuses_unknown_options(name: str) -> None:
    options = ACTIVE[name][0]
    step = STEPS[name](**options)
    assert step == STEPS[name](**options)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(step, next(iter(options)), None)
    with pytest.raises(ValueError, match="no_such_option"):
        STEPS[name](no_such_option=1)


@every_step
def test_network_that_a_step_refuses_is_refused_with_a_sentence(name: str) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 16, batch_first=True)
            self.head = nn.Linear(16, 10)

        def forward(self, x_BCHW: Tensor) -> Tensor:
            output: Tensor = self.head(self.lstm(x_BCHW.squeeze(1))[0][:, -1])
            return output

    for step in active(name):
        try:
            step.apply(Recurrent().eval(), examples())
        except StepError as error:
            assert name in str(error)  # noqa: PT017  # a step may also accept it
            assert len(str(error).split()) > 4  # noqa: PT017
