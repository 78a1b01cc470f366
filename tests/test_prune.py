"""Pruning against zeroed channels, against the formula, and what it refuses."""

import copy
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces.compression import StepError
from spaces.compression.prune import Prune
from spaces.families.convnet import ConvNet
from spaces.families.lenet import LeNet

ROUND_TO = (1, 2, 4, 8, 16)
LAYERS = (nn.Conv2d, nn.Linear)


class Residual(nn.Module):
    """Two blocks that add to what they read, so that their widths must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.first = nn.Conv2d(16, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.stem(x_BCHW).relu()
        x_BCHW = x_BCHW + self.first(x_BCHW).relu()
        x_BCHW = x_BCHW + self.second(x_BCHW).relu()
        output: Tensor = self.head(x_BCHW.mean((2, 3)))
        return output


class Viewing(nn.Module):
    """Writes the flattened size into its forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.head = nn.Linear(512, 10)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        output: Tensor = self.head(self.conv(x_BCHW).view(len(x_BCHW), 512))
        return output


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 1),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Hardswish(),
        nn.Conv2d(32, 16, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def convolutional_head() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def examples(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """New random weights everywhere, statistics of batch norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)
    return network.eval()


def widths(network: nn.Module) -> dict[str, int]:
    return {
        name: module.out_features if isinstance(module, nn.Linear) else module.out_channels
        for name, module in network.named_modules()
        if isinstance(module, LAYERS)
    }


def survivors(whole: nn.Module, pruned: nn.Module) -> dict[str, list[int]]:
    """Layer -> which of its channels are left, found by comparing weights, input to output."""
    kept: dict[str, list[int]] = {}
    columns = [0]
    for name, module in whole.named_modules():
        if not isinstance(module, LAYERS):
            continue
        weight = module.weight.detach()
        rest = pruned.get_parameter(f"{name}.weight").detach()
        each = rest.shape[1] // len(columns)  # inputs of a linear layer for each channel
        inputs = [column * each + offset for column in columns for offset in range(each)]
        reachable = weight[:, inputs]
        kept[name] = [
            next(i for i in range(len(weight)) if torch.equal(reachable[i], row)) for row in rest
        ]
        columns = kept[name]
    return kept


def silence(network: nn.Module, kept: dict[str, list[int]]) -> nn.Module:
    """Zero the channels that are not kept, in layers and in the batch norms behind them."""
    doomed: list[int] = []
    with torch.no_grad():
        for name, module in network.named_modules():
            if name in kept:
                weight = network.get_parameter(f"{name}.weight")
                doomed = [i for i in range(len(weight)) if i not in kept[name]]
            if isinstance(module, (*LAYERS, nn.BatchNorm2d)):
                for parameter in module.parameters():
                    parameter[doomed] = 0
    return network


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
@pytest.mark.parametrize(
    "family",
    [
        ConvNet(depth=3, width=(16, 24, 8)),
        ConvNet(depth=2, width=16, activation="hardswish", pool_kind="avg", blocks=2),
        LeNet(width=2.0),
        LeNet(width=2.0, norm=True, activation="silu"),
    ],
    ids=["relu", "hardswish", "lenet", "lenet-norm"],
)
def test_removing_channels_answers_as_zeroing_them(family: ConvNet | LeNet, ratio: float) -> None:
    whole = seeded(family.build((1, 8, 8), 10))
    pruned = copy.deepcopy(whole)
    Prune(ratio=ratio).apply(pruned, examples())
    kept = survivors(whole, pruned)
    assert sum(map(len, kept.values())) < sum(widths(whole).values())
    with torch.no_grad():
        expected = silence(whole, kept)(examples(16))
        torch.testing.assert_close(pruned(examples(16)), expected, atol=1e-5, rtol=1e-4)


def test_channels_of_least_norm_go() -> None:
    network = seeded(ConvNet(depth=1, width=8).build((1, 8, 8), 10))
    with torch.no_grad():
        for parameter in (network[0].weight, network[1].weight, network[1].bias):
            parameter[[1, 4, 6, 7]] *= 1e-3
        network[-1].weight[:, [1, 4, 6, 7]] *= 1e-3
    whole = copy.deepcopy(network)
    Prune(ratio=0.5).apply(network, examples())
    assert survivors(whole, network)["0"] == [0, 2, 3, 5]


@given(st.integers(1, 256), st.sampled_from([0, 1, 2, 3]), st.sampled_from(ROUND_TO))
def test_kept_width_is_the_formula_in_exact_arithmetic(
    width: int, quarters: int, round_to: int
) -> None:
    kept = Prune(ratio=quarters / 4, round_to=round_to).kept(width)
    steps = Fraction(width * (4 - quarters), 4 * round_to)
    half_up = math.floor(steps + Fraction(1, 2))
    assert kept == min(width, max(1, half_up * round_to))


@given(st.integers(1, 256), st.sampled_from(ROUND_TO), st.lists(st.floats(0, 0.999)))
def test_kept_width_never_rises_with_the_ratio(
    width: int, round_to: int, ratios: list[float]
) -> None:
    kept = [Prune(ratio=ratio, round_to=round_to).kept(width) for ratio in sorted(ratios)]
    assert kept == sorted(kept, reverse=True)
    assert all(1 <= each <= width for each in kept)
    assert all(each % round_to == 0 or each in (1, width) for each in kept)


@given(
    st.integers(1, 48),
    st.integers(1, 48),
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9, 0.99]),
    st.sampled_from(ROUND_TO),
)
@settings(max_examples=40, deadline=None)
def test_record_is_the_formula_and_the_real_width_of_every_layer(
    first: int, second: int, ratio: float, round_to: int
) -> None:
    step = Prune(ratio=ratio, round_to=round_to)
    network = ConvNet(depth=2, width=(first, second)).build((1, 8, 8), 10)
    applied = step.apply(network, examples())
    real = widths(network)
    assert list(real.values()) == [step.kept(first), step.kept(second), 10]
    assert applied.record in ({}, {"kept": real, "finetune_epochs": 1})
    assert bool(applied.record) == (real != {**real, "0": first, "4": second})


def test_widths_and_parameters_fall_with_the_ratio() -> None:
    counts = []
    for ratio in (0.0, 0.25, 0.5, 0.75, 0.9):
        network = ConvNet(depth=3, width=(32, 64, 64)).build((1, 8, 8), 10)
        Prune(ratio=ratio).apply(network, examples())
        counts.append(sum(p.numel() for p in network.parameters()))
    assert counts == sorted(set(counts), reverse=True)


def test_step_that_rounds_to_nothing_is_recorded_as_nothing_and_needs_no_tuning() -> None:
    network = seeded(ConvNet(depth=1, width=4).build((1, 8, 8), 10)).train()
    before = copy.deepcopy(network.state_dict())
    applied = Prune(ratio=0.25).apply(network, examples())
    assert (applied.record, applied.finetune_epochs, applied.precision) == ({}, 0, None)
    assert network.training
    assert all(torch.equal(before[key], network.state_dict()[key]) for key in before)


def test_finetune_epochs_are_handed_on() -> None:
    network = ConvNet().build((1, 8, 8), 10)
    assert Prune(ratio=0.5, finetune_epochs=3).apply(network, examples()).finetune_epochs == 3


def test_shapes_are_the_same_for_two_seeds_of_weights() -> None:
    shapes = []
    for seed in (0, 1):
        network = seeded(Residual(), seed)
        Prune(ratio=0.5, round_to=1).apply(network, examples())
        shapes.append({name: tuple(p.shape) for name, p in network.named_parameters()})
    assert shapes[0] == shapes[1]


def test_layers_that_are_added_keep_the_same_channels() -> None:
    network = seeded(Residual())
    applied = Prune(ratio=0.5).apply(network, examples())
    assert applied.record["kept"] == {"stem": 8, "first": 8, "second": 8, "head": 10}
    assert network(examples(3)).shape == (3, 10)


def test_depthwise_convolution_follows_the_layer_before() -> None:
    network = seeded(depthwise())
    applied = Prune(ratio=0.5).apply(network, examples())
    assert applied.record["kept"] == {"0": 16, "1": 16, "3": 8, "6": 10}
    assert network[1].groups == 16


def test_number_of_outputs_stays_also_where_the_last_layer_is_a_convolution() -> None:
    network = seeded(convolutional_head())
    applied = Prune(ratio=0.75).apply(network, examples())
    assert applied.record["kept"] == {"0": 4, "2": 10}
    assert network(examples(3)).shape == (3, 10)


def test_pruning_works_where_gradients_are_switched_off() -> None:
    network = ConvNet().build((1, 8, 8), 10)
    with torch.no_grad():
        applied = Prune(ratio=0.5).apply(network, examples())
    assert applied.record["kept"] == widths(network)


class Refused(nn.Module):
    """A module that cannot be pruned between two that can."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(8, 16), nn.Linear(16, 10)
        self.heads = kind is nn.MultiheadAttention
        self.inner = kind(16, 2 if self.heads else 16, batch_first=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BTF = self.before(x_BCHW.squeeze(1))
        x_BTF = self.inner(*[x_BTF] * (3 if self.heads else 1))[0]
        output: Tensor = self.after(x_BTF[:, -1])
        return output


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention])
def test_recurrence_and_attention_are_refused_by_name_with_a_remedy(
    kind: type[nn.Module],
) -> None:
    network = Refused(kind).eval()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(StepError, match=r"prune: module inner: .*; leave prune out") as caught:
        Prune(ratio=0.5).apply(network, examples())
    assert kind.__name__ in str(caught.value) or "attention" in str(caught.value)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        (nn.Sequential(nn.Flatten()), "no convolution or linear layer"),
        (Viewing(), "torch-pruning cannot prune this network"),
        (ConvNet().build((1, 8, 8), 10).requires_grad_(False), "removed nothing"),
    ],
    ids=["no layers", "view", "frozen"],
)
def test_network_that_cannot_be_pruned_is_refused_with_a_sentence(
    network: nn.Module, problem: str
) -> None:
    with pytest.raises(StepError, match=f"prune: .*{problem}"):
        Prune(ratio=0.5).apply(network, examples())


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"ratio": -0.1}, {"round_to": 3}], ids=str)
def test_impossible_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Prune(**options)
