"""What small changes would bring: what is changed, what is refused, what is predicted."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from objectives.complexity import analyze_complexity
from objectives.layer_timing import Analysis, LayerUse, moved_bytes
from objectives.measurement import exact
from objectives.roofline import Level, Roofline
from objectives.what_if import (
    ImpossibleError,
    Refused,
    Variant,
    predict,
    smaller_kernels,
    smaller_windows,
    variants,
)
from search.analysis.changes import halve, neighbours, steps
from search.spec import read_study


def _flops(network: nn.Module, inputs: Tensor) -> int:
    return analyze_complexity(network.eval(), inputs).forward_flops


@pytest.mark.parametrize(
    ("layer", "side", "padding"),
    [
        (nn.Conv2d(2, 4, 7, padding=3), 3, 1),
        (nn.Conv2d(2, 4, 7, stride=2, padding=3), 3, 1),
        (nn.Conv2d(2, 4, 5, dilation=2, padding=4), 3, 2),
        (nn.Conv2d(2, 4, 4, stride=2, padding=1), 3, 1),  # an even kernel, where the stride rounds
        (nn.Conv2d(2, 4, 5, padding=2, groups=2, bias=False, padding_mode="reflect"), 3, 1),
    ],
)
def test_a_smaller_kernel_keeps_the_map(layer: nn.Conv2d, side: int, padding: int) -> None:
    inputs = torch.randn(1, 2, 16, 16)
    shape, flops = layer(inputs).shape, _flops(layer, inputs)
    _, network = smaller_kernels(nn.Sequential(layer), inputs)
    new = network.get_submodule("0")
    assert isinstance(new, nn.Conv2d)
    assert (new.kernel_size, new.padding) == ((side, side), (padding, padding))
    assert (new.stride, new.dilation, new.groups) == (layer.stride, layer.dilation, layer.groups)
    assert (new.bias is None, new.padding_mode) == (layer.bias is None, layer.padding_mode)
    assert network(inputs).shape == shape
    assert _flops(network, inputs) * layer.kernel_size[0] ** 2 == flops * side**2


def test_only_the_largest_kernels_change_and_only_where_they_are_large() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, (1, 7), padding=(0, 3)), nn.Conv2d(2, 2, 5, padding="same")
    )
    told, network = smaller_kernels(network, torch.randn(1, 1, 8, 8))
    assert [m.kernel_size for m in network if isinstance(m, nn.Conv2d)] == [(1, 3), (5, 5)]
    assert told == "kernel 7 to 3 in 1 layer"


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (nn.Conv2d(1, 2, 3), "no kernel is larger than 3: the largest is 3"),
        (nn.Flatten(), "no convolution"),
        (nn.Sequential(nn.Conv2d(1, 2, 5)), "no padding keeps the map of 0"),
    ],
)
def test_a_kernel_that_cannot_shrink_says_why(network: nn.Module, reason: str) -> None:
    with pytest.raises(ImpossibleError, match=reason):
        smaller_kernels(network, torch.randn(1, 1, 8, 8))


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1), nn.MaxPool2d((3, 3), 2, 1)]
)
def test_a_smaller_window_keeps_the_map(pool: nn.Module, side: int) -> None:
    inputs = torch.randn(1, 2, side, side)
    told, network = smaller_windows(nn.Sequential(pool), inputs)
    assert told == "pooling window 3 to 2 in 1 layer"
    assert network(inputs).shape == pool(inputs).shape
    new = network.get_submodule("0")
    assert isinstance(new, nn.MaxPool2d | nn.AvgPool2d)
    assert new.kernel_size in (2, (2, 2))
    assert new.padding == side % 2  # only an odd map needs one to keep its last row


def test_a_window_that_cannot_shrink_says_why() -> None:
    with pytest.raises(ImpossibleError, match="no pooling has a window of 3"):
        smaller_windows(nn.MaxPool2d(2), torch.randn(1, 1, 8, 8))
    with pytest.raises(ImpossibleError, match="no padding keeps the map of 0"):
        smaller_windows(nn.Sequential(nn.MaxPool2d(3, 1)), torch.randn(1, 1, 8, 8))


def test_every_change_is_made_to_a_copy() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 4, 3), nn.Flatten()
    ).eval()
    text, inputs = str(network), torch.randn(2, 1, 8, 8)
    made = list(variants(network, inputs, halve))
    assert str(network) == text
    assert all(isinstance(each, Variant) for each in made)
    kernels, halved, windows, twice = (each for each in made if isinstance(each, Variant))
    assert "kernel_size=(5, 5)" not in str(kernels.network)
    assert "Conv2d(1, 4, " in str(halved.network)
    assert "Conv2d(4, 4, " in str(halved.network)  # the outputs stay
    assert "MaxPool2d(kernel_size=2," in str(windows.network)
    assert twice.inputs.shape == (4, 1, 8, 8)
    assert twice.change == "batch 2 to 4, latency of the whole batch"


def test_what_cannot_be_changed_is_listed_with_its_reason() -> None:
    made = list(variants(nn.LSTM(4, 4), torch.randn(2, 3, 4), halve))
    reasons = {each.change: each.reason for each in made if isinstance(each, Refused)}
    assert "torch-pruning 1.6 fails on LSTM" in reasons["half of all hidden widths"]
    assert len(reasons) == 3
    assert isinstance(made[-1], Variant)


def _analysis(network: nn.Module, inputs: Tensor, call_ms: float, ms: float) -> Analysis:
    """Every layer takes `ms`; 1 GFLOP/s, 1 GB/s."""
    levels = (Level(name="memory", capacity_bytes=math.inf, bandwidth=exact(1e9, "bytes/s")),)
    roofline = Roofline(peak=exact(1e9, "flops/s"), levels=levels, call=exact(call_ms, "ms"))
    costs = analyze_complexity(network, inputs, weight_bits=32, activation_bits=32).layers
    layers = tuple(
        LayerUse(
            cost=cost,
            moved_bytes=moved_bytes(cost),
            intensity=cost.forward_flops / moved_bytes(cost),
            level="memory",
            attainable_flops_s=roofline.attainable(cost.forward_flops, moved_bytes(cost)),
            bound="memory",
            roof_ms=roofline.time_ms(cost.forward_flops, moved_bytes(cost)),
            measured=exact(ms, "ms"),
            note="",
        )
        for cost in costs
    )
    return Analysis(
        layers=layers,
        roofline=roofline,
        eager=exact(ms * len(layers), "ms"),
        batch=len(inputs),
        parameters=0,
        notes=(),
    )


def test_an_unchanged_network_is_predicted_to_take_its_own_time() -> None:
    network, inputs = nn.Sequential(nn.Linear(8, 16), nn.ReLU()).eval(), torch.randn(2, 8)
    analysis = _analysis(network, inputs, call_ms=0.5, ms=3.0)
    same = predict(network, inputs, analysis)
    assert same.layers_ms == pytest.approx(6.0)
    assert (same.flops, same.moved_bytes) == (analysis.flops, analysis.moved_bytes)


def test_time_above_an_empty_call_scales_with_the_roof() -> None:
    network, inputs = nn.Sequential(nn.ReLU()).eval(), torch.randn(2, 8)
    analysis = _analysis(network, inputs, call_ms=1.0, ms=3.0)
    # twice the batch moves twice the bytes: 1 + (3 - 1) x 2
    assert predict(network, torch.randn(4, 8), analysis).layers_ms == pytest.approx(5.0)


def test_a_new_layer_is_predicted_from_the_share_its_kind_reaches() -> None:
    network, inputs = nn.Sequential(nn.ReLU()).eval(), torch.randn(2, 8)
    analysis = _analysis(network, inputs, call_ms=0.001, ms=3.0)
    longer = nn.Sequential(nn.ReLU(), nn.ReLU())
    assert predict(longer, inputs, analysis).layers_ms == pytest.approx(6.0)
    # below the time of an empty call nothing is predicted
    slow = dataclasses.replace(
        analysis, roofline=dataclasses.replace(analysis.roofline, call=exact(4.0, "ms"))
    )
    assert predict(longer, inputs, slow).layers_ms == pytest.approx(3.0 + 4.0)


def test_neighbours_move_one_choice_by_one_step_and_change_a_cost(small: Path) -> None:
    study = read_study(small)
    candidate = study.space.decode(
        {
            "architecture.convnet.depth": 2,
            "architecture.convnet.width": 8,
            "architecture.convnet.pool": 2,
            "training.lr": 0.005,
            "compression.prune.ratio": 0.0,
            "compression.quantize.scheme": "none",
        },
        (1, 8, 8),
    )
    found = dict(neighbours(candidate, study))
    assert list(found) == [
        "convnet.depth 2 to 1",
        "convnet.width 8 to 4",
        "convnet.pool 2 to 3",
        "prune.ratio 0.0 to 0.5",
        "quantize.scheme none to int8",
    ]
    context = study.cost_context()
    keys = {each.recipe_key(context) for each in [candidate, *found.values()]}
    assert len(keys) == 6
    assert found["convnet.depth 2 to 1"].architecture["depth"] == 1
    assert found["quantize.scheme none to int8"].architecture == candidate.architecture


@pytest.mark.parametrize(
    ("values", "value", "near"),
    [
        ((8, 16, 24), 16, [8, 24]),
        ((8, 16, 24), 24, [16]),
        ((5, 3), 3, [5]),
        (("relu", "gelu", "silu"), "gelu", ["relu", "silu"]),
        ((), 0.3, []),  # a continuous range
    ],
)
def test_a_step_is_to_the_next_number_or_to_any_other_word(
    values: tuple[Any, ...], value: Any, near: list[Any]
) -> None:
    assert steps(values, value) == near
