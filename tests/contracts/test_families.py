"""What every family of the table promises; then hand-computed networks of each."""

import copy
import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import SIGNATURES, example_of, signature_of
from objectives.complexity import analyze_complexity
from objectives.dataflow import trace_steps
from spaces.families import FAMILIES, Family
from spaces.families.convnet import ConvNet
from spaces.families.layers import ACTIVATIONS, Activation, pooled, pooling
from spaces.families.lenet import LeNet
from spaces.families.own import Own
from spaces.part import read_part

Signature = tuple[tuple[int, ...], int, tuple[int, ...]]
SHAPES = [(1, 28, 28), (1, 12, 20), (2, 9, 5), (), (5, 16), (1, 2, 3, 4)]
EVERY_SIGNATURE: list[Signature] = [*SIGNATURES, *((shape, 10, ()) for shape in SHAPES)]
"""Each family takes some of these, and says of the others why not."""
every_family = pytest.mark.parametrize("name", FAMILIES)
every_signature = pytest.mark.parametrize("signature", EVERY_SIGNATURE, ids=str)


def built(family: Family, signature: Signature, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return family.build(*signature).eval()


def answer(network: nn.Module, signature: Signature, count: int = 2) -> Tensor:
    with torch.no_grad():
        output: Tensor = network(example_of(signature, count))
    return output


@every_family
def test_family_without_options_satisfies_the_protocol(name: str) -> None:
    assert isinstance(FAMILIES[name](), Family)


@every_family
@every_signature
def test_default_network_returns_one_row_of_outputs_for_each_input_or_says_why_not(
    name: str, signature: Signature
) -> None:
    family = FAMILIES[name]()
    if reason := family.check(*signature):
        assert name in reason
        assert len(reason.split()) > 3
        return
    network = built(family, signature)
    for count in (1, 3):
        outputs = answer(network, signature, count)
        assert outputs.shape == (count, signature[1])
        assert outputs.isfinite().all()


@every_family
def test_network_learns_in_every_parameter(name: str) -> None:
    family = FAMILIES[name]()
    network = built(family, signature_of(family)).train()
    network(example_of(signature_of(family), 4)).square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@every_family
def test_every_layer_is_a_step_between_the_input_and_the_answer(name: str) -> None:
    family = FAMILIES[name]()
    network = built(family, signature_of(family))
    steps = trace_steps(network, example_of(signature_of(family), 2))
    read = {source for step in steps for source in step.sources}
    assert read == set(range(len(steps) - 1))  # the last one is read by nobody but the caller
    assert steps[-1].shape == (signature_of(family)[1],)
    called = {
        layer.name
        for layer in analyze_complexity(network, example_of(signature_of(family), 2)).layers
        if layer.parameters
    }
    assert called <= {step.name for step in steps}


@every_family
def test_answer_does_not_depend_on_the_neighbours_in_the_batch(name: str) -> None:
    family = FAMILIES[name]()
    network, inputs = built(family, signature_of(family)), example_of(signature_of(family), 5)
    with torch.no_grad():
        together, alone = network(inputs)[2:3], network(inputs[2:3])
    torch.testing.assert_close(together, alone)


@every_family
def test_same_seed_builds_the_same_weights(name: str) -> None:
    family = FAMILIES[name]()
    signature = signature_of(family)
    first, again, other = (built(family, signature, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_family
@every_signature
def test_canonical_family_builds_the_same_network(name: str, signature: Signature) -> None:
    family = FAMILIES[name]()
    if family.check(*signature) is None:
        canonical = family.canonical(signature[0])
        assert canonical.canonical(signature[0]) == canonical
        assert canonical.check(*signature) is None
        expected = answer(built(family, signature), signature)
        assert torch.equal(answer(built(canonical, signature), signature), expected)


@every_family
def test_every_choice_has_a_default_and_survives_a_copy(name: str) -> None:
    part = read_part(name, FAMILIES[name])
    assert not any(field.required for field in part.fields.values())
    family = part.make(part.defaults)
    assert family == FAMILIES[name]()
    assert copy.deepcopy(family) == family


@every_family
def test_family_is_frozen_and_refuses_unknown_options(name: str) -> None:
    family = FAMILIES[name]()
    field = next(iter(read_part(name, FAMILIES[name]).fields))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(family, field, None)
    with pytest.raises(ValueError, match="no_such_option"):
        FAMILIES[name](no_such_option=1)


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("window", range(1, 8))
def test_pooled_tells_the_side_that_pooling_leaves(kind: str, window: int) -> None:
    for side in range(2, 12):
        out = pooling(kind, window)(torch.randn(1, 1, side, side))
        assert out.shape == (1, 1, pooled(side, window), pooled(side, window))


@pytest.mark.parametrize(("window", "side"), [(2, 4), (3, 5)])
def test_pooling_halves_nine_down_for_even_windows_and_up_for_odd(window: int, side: int) -> None:
    assert pooled(9, window) == side


def test_average_of_a_constant_map_is_the_constant_also_at_the_border() -> None:
    assert torch.equal(pooling("avg", 3)(torch.ones(1, 1, 6, 6)), torch.ones(1, 1, 3, 3))


def test_convnet_has_the_parameters_counted_by_hand() -> None:
    family = ConvNet(depth=2, width=(8, 16), kernel=(3, 5), blocks=(1, 2))
    stage_1 = 3 * 8 * 9 + 2 * 8
    stage_2 = 8 * 16 * 25 + 2 * 16 + 16 * 16 * 25 + 2 * 16
    head = 16 * 10 + 10
    network = family.build((3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == stage_1 + stage_2 + head


def test_convnet_repeats_one_value_for_each_stage() -> None:
    shape = (1, 32, 32)
    one = ConvNet(depth=3, width=8, kernel=5, pool=3, blocks=2)
    threes = {"width": (8,) * 3, "kernel": (5,) * 3, "pool": (3,) * 3, "blocks": (2,) * 3}
    each = ConvNet(depth=3, resolution=32, **threes)
    assert one.canonical(shape) == each.canonical(shape) == each


def test_convnet_forgets_values_of_stages_that_do_not_exist() -> None:
    longer = ConvNet(depth=1, width=(8, 16, 24), kernel=(3, 5, 5), pool=(2, 3, 3))
    assert longer.canonical((1, 8, 8)) == ConvNet(depth=1, width=8).canonical((1, 8, 8))


def test_convnet_skips_pooling_once_a_side_of_the_map_is_one() -> None:
    canonical = ConvNet(depth=4, pool=2).canonical((1, 4, 9))
    assert canonical.pool == (2, 2, 0, 0)
    network = canonical.build((1, 4, 9), 10)
    assert sum(isinstance(module, nn.MaxPool2d) for module in network.modules()) == 2


def test_convnet_without_pooling_forgets_the_kind_of_pooling() -> None:
    shape = (1, 8, 8)
    kinds = [ConvNet(pool=0, pool_kind=kind).canonical(shape) for kind in ("max", "avg")]
    assert kinds[0] == kinds[1]
    assert ConvNet(pool_kind="avg").canonical(shape).pool_kind == "avg"


def test_kernel_larger_than_the_picture_is_refused() -> None:
    assert ConvNet(kernel=11).check((1, 11, 4), 10) is None
    reason = ConvNet(kernel=(3, 11)).check((1, 8, 8), 10)
    assert reason == "convnet kernel 11 is larger than the picture, 8 x 8; choose at most 8"
    assert ConvNet(depth=1, kernel=(3, 11)).check((1, 8, 8), 10) is None


def test_residual_convnet_has_the_parameters_counted_by_hand() -> None:
    family = ConvNet(depth=1, width=8, blocks=2, block="residual", se=4)
    norms, gates = 2 * 8, 8 * 2 + 2 + 2 * 8 + 8
    first = 3 * 8 * 9 + 8 * 8 * 9 + 2 * norms + gates + 3 * 8 + norms
    second = 2 * 8 * 8 * 9 + 2 * norms + gates
    network = family.build((3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == first + second + 8 * 10 + 10


def test_separable_convnet_without_norm_has_the_parameters_counted_by_hand() -> None:
    family = ConvNet(depth=2, width=(8, 16), kernel=(3, 5), block="separable", norm="none")
    stage_1 = 3 * 8 * 9 + 8
    stage_2 = 8 * 25 + 8 + 8 * 16 + 16
    network = family.build((3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == stage_1 + stage_2 + 16 * 10 + 10


@pytest.mark.parametrize("block", ["plain", "residual", "separable"])
def test_strides_of_convnet_leave_what_its_pools_say(block: str) -> None:
    family = ConvNet(depth=3, width=8, pool=(2, 3, 0), pool_kind="stride", block=block, blocks=2)
    sides: list[int] = []
    network = family.build((1, 28, 28), 10).eval()
    assert isinstance(network, nn.Sequential)
    network[-3].register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    answer(network, ((1, 28, 28), 10, ()))
    assert sides == [5]  # 28, 14, 5
    pools = [m for m in network.modules() if isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))]
    assert all(pool.kernel_size == 1 for pool in pools)


def test_dropout_changes_training_only() -> None:
    torch.manual_seed(0)
    network, inputs = ConvNet(dropout=0.5).build((1, 8, 8), 10), torch.randn(4, 1, 8, 8)
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), network(inputs))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_convnet_uses_the_activation_by_name(activation: Activation) -> None:
    network = ConvNet(activation=activation).build((1, 8, 8), 10)
    kind = ACTIVATIONS[activation]
    assert sum(type(module) is kind for module in network.modules()) == 2


def test_lenet_has_the_parameters_of_the_paper_on_28_pixels() -> None:
    conv = 6 * 25 + 6 + 16 * 6 * 25 + 16
    linear = 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10
    network = LeNet().build((1, 28, 28), 10)
    assert sum(p.numel() for p in network.parameters()) == conv + linear


def test_lenet_builds_for_every_choice_and_every_small_picture() -> None:
    options = itertools.product((3, 5, 7), (0, 1, 2), (False, True))
    shapes = [(1, 4, 4), (1, 4, 9), (3, 7, 5), (1, 14, 10), (1, 15, 16)]
    for (kernel, hidden, norm), shape in itertools.product(options, shapes):
        family = LeNet(kernel=kernel, hidden=hidden, norm=norm)
        assert family.check(shape, 10) is None
        signature = (shape, 10, ())
        assert answer(built(family, signature), signature).shape == (2, 10)


def test_lenet_says_when_a_picture_is_too_small() -> None:
    reason = LeNet().check((1, 3, 8), 10)
    assert reason is not None
    assert "3 x 8 is too small" in reason


def test_own_network_that_is_no_module_is_named() -> None:
    with pytest.raises(TypeError, match=r"returned int, not a torch\.nn\.Module"):
        Own(lambda input_shape, outputs: 3, {}).build((1, 8, 8), 10)
