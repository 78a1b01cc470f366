"""What a layer's shapes say of its work: the numbers that decide it, and FLOPs in closed form.

Two for each multiply-add, biases not counted, as everywhere here. The formulas are the textbook
ones; each says where it stands. They serve where a layer has a shape but no module yet, and as a
second opinion on the counter in `objectives/complexity.py`.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

Details = Mapping[str, int | tuple[int, ...]]
"""The numbers that decide a layer's work, by name; counts as int, sizes per axis as a tuple."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE = (
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
)
POOLINGS = (*MAXIMA, *AVERAGES, *ADAPTIVE)
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM)
CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
"""Products of one recurrent step with the inputs, and as many with the state."""


def layer_details(
    module: nn.Module, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Details:
    """The numbers that decide the work of one call of `module`; {} of a kind not known here.

    `inputs`, `outputs`: the tensors of that call, in order.
    """
    for kinds, describe in _DESCRIPTIONS:
        if isinstance(module, kinds) and inputs and outputs:
            return describe(module, inputs, outputs[0])
    return {}


def closed_form(kind: str, details: Details) -> int:
    """FLOPs of one call of a layer of that `kind` (a class name of `torch.nn`), forward.

    `details`: as `layer_details` gives them.

    Raises:
        ValueError: no formula is known for the kind.

    >>> closed_form("Linear", {"rows": 1, "in_features": 8, "out_features": 4})
    64
    """
    for names, formula in _FORMULAS:
        if kind in names:
            return formula(details)
    known = ", ".join(name for names, _ in _FORMULAS for name in names)
    raise ValueError(f"no closed form for {kind!r}; there is one for {known}")


def convolution_flops(details: Details) -> int:
    """FLOPs of a convolution: 2 x outputs x kernel x channels in / groups; padding counts in full.

    Transposed, every *input* element meets the whole kernel of its group instead. Source:
    Dumoulin and Visin 2016, arXiv:1603.07285, chapters 2 and 4 (shapes); Molchanov et al. 2017,
    arXiv:1611.06440, appendix A.1 (the count, there with a bias).
    """
    area = _sizes(details, "input" if details["transposed"] else "output")
    pairs = _int(details, "in_channels") * _int(details, "out_channels") // _int(details, "groups")
    kernel = math.prod(_sizes(details, "kernel"))
    return 2 * _int(details, "batch") * math.prod(area) * kernel * pairs


def linear_flops(details: Details) -> int:
    """FLOPs of a matrix product: 2 x rows x features in x features out.

    Source: Golub and Van Loan, Matrix Computations, section 1.1 (2mnr for (m, r) by (r, n)).
    """
    return 2 * _int(details, "rows") * _int(details, "in_features") * _int(details, "out_features")


def recurrent_flops(details: Details) -> int:
    """FLOPs of an RNN, GRU or LSTM, all layers and directions; gates' sums and squashing excluded.

    Each of `steps` time steps of each sequence costs 2 gates (inputs + state) hidden, and an LSTM
    with a projection 2 hidden proj more; layers above the first read `directions` states.
    Source: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000 (LSTM, 4
    products); Cho et al. 2014, arXiv:1406.1078 (GRU, 3); Sak et al. 2014, arXiv:1402.1128, section
    2 (projection).
    """
    hidden, projected = _int(details, "hidden_size"), _int(details, "proj_size")
    state, directions = projected or hidden, _int(details, "directions")
    widths = [_int(details, "input_size")] + [directions * state] * (_int(details, "layers") - 1)
    gates = _int(details, "gates")
    step = sum(gates * (width + state) * hidden + hidden * projected for width in widths)
    return 2 * _int(details, "steps") * directions * step


def attention_flops(*, batch: int, heads: int, queries: int, keys: int, width: int) -> int:
    """FLOPs of scaled dot-product attention: scores and their sum over the values; no softmax.

    `width`: of one head. Masked and causal pairs count in full, as they are computed. Source:
    Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    return 2 * 2 * batch * heads * queries * keys * width


def multihead_attention_flops(details: Details) -> int:
    """FLOPs of `nn.MultiheadAttention`: four projections, then attention.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2.
    """
    batch, width = _int(details, "batch"), _int(details, "embed_dim")
    queries, keys = _int(details, "queries"), _int(details, "keys")
    around = 2 * queries * width * width
    read = keys * width * (_int(details, "kdim") + _int(details, "vdim"))
    heads = _int(details, "heads")
    attention = attention_flops(
        batch=batch,
        heads=heads,
        queries=queries,
        keys=_int(details, "attended"),
        width=width // heads,
    )
    return 2 * batch * (around + read) + attention


def pooling_operations(kind: str, details: Details) -> int:
    """Comparisons of a maximum pooling, or additions and one division a window of an average one.

    They are no multiply-adds and in no FLOPs here. A window counts the elements it really holds:
    what lies in the padding is skipped, except that an average divides once all the same. The
    elements of a window are a product over the axes, so that their sum over all windows is the
    product of the sums along each axis. Source: Dumoulin and Visin 2016, arXiv:1603.07285,
    chapter 3 (windows); torch.nn.AdaptiveAvgPool2d (adaptive: from floor(i n / m) to
    ceil((i + 1) n / m)).

    >>> pooling_operations(
    ...     "MaxPool2d",
    ...     {"batch": 1, "channels": 1, "input": (4, 4), "output": (2, 2), "kernel": (2, 2),
    ...      "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)},
    ... )
    12
    """
    output = _sizes(details, "output")
    windows = math.prod(output)
    lengths = [_window_lengths(details, axis) for axis in range(len(output))]
    held = math.prod(sum(axis) for axis in lengths)
    planes = _int(details, "batch") * _int(details, "channels")
    first_is_free = 0 if "Avg" in kind else windows  # n - 1 additions and a division are n
    return planes * (held - first_is_free)


def _window_lengths(details: Details, axis: int) -> list[int]:
    """Elements along `axis` that each window holds."""
    size, count = _sizes(details, "input")[axis], _sizes(details, "output")[axis]
    if "kernel" not in details:
        return [-(-(i + 1) * size // count) - i * size // count for i in range(count)]
    kernel, stride, padding, dilation = (
        _sizes(details, name)[axis] for name in ("kernel", "stride", "padding", "dilation")
    )
    starts = [i * stride - padding for i in range(count)]
    return [sum(0 <= start + tap * dilation < size for tap in range(kernel)) for start in starts]


def _convolution(module: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> Details:
    assert isinstance(module, (*CONVOLUTIONS, *TRANSPOSED))
    axes = len(module.kernel_size)
    return {
        "batch": inputs[0].shape[0] if inputs[0].dim() == axes + 2 else 1,
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        "kernel": tuple(module.kernel_size),
        "stride": tuple(module.stride),
        "dilation": tuple(module.dilation),
        "groups": module.groups,
        "transposed": int(module.transposed),
        "input": tuple(inputs[0].shape[-axes:]),
        "output": tuple(output.shape[-axes:]),
    }


def _linear(module: nn.Module, _: Sequence[Tensor], output: Tensor) -> Details:
    assert isinstance(module, nn.Linear)
    return {
        "rows": output.numel() // module.out_features,
        "in_features": module.in_features,
        "out_features": module.out_features,
    }


def _recurrent(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> Details:
    assert isinstance(module, RECURRENT)
    return {
        "steps": inputs[0].numel() // module.input_size,
        "gates": GATES.get(module.mode.split("_")[0], 0),
        "input_size": module.input_size,
        "hidden_size": module.hidden_size,
        "proj_size": module.proj_size,
        "layers": module.num_layers,
        "directions": 1 + int(module.bidirectional),
    }


def _cell(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> Details:
    assert isinstance(module, CELLS)
    return {
        "steps": inputs[0].numel() // module.input_size,
        "gates": GATES[type(module).__name__.removesuffix("Cell")],
        "input_size": module.input_size,
        "hidden_size": module.hidden_size,
        "proj_size": 0,
        "layers": 1,
        "directions": 1,
    }


def _attention(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> Details:
    assert isinstance(module, nn.MultiheadAttention)
    query, key = inputs[0], inputs[min(1, len(inputs) - 1)]
    batched = query.dim() == 3
    time = 1 if batched and module.batch_first else 0
    keys = key.shape[time]
    added = int(module.bias_k is not None) + int(module.add_zero_attn)
    return {
        "batch": query.shape[1 - time] if batched else 1,
        "embed_dim": module.embed_dim,
        "heads": module.num_heads,
        "kdim": module.kdim,
        "vdim": module.vdim,
        "queries": query.shape[time],
        "keys": keys,
        "attended": keys + added,
    }


def _embedding(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> Details:
    assert isinstance(module, nn.Embedding | nn.EmbeddingBag)
    return {
        "lookups": inputs[0].numel(),
        "num_embeddings": module.num_embeddings,
        "embedding_dim": module.embedding_dim,
    }


def _pooling(module: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> Details:
    axes = int(type(module).__name__[-2])
    sizes = {"input": tuple(inputs[0].shape[-axes:]), "output": tuple(output.shape[-axes:])}
    batched = inputs[0].dim() == axes + 2
    planes = {
        "batch": inputs[0].shape[0] if batched else 1,
        "channels": inputs[0].shape[-axes - 1],
    }
    if not isinstance(module, (*MAXIMA, *AVERAGES)):
        return {**planes, **sizes}
    windows = {
        "kernel": _per_axis(module.kernel_size, axes),
        "stride": _per_axis(module.stride, axes),
        "padding": _per_axis(module.padding, axes),
        "dilation": _per_axis(module.dilation, axes)
        if isinstance(module, MAXIMA)
        else (1,) * axes,
    }
    return {**planes, **sizes, **windows}


def _per_axis(value: object, axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    assert isinstance(value, tuple | list)
    return tuple(value) * (axes if len(value) == 1 else 1)


def _int(details: Details, name: str) -> int:
    value = details[name]
    assert isinstance(value, int), f"{name} is {value!r}"
    return value


def _sizes(details: Details, name: str) -> tuple[int, ...]:
    value = details[name]
    assert isinstance(value, tuple), f"{name} is {value!r}"
    return value


_Describe = Callable[[nn.Module, Sequence[Tensor], Tensor], Details]

_DESCRIPTIONS: tuple[tuple[tuple[type[nn.Module], ...], _Describe], ...] = (
    ((*CONVOLUTIONS, *TRANSPOSED), _convolution),
    ((nn.Linear,), _linear),
    (RECURRENT, _recurrent),
    (CELLS, _cell),
    ((nn.MultiheadAttention,), _attention),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    (POOLINGS, _pooling),
)


def _names(kinds: tuple[type[nn.Module], ...]) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in kinds)


_FORMULAS: tuple[tuple[tuple[str, ...], Callable[[Details], int]], ...] = (
    (_names((*CONVOLUTIONS, *TRANSPOSED)), convolution_flops),
    (("Linear",), linear_flops),
    (_names((*RECURRENT, *CELLS)), recurrent_flops),
    (("MultiheadAttention",), multihead_attention_flops),
)
