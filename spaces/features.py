"""What a surrogate reads of a network: numbers of its live computation graph, of any module.

One pass on tensors without data shows every operation and what it reads. Live is what lies on
some path from the input to the output: a branch that nobody reads costs nothing here and tells
nothing. Where nothing is known of an operation it is followed, and not counted.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

NAMES = (
    "log10_flops",
    "log10_parameters",
    "spatial",
    "pointwise",
    "depthwise",
    "dense",
    "poolings",
    "merges",
    "log10_paths",
    "longest",
    "shortest",
    "mean_length",
    "log2_narrowest",
    "log2_widest",
    "log2_receptive",
    "early_share",
    "late_share",
)
"""Of every network, in this order: `log10_flops` of one input on live paths, 2 a multiply-add;
convolutions that see neighbours, single points, single channels; products with a matrix; poolings;
places where paths meet; `log10_paths`, paths from input to output; weighted layers on the longest,
the shortest and the mean path; channels where they are fewest and most; side of the patch that one
output sees; shares of the FLOPs in the first and the last third of the weighted depth."""

aten = torch.ops.aten
DENSE = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}
POOLS = {
    aten.max_pool2d_with_indices,
    aten.avg_pool2d,
    aten._adaptive_avg_pool2d,
    aten.max_pool1d_with_indices,
    aten.avg_pool1d,
}


@dataclass
class Node:
    """One operation on the way from the input."""

    reads: tuple[int, ...]
    """Earlier nodes whose results it reads."""
    kind: str = ""
    """Name of what it counts as; empty for what only passes on."""
    flops: int = 0
    width: int = 0
    kernel: int = 1
    stride: int = 1

    @property
    def weighted(self) -> bool:
        """Whether it is a layer with weights, or a product that stands for one."""
        return self.kind in ("spatial", "pointwise", "depthwise", "dense")


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Nodes of all operations that read, over some way, the input."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.nodes = [Node(reads=()) for _ in inputs]
        self.node_of = {id(tensor): number for number, tensor in enumerate(inputs)}
        self.kept: list[Tensor] = list(inputs)
        """Alive until the end, so that no number of an object is given out again."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = _result(func, args, kwargs or {})
        read = [self.node_of[id(t)] for t in _tensors([args, kwargs]) if id(t) in self.node_of]
        if read:
            node = _node(
                func.overloadpacket, args, kwargs or {}, result, tuple(dict.fromkeys(read))
            )
            self.nodes.append(node)
            for tensor in _tensors(result):
                self.node_of[id(tensor)] = len(self.nodes) - 1
                self.kept.append(tensor)
        return result


@dataclass(frozen=True)
class _Like:
    """All that there is of a tensor without data."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Other:
    """What is no tensor; 1, 1.0 and True are different."""

    kind: type
    value: Any


MOST_RESULTS = 10_000
_RESULTS: dict[Any, Any] = {}
"""Operation, shapes and numbers that go in -> shapes that come out."""


def _result(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an operation returns; where it met these shapes before, without computing them again.

    torch derives many shapes in Python, and the networks of a space repeat each other's.
    """
    if func._schema.is_mutable:
        return func(*args, **kwargs)
    try:
        key = (func, _frozen(args), _frozen(tuple(kwargs.items())))
        if key not in _RESULTS:
            if len(_RESULTS) >= MOST_RESULTS:
                _RESULTS.clear()
            _RESULTS[key] = _frozen(func(*args, **kwargs))
        return _thawed(_RESULTS[key])
    except TypeError:  # a tensor with data, something without a hash
        return func(*args, **kwargs)


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.device.type != "meta":
            raise TypeError("its values may matter")
        return _Like(tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (tuple, list)):
        return tuple(_frozen(item) for item in value)
    return _Other(type(value), value)


def _thawed(value: Any) -> Any:
    if isinstance(value, _Like):
        return torch.empty_strided(value.size, value.stride, dtype=value.dtype, device="meta")
    if isinstance(value, tuple):
        return tuple(_thawed(item) for item in value)
    return value.value


def features(network: nn.Module, example: Tensor) -> tuple[float, ...]:
    """The numbers of `NAMES`, for inputs like `example` (batch, ...), of which no value is read.

    A network that is on `meta` is put into evaluation mode, any other is left as it is.

    Raises:
        Exception: whatever the network raises on tensors without data.
    """
    tensors = [*network.parameters(), *network.buffers()]
    bare = all(tensor.device.type == "meta" for tensor in tensors)
    shadow = (network if bare else copy.deepcopy(network).to("meta")).eval()
    inputs = torch.empty_like(example[:1], device="meta")
    recorder = _Recorder([inputs])
    with torch.no_grad(), torch.device("meta"), recorder:
        output = shadow(inputs)
    ends = [recorder.node_of[id(t)] for t in _tensors(output) if id(t) in recorder.node_of]
    return summary(recorder.nodes, ends, sum(p.numel() for p in shadow.parameters()))


def summary(nodes: Sequence[Node], ends: Sequence[int], parameters: int) -> tuple[float, ...]:
    """The numbers of a graph whose node 0 is the input; `nodes` stand in order of execution."""
    alive = _alive(nodes, ends)
    live = [nodes[number] for number in sorted(alive)]
    layers = [node for node in live if node.weighted]
    ways = {number: _Ways() for number in sorted(alive)}
    for number, way in ways.items():
        way.take(nodes[number], [ways[r] for r in nodes[number].reads if r in ways])
    out = _joined([ways[number] for number in ends if number in ways])
    flops = sum(node.flops for node in live)
    depth = max(out.longest, 1)
    thirds = [0.0, 0.0, 0.0]
    for number, way in ways.items():
        thirds[min(2, max(0, 3 * (way.longest - 1) // depth))] += nodes[number].flops
    widths = [node.width for node in layers[:-1] if node.width] or [1]
    count = {kind: sum(node.kind == kind for node in live) for kind in NAMES}
    return (
        math.log10(1 + flops),
        math.log10(1 + parameters),
        *(
            float(count[kind])
            for kind in ("spatial", "pointwise", "depthwise", "dense", "poolings")
        ),
        float(sum(len([r for r in n.reads if r in alive]) > 1 for n in live)),
        out.log_paths / math.log(10) if out.log_paths > -math.inf else 0.0,
        float(out.longest),
        float(out.shortest if math.isfinite(out.shortest) else 0),
        out.mean,
        math.log2(min(widths)),
        math.log2(max(widths)),
        math.log2(max(out.receptive, 1)),
        thirds[0] / max(flops, 1),
        thirds[2] / max(flops, 1),
    )


@dataclass
class _Ways:
    """Of all paths from the input to one node."""

    longest: int = 0
    shortest: float = math.inf
    log_paths: float = -math.inf
    mean: float = 0.0
    receptive: int = 1
    jump: int = 1

    def take(self, node: Node, before: Sequence["_Ways"]) -> None:
        """What the node adds to the ways that lead to it."""
        if not node.reads:
            self.shortest, self.log_paths = 0, 0.0
            return
        joined = _joined(before)
        vars(self).update(vars(joined))
        self.receptive += (node.kernel - 1) * self.jump
        self.jump *= node.stride
        if node.weighted:
            self.longest, self.shortest, self.mean = (
                self.longest + 1,
                self.shortest + 1,
                self.mean + 1,
            )


def _joined(ways: Sequence[_Ways]) -> _Ways:
    if not ways:
        return _Ways()
    highest = max(way.log_paths for way in ways)
    shares = [math.exp(way.log_paths - highest) for way in ways]
    return _Ways(
        longest=max(way.longest for way in ways),
        shortest=min(way.shortest for way in ways),
        log_paths=highest + math.log(sum(shares)),
        mean=sum(s * way.mean for s, way in zip(shares, ways, strict=True)) / sum(shares),
        receptive=max(way.receptive for way in ways),
        jump=max(way.jump for way in ways),
    )


def _alive(nodes: Sequence[Node], ends: Sequence[int]) -> set[int]:
    """Nodes from which an end is reached; every node is reached from the input already."""
    alive, waiting = set(ends), list(ends)
    while waiting:
        for number in nodes[waiting.pop()].reads:
            if number not in alive:
                alive.add(number)
                waiting.append(number)
    return alive


def _node(
    packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, reads: tuple[int, ...]
) -> Node:
    count: Callable[..., int] | None = flop_registry.get(packet)
    flops = int(count(*args, **kwargs, out_val=result)) if count else 0
    if packet is aten.convolution:
        weight, stride, groups = args[1], args[3], args[8]
        kernel = max(weight.shape[2:])
        kind = "depthwise" if groups > 1 and weight.shape[1] == 1 else "spatial"
        kind = "pointwise" if kernel == 1 and groups == 1 else kind
        return Node(reads, kind, flops, weight.shape[0], kernel, max(stride))
    if packet in DENSE:
        return Node(reads, "dense", flops, result.shape[-1])
    if packet in POOLS:
        sides = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
        adaptive = packet is aten._adaptive_avg_pool2d
        given = args[2] if len(args) > 2 and args[2] else sides
        return Node(
            reads, "poolings", 0, 0, 1 if adaptive else max(sides), 1 if adaptive else max(given)
        )
    return Node(reads, flops=flops)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
