"""Pruning against zeroed channels, against the formula, and what it refuses."""

import copy
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spaces.compression import StepError
from spaces.compression.channels import hidden_layers, remove, silence, width
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


def zeroed(network: nn.Module, kept: dict[str, list[int]]) -> nn.Module:
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
        expected = zeroed(whole, kept)(examples(16))
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


class Trainer:
    """Notes what is asked of it; training adds a number to every weight."""

    def __init__(self, network: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
        self.original, self.loss = network, loss
        self.seen: list[list[int]] = []
        self.zero_channels: list[int] = []

    def train(self, network: nn.Module, epochs: int, **options: object) -> None:
        self.seen.append(list(widths(network).values()))
        weights = network[0].weight.detach().flatten(1)
        self.zero_channels.append(int((weights == 0).all(1).sum()))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.01
        network.eval()


def trained(network: nn.Module, step: Prune, loss: object = None) -> Trainer:
    trainer = Trainer(copy.deepcopy(network), loss or (lambda each: each(examples()).sum()))
    step.learn(network, examples(), trainer)
    return trainer


@pytest.mark.parametrize("schedule", ["one_shot", "iterative", "dynamic"])
@pytest.mark.parametrize("importance", ["l1", "l2", "bn_scale", "taylor", "random"])
def test_every_schedule_and_importance_ends_in_the_same_shapes(
    schedule: str, importance: str
) -> None:
    step = Prune(ratio=0.6, schedule=schedule, importance=importance, round_to=1)
    networks = [seeded(ConvNet(depth=2, width=20).build((1, 8, 8), 10)) for _ in range(2)]
    trained(networks[0], step)
    step.apply(networks[1], examples())
    shapes = [[p.shape for p in network.parameters()] for network in networks]
    assert shapes[0] == shapes[1]
    assert list(widths(networks[0]).values()) == [8, 8, 10]


def test_iterative_pruning_removes_equal_shares_with_training_after_each() -> None:
    network = seeded(ConvNet(depth=1, width=32).build((1, 8, 8), 10))
    step = Prune(ratio=0.75, schedule="iterative", rounds=3, finetune_epochs=2)
    assert trained(network, step).seen == [[24, 10], [16, 10], [8, 10]]


def test_dynamic_pruning_zeroes_while_it_trains_and_removes_at_the_end() -> None:
    network = seeded(ConvNet(depth=1, width=32).build((1, 8, 8), 10))
    step = Prune(ratio=0.75, schedule="dynamic", rounds=3)
    trainer = trained(network, step)
    assert trainer.seen == [[32, 10], [32, 10], [8, 10]]
    assert trainer.zero_channels == [24, 24, 0]


def test_zeroed_channel_that_grew_back_is_kept() -> None:
    network = seeded(ConvNet(depth=1, width=8).build((1, 8, 8), 10))
    with torch.no_grad():
        network[0].weight[3] *= 1e-3  # the least by far, so that it is zeroed

    class Reviving(Trainer):
        def train(self, network: nn.Module, epochs: int, **options: object) -> None:
            super().train(network, epochs)
            if widths(network)["0"] == 8:
                with torch.no_grad():
                    network[0].weight[3] = 7.0

    trainer = Reviving(network, lambda each: each(examples()).sum())
    Prune(ratio=0.5, schedule="dynamic", rounds=2).learn(network, examples(), trainer)
    assert trainer.zero_channels == [4, 0]
    assert (network[0].weight.detach() > 6.9).flatten(1).all(1).any()


@pytest.mark.parametrize("family", [ConvNet(depth=3, width=16), LeNet(width=2.0, norm=True)])
def test_silenced_channels_answer_as_removed_ones(family: ConvNet | LeNet) -> None:
    removed = seeded(family.build((1, 8, 8), 10))
    silenced = copy.deepcopy(removed)
    for network, change in ((removed, remove), (silenced, silence)):
        layers = hidden_layers(network, examples())
        change(network, examples(), {layer: width(layer) // 2 for layer in layers}, "l2")
    with torch.no_grad():
        torch.testing.assert_close(
            removed(examples(16)), silenced(examples(16)), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("importance", ["l1", "l2"])
def test_norm_decides_between_many_small_weights_and_one_large(importance: str) -> None:
    network = nn.Sequential(nn.Linear(16, 2, bias=False), nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0] = 1.0  # L1 16, L2 4
        network[0].weight[1, 0] = 8.0  # L1 8, L2 8
        network[1].weight.zero_()
    Prune(ratio=0.5, round_to=1, importance=importance).apply(network, torch.randn(2, 16))
    assert network[0].weight.max() == (1.0 if importance == "l1" else 8.0)


def test_scale_of_the_batch_norm_decides_with_bn_scale() -> None:
    network = seeded(ConvNet(depth=1, width=8).build((1, 8, 8), 10))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0]))
    Prune(ratio=0.5, importance="bn_scale").apply(network, examples())
    assert network[1].weight.tolist() == [9.0, 8.0, 7.0, 6.0]


def test_channels_that_the_loss_does_not_feel_go_with_taylor() -> None:
    """The last layer ignores the channels of largest norm, so their gradients are 0."""
    network = seeded(ConvNet(depth=1, width=8).build((1, 8, 8), 10))
    with torch.no_grad():
        network[0].weight[:4] *= 100
        network[1].bias.abs_().add_(1.0)
        network[1].bias[:4] = -1e6  # never active
        network[-1].weight[:, :4] = 0
    whole = copy.deepcopy(network)
    trainer = Trainer(whole, lambda each: each(examples()).square().mean())
    trainer.train = lambda *_, **__: None  # leaves the weights as they are
    Prune(ratio=0.5, importance="taylor").learn(network, examples(), trainer)
    assert survivors(whole, network)["0"] == [4, 5, 6, 7]


def test_batch_norm_scale_is_refused_without_batch_norms() -> None:
    network = LeNet().build((1, 8, 8), 10)
    with pytest.raises(StepError, match="prune: importance bn_scale needs a batch norm"):
        Prune(ratio=0.5, importance="bn_scale").apply(network, examples())


def test_parts_of_the_depth_have_their_own_ratio() -> None:
    network = seeded(ConvNet(depth=4, width=16).build((1, 8, 8), 10))
    applied = Prune(parts=2, ratio=(0.0, 0.75)).apply(network, examples())
    assert list(applied.record["kept"].values()) == [16, 16, 4, 4, 10]
    assert Prune(parts=2, ratio=(0.0, 0.0)).idle()


def test_layers_that_are_added_take_the_ratio_of_the_first() -> None:
    network = seeded(Residual())
    applied = Prune(parts=3, ratio=(0.5, 0.0, 0.75)).apply(network, examples())
    assert applied.record["kept"] == {"stem": 8, "first": 8, "second": 8, "head": 10}


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
