"""What if a network were a little different: the same with smaller kernels, fewer channels, ...

Each variant is a real network, counted like the original; its latency is predicted from the
original's layers, or measured.
"""

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from objectives.complexity import Complexity, LayerCost, analyze_complexity
from objectives.layer_timing import Analysis, LayerUse, moved_bytes
from objectives.layers import AVERAGES, CONVOLUTIONS, MAXIMA
from objectives.recording import record_calls

Shrink = Callable[[nn.Module, Tensor], str | None]
"""Halves the hidden widths of a network in place, given inputs; or says why it cannot."""

SMALL_KERNEL = 3
WINDOWS = (3, 2)
"""A pooling window and what it becomes."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A changed copy of a network with its inputs."""

    change: str
    network: nn.Module
    inputs: Tensor


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A change that cannot be made to this network."""

    change: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a variant costs, for its whole batch."""

    flops: int
    parameters: int
    moved_bytes: int
    layers_ms: float
    """Sum over the layers as if each were timed alone."""


class ImpossibleError(ValueError):
    """The change cannot be made; a sentence why."""


def variants(network: nn.Module, inputs: Tensor, shrink: Shrink) -> Iterator[Variant | Refused]:
    """The changes that mean something for any network, each made to a copy or refused.

    `inputs`: the batch (N, ...). No variant changes the shape of the outputs but the last, of
    twice the batch.
    """
    makers: dict[str, Callable[[nn.Module], tuple[str, nn.Module]]] = {
        f"largest kernel to {SMALL_KERNEL}": lambda net: smaller_kernels(net, inputs),
        "half of all hidden widths": lambda net: _halved(net, inputs, shrink),
        f"pooling window {WINDOWS[0]} to {WINDOWS[1]}": lambda net: smaller_windows(net, inputs),
    }
    for change, make in makers.items():
        try:
            told, changed = make(copy.deepcopy(network).eval())
            _check_outputs(network, changed, inputs)
            yield Variant(change=told, network=changed, inputs=inputs)
        except ImpossibleError as error:
            yield Refused(change=change, reason=str(error))
    twice = torch.cat([inputs, inputs])
    yield Variant(
        change=f"batch {len(inputs)} to {len(twice)}, latency of the whole batch",
        network=network,
        inputs=twice,
    )


def smaller_kernels(network: nn.Module, inputs: Tensor) -> tuple[str, nn.Module]:
    """(what was done, network): its largest convolution kernels are 3, padded to the same maps.

    Raises:
        ImpossibleError: no kernel is larger, or one cannot be padded to the same map.
    """
    found = {name: m for name, m in network.named_modules() if type(m) in CONVOLUTIONS}
    largest = max((max(m.kernel_size) for m in found.values()), default=0)
    if largest <= SMALL_KERNEL:
        sizes = f"the largest is {largest}" if found else "it has no convolution"
        raise ImpossibleError(f"no kernel is larger than {SMALL_KERNEL}: {sizes}")
    chosen = {name: m for name, m in found.items() if max(m.kernel_size) == largest}
    told = f"kernel {largest} to {SMALL_KERNEL} in {_layers(chosen)}"
    return told, _replaced(network, inputs, chosen, _smaller_convolutions)


def smaller_windows(network: nn.Module, inputs: Tensor) -> tuple[str, nn.Module]:
    """(what was done, network): its pooling windows of 3 are 2, padded to the same maps.

    Raises:
        ImpossibleError: there is none, or one cannot be padded to the same map.
    """
    old, new = WINDOWS
    chosen: dict[str, nn.Module] = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (*MAXIMA, *AVERAGES)) and set(_axes(module.kernel_size)) == {old}
    }
    if not chosen:
        raise ImpossibleError(f"no pooling has a window of {old}")
    told = f"pooling window {old} to {new} in {_layers(chosen)}"
    return told, _replaced(network, inputs, chosen, _smaller_poolings)


def predict(network: nn.Module, inputs: Tensor, analysis: Analysis) -> Prediction:
    """What a variant of the analysed network costs, its time from the original's layers.

    A layer of the same name and kind takes its old time, of which what exceeds one empty call is
    scaled by the ratio of its times at the roof, new over old. A new layer takes the time at its
    roof over the median share that the layers of its kind reach (of all layers, if none is of its
    kind). What does not scale like the roof, such as another kernel of the library, is not seen.
    """
    complexity = analyze_complexity(network, inputs, weight_bits=32, activation_bits=32)
    return Prediction(
        flops=complexity.forward_flops,
        parameters=complexity.parameters,
        moved_bytes=complexity.traffic_bytes,
        layers_ms=_layers_ms(complexity, analysis),
    )


def _layers_ms(complexity: Complexity, analysis: Analysis) -> float:
    old = {use.cost.name: use for use in analysis.layers}
    return sum(_predicted_ms(cost, old.get(cost.name), analysis) for cost in complexity.layers)


def _predicted_ms(cost: LayerCost, old: LayerUse | None, analysis: Analysis) -> float:
    roof_ms = analysis.roofline.time_ms(cost.forward_flops, moved_bytes(cost))
    empty_ms = analysis.roofline.call.value
    if old is not None and old.cost.kind == cost.kind:
        if old.measured is None:
            return 0.0
        least_ms = min(empty_ms, old.measured.value)
        ratio = roof_ms / old.roof_ms if old.roof_ms else 1.0
        return least_ms + (old.measured.value - least_ms) * ratio
    alike = [use for use in analysis.layers if use.cost.kind == cost.kind] or analysis.layers
    shares = [use.share_of_roof for use in alike if use.share_of_roof]
    return max(empty_ms, roof_ms / median(shares)) if shares else empty_ms


def _halved(network: nn.Module, inputs: Tensor, shrink: Shrink) -> tuple[str, nn.Module]:
    before = sum(p.numel() for p in network.parameters())
    reason = shrink(network, inputs)
    if reason is None and sum(p.numel() for p in network.parameters()) == before:
        reason = "no layer has a hidden width that could be halved"
    if reason is not None:
        raise ImpossibleError(reason)
    return "half of all hidden widths", network


Candidates = Callable[[nn.Module], Iterable[nn.Module]]
"""A layer -> layers to put in its place, the best first."""


def _replaced(
    network: nn.Module, inputs: Tensor, chosen: dict[str, nn.Module], candidates: Candidates
) -> nn.Module:
    """`network` with the first candidate of each chosen layer that keeps the shape of its maps."""
    recorded = record_calls(network, inputs)
    for name, module in chosen.items():
        if name not in recorded:
            continue
        example = recorded[name].calls[0][0][0].to("meta")
        wanted = copy.deepcopy(module).to("meta")(example).shape
        fitting = (new for new in candidates(module) if _shape(new, example) == wanted)
        new = next(fitting, None)
        if new is None:
            raise ImpossibleError(f"no padding keeps the map of {name or 'the network'}")
        if not name:
            return new.eval()
        network.set_submodule(name, new.eval())
    return network


def _shape(module: nn.Module, example: Tensor) -> torch.Size | None:
    """The shape that a layer makes of `example` (meta); None if it refuses."""
    try:
        made: Tensor = copy.deepcopy(module).to("meta")(example)
        return made.shape
    except RuntimeError:
        return None


def _smaller_convolutions(module: nn.Module) -> Iterator[nn.Module]:
    assert isinstance(module, CONVOLUTIONS), type(module)
    kernel = tuple(min(side, SMALL_KERNEL) for side in module.kernel_size)
    for padding in _paddings(module.padding):
        yield type(module)(
            module.in_channels,
            module.out_channels,
            kernel,  # type: ignore[arg-type]  # a tuple of as many axes as the class has
            stride=module.stride,  # type: ignore[arg-type]  # the same
            padding=padding,  # type: ignore[arg-type]  # the same
            dilation=module.dilation,  # type: ignore[arg-type]  # the same
            groups=module.groups,
            bias=module.bias is not None,
            padding_mode=module.padding_mode,
        )


def _smaller_poolings(module: nn.Module) -> Iterator[nn.Module]:
    assert isinstance(module, (*MAXIMA, *AVERAGES)), type(module)
    old, new_side = module.kernel_size, WINDOWS[1]
    kernel = new_side if isinstance(old, int) else tuple(new_side for _ in old)
    for padding in _paddings(module.padding):
        new = copy.deepcopy(module)
        # the stubs know one form a class; each takes a number and a tuple
        vars(new)["kernel_size"], vars(new)["padding"] = kernel, padding
        yield new


def _paddings(padding: str | int | tuple[int, ...]) -> Iterator[str | int | tuple[int, ...]]:
    """Paddings that a smaller window may need, in the same form: none is larger than the old."""
    if isinstance(padding, str):
        yield padding
    elif isinstance(padding, int):
        yield from range(padding + 1)
    else:
        yield from itertools.product(*(range(side + 1) for side in padding))


def _axes(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _layers(chosen: dict[str, nn.Module]) -> str:
    return f"{len(chosen)} layer{'s' * (len(chosen) > 1)}"


def _check_outputs(network: nn.Module, changed: nn.Module, inputs: Tensor) -> None:
    """A changed network must answer in the same shape.

    Raises:
        ImpossibleError: it does not, or it does not run.
    """
    with torch.no_grad():
        wanted = network.eval()(inputs)
        try:
            made = changed(inputs)
        except RuntimeError as error:
            told = str(error).strip().splitlines()[0]
            raise ImpossibleError(f"the changed network does not run: {told}") from error
    if isinstance(wanted, Tensor) and made.shape != wanted.shape:
        raise ImpossibleError(
            f"the outputs would change from {tuple(wanted.shape)} to {tuple(made.shape)}"
        )
