"""What every compression step of the table promises, on every family of the table."""

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from objectives.complexity import count_flops
from spaces.compression import STEPS, Step, StepError
from spaces.compression.prune import Prune
from spaces.families import FAMILIES
from tests.variants import VARIANTS

SHAPE = (1, 8, 8)
ACTIVE: dict[str, list[dict[str, Any]]] = {
    "prune": [{"ratio": 0.25}, {"ratio": 0.5, "round_to": 8}, {"ratio": 0.9, "round_to": 1}],
    "quantize": [{"scheme": "int8"}, {"scheme": "bf16"}],
}
"""Step -> options that change a network, from mild to strong. A new step needs an entry."""
REFUSED = {("prune", "vit")}
"""(step, family) that do not go together, which the step says in a sentence."""

every_step = pytest.mark.parametrize("name", STEPS)
every_fitting = pytest.mark.parametrize(
    ("name", "family"),
    [(name, family) for name in STEPS for family in FAMILIES if (name, family) not in REFUSED],
)


def fresh(family: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return FAMILIES[family]().build(SHAPE, 10).eval()


def examples(count: int = 4) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def active(name: str) -> list[Step]:
    return [STEPS[name](**options) for options in ACTIVE[name]]


@every_step
def test_step_without_options_is_idle_and_leaves_the_outputs(name: str) -> None:
    step, network = STEPS[name](), fresh("convnet")
    assert step.idle()
    with torch.no_grad():
        before = network(examples())
        step.apply(network, examples())
        assert torch.equal(network(examples()), before)


@every_step
def test_step_that_changes_something_is_not_idle(name: str) -> None:
    assert ACTIVE[name], f"give options of {name} that change a network"
    assert not any(step.idle() for step in active(name))


@every_fitting
def test_compressed_network_still_returns_one_row_of_outputs(name: str, family: str) -> None:
    for step in active(name):
        network = fresh(family)
        step.apply(network, examples())
        with torch.no_grad():
            outputs = network(examples(3))
        assert outputs.shape == (3, 10)
        assert outputs.isfinite().all()


@every_fitting
def test_step_never_adds_flops_or_parameters(name: str, family: str) -> None:
    def cost(network: nn.Module) -> tuple[int, int]:
        parameters = sum(p.numel() for p in network.parameters())
        return count_flops(network, SHAPE).total, parameters

    costs = [cost(fresh(family))]
    for step in active(name):
        network = fresh(family)
        step.apply(network, examples())
        costs.append(cost(network))
    assert all(later <= costs[0] for later in costs)


@every_fitting
def test_shapes_and_record_do_not_depend_on_the_weights(name: str, family: str) -> None:
    for step in active(name):
        networks = [fresh(family, seed) for seed in (0, 1)]
        applied = [step.apply(network, examples()) for network in networks]
        shapes = [[p.shape for p in network.parameters()] for network in networks]
        assert shapes[0] == shapes[1]
        assert applied[0] == applied[1]


@every_step
def test_step_is_deterministic(name: str) -> None:
    for step in active(name):
        states = []
        for _ in range(2):
            network = fresh("convnet")
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
        assert network.training is training


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


@pytest.mark.parametrize(("name", "family"), sorted(REFUSED))
def test_family_that_a_step_refuses_is_left_as_it_was(name: str, family: str) -> None:
    for step in active(name):
        network = fresh(family)
        before = copy.deepcopy(network.state_dict())
        with pytest.raises(StepError, match=f"{name}: .*; leave {name} out for this network"):
            step.apply(network, examples())
        after = network.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
@pytest.mark.parametrize(
    ("family", "options"),
    [(family, options) for family, options in VARIANTS if ("prune", family) not in REFUSED],
    ids=lambda value: str(value).replace("'", ""),
)
def test_every_layer_of_every_variant_is_pruned_to_the_width_asked_for(
    family: str, options: dict[str, Any], ratio: float
) -> None:
    step, kept = Prune(ratio=ratio), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = FAMILIES[family](**options).build(SHAPE, 10).eval()
        layers = {
            layer: module.weight.shape[0]
            for layer, module in network.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear))
        }
        *_, last = layers
        kept.append(step.apply(network, examples()).record["kept"])
        assert kept[-1] == {**{n: step.kept(w) for n, w in layers.items()}, last: 10}
        network.train()(examples()).sum().backward()
    assert kept[0] == kept[1]
