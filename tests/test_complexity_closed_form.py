"""Closed forms against the counter and against brute force, over random shapes."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from objectives.complexity import LayerCost, analyze_complexity
from objectives.layers import attention_flops, closed_form, layer_details, pooling_operations

QUICK = settings(max_examples=40, deadline=None)
SMALL = st.integers(1, 4)


def only(network: nn.Module, *inputs: Tensor) -> LayerCost:
    (layer,) = analyze_complexity(network, inputs).layers
    return layer


def agrees(network: nn.Module, *inputs: Tensor) -> bool:
    layer = only(network, *inputs)
    return closed_form(layer.kind, layer.details) == layer.forward_flops > 0


CONVOLUTIONS: dict[int, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}


@QUICK
@given(data=st.data(), axes=st.integers(1, 3), transposed=st.booleans(), batch=SMALL)
def test_convolution(data: st.DataObject, axes: int, transposed: bool, batch: int) -> None:
    per_axis = st.tuples(*[st.integers(1, 3)] * axes)
    groups, into, out = data.draw(SMALL), data.draw(SMALL), data.draw(SMALL)
    kernel, stride, dilation = (data.draw(per_axis) for _ in range(3))
    padding = data.draw(st.tuples(*[st.integers(0, 2)] * axes))
    size = data.draw(st.tuples(*[st.integers(1, 9)] * axes))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if transposed:
        sizes = zip(size, stride, padding, reach, strict=True)
        assume(all((n - 1) * s - 2 * p + r > 0 for n, s, p, r in sizes))
    else:
        assume(all(n + 2 * p >= r for n, p, r in zip(size, padding, reach, strict=True)))
    layer = CONVOLUTIONS[axes][transposed](
        groups * into,
        groups * out,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    assert agrees(layer, torch.zeros(batch, groups * into, *size))


@QUICK
@given(rows=st.lists(SMALL, min_size=1, max_size=3), into=SMALL, out=SMALL, bias=st.booleans())
def test_linear(rows: list[int], into: int, out: int, bias: bool) -> None:
    assert agrees(nn.Linear(into, out, bias=bias), torch.zeros(*rows, into))


@settings(QUICK, max_examples=20)
@given(
    kind=st.sampled_from([nn.RNN, nn.GRU, nn.LSTM]),
    into=SMALL,
    hidden=st.integers(2, 6),
    layers=st.integers(1, 2),
    both_ways=st.booleans(),
    batch=SMALL,
    steps=st.integers(1, 3),
    projected=st.integers(0, 1),
)
def test_recurrent(
    kind: Callable[..., nn.RNNBase],
    into: int,
    hidden: int,
    layers: int,
    both_ways: bool,
    batch: int,
    steps: int,
    projected: int,
) -> None:
    options = {"proj_size": projected} if kind is nn.LSTM else {}
    network = kind(into, hidden, layers, bidirectional=both_ways, batch_first=True, **options)
    assert agrees(network, torch.zeros(batch, steps, into))


@QUICK
@given(
    kind=st.sampled_from([nn.RNNCell, nn.GRUCell, nn.LSTMCell]),
    into=SMALL,
    state=SMALL,
    batch=SMALL,
)
def test_recurrent_cell(
    kind: Callable[..., nn.RNNCellBase], into: int, state: int, batch: int
) -> None:
    assert agrees(kind(into, state), torch.zeros(batch, into))


@QUICK
@given(
    heads=SMALL,
    width=SMALL,
    kdim=SMALL,
    vdim=SMALL,
    batch=SMALL,
    queries=SMALL,
    keys=SMALL,
    batch_first=st.booleans(),
    extra=st.booleans(),
)
def test_multihead_attention(
    heads: int,
    width: int,
    kdim: int,
    vdim: int,
    batch: int,
    queries: int,
    keys: int,
    batch_first: bool,
    extra: bool,
) -> None:
    network = nn.MultiheadAttention(
        heads * width,
        heads,
        kdim=kdim,
        vdim=vdim,
        batch_first=batch_first,
        add_zero_attn=extra,
        add_bias_kv=extra,
    )
    sizes = [(queries, heads * width), (keys, kdim), (keys, vdim)]
    inputs = [
        torch.zeros((batch, time, n) if batch_first else (time, batch, n)) for time, n in sizes
    ]
    assert agrees(network, *inputs)


@QUICK
@given(batch=SMALL, heads=SMALL, queries=SMALL, keys=SMALL, width=SMALL, causal=st.booleans())
def test_attention(
    batch: int, heads: int, queries: int, keys: int, width: int, causal: bool
) -> None:
    class Attends(nn.Module):
        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return functional.scaled_dot_product_attention(query, key, key, is_causal=causal)

    inputs = (torch.zeros(batch, heads, n, width) for n in (queries, keys))
    assert only(Attends(), *inputs).forward_flops == attention_flops(
        batch=batch, heads=heads, queries=queries, keys=keys, width=width
    )


def held(size: tuple[int, ...], window: dict[str, tuple[int, ...]]) -> int:
    """Elements in all windows: ones convolved with ones."""
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[len(size)]
    options = {name: window[name] for name in ("stride", "padding", "dilation")}
    return round(
        convolve(torch.ones(1, 1, *size), torch.ones(1, 1, *window["kernel"]), **options)
        .sum()
        .item()
    )


@QUICK
@given(data=st.data(), axes=st.integers(1, 3), maximum=st.booleans(), batch=SMALL, channels=SMALL)
def test_pooling_windows(
    data: st.DataObject, axes: int, maximum: bool, batch: int, channels: int
) -> None:
    draw = st.integers(1, 3)
    kernel = data.draw(st.tuples(*[draw] * axes))
    window = {
        "kernel": kernel,
        "stride": data.draw(st.tuples(*[draw] * axes)),
        "padding": tuple(data.draw(st.integers(0, k // 2)) for k in kernel),
        "dilation": data.draw(st.tuples(*[draw] * axes)) if maximum else (1,) * axes,
    }
    size = data.draw(st.tuples(*[st.integers(7, 10)] * axes))
    name = f"{'Max' if maximum else 'Avg'}Pool{axes}d"
    options = {key: value for key, value in window.items() if key != "kernel"}
    if not maximum:
        del options["dilation"]
    layer = only(getattr(nn, name)(kernel, **options), torch.zeros(batch, channels, *size))
    elements = batch * channels * held(size, window)
    expected = elements - layer.output_elements if maximum else elements
    assert pooling_operations(layer.kind, layer.details) == expected


@QUICK
@given(size=st.tuples(st.integers(1, 7), st.integers(1, 7)), output=st.tuples(SMALL, SMALL))
def test_adaptive_pooling_windows(size: tuple[int, int], output: tuple[int, int]) -> None:
    pool = nn.AdaptiveAvgPool2d(output)
    layer = only(pool, torch.zeros(1, 1, *size))
    pixels = size[0] * size[1]
    shares = pool(torch.eye(pixels).reshape(pixels, 1, *size))  # of each pixel in each window
    assert pooling_operations(layer.kind, layer.details) == torch.count_nonzero(shares)


def test_last_window_of_ceil_mode_holds_what_is_left() -> None:
    layer = only(nn.MaxPool1d(2, ceil_mode=True), torch.zeros(1, 1, 5))
    assert layer.details["output"] == (3,)
    assert pooling_operations(layer.kind, layer.details) == 2


def test_unbatched_inputs_are_a_batch_of_one() -> None:
    assert agrees(nn.Conv2d(2, 3, 3), torch.zeros(2, 6, 6))
    assert agrees(nn.LSTM(3, 4), torch.zeros(5, 3))
    query = torch.zeros(5, 8)
    assert agrees(nn.MultiheadAttention(8, 2), query, query, query)


def test_kind_without_formula_is_an_error_that_names_those_with_one() -> None:
    with pytest.raises(ValueError, match=r"no closed form for 'ReLU'; there is one for Conv1d,"):
        closed_form("ReLU", {})
    assert layer_details(nn.ReLU(), [torch.zeros(1)], [torch.zeros(1)]) == {}
