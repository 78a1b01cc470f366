"""What a network computes, holds and moves, by module; and what was not counted."""

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.flop_counter import FlopCounterMode

from objectives.layers import POOLINGS, Details
from objectives.tracing import (
    Pass,
    Tally,
    bits_of,
    bytes_of,
    shadow,
    trace_backward,
    trace_forward,
)

KNOWN_ZEROS: dict[type[nn.Module], str] = {
    nn.BatchNorm1d: "element-wise; folded into the convolution before it when deployed",
    nn.BatchNorm2d: "element-wise; folded into the convolution before it when deployed",
    nn.BatchNorm3d: "element-wise; folded into the convolution before it when deployed",
    nn.LayerNorm: "element-wise, not counted by torch.utils.flop_counter",
    nn.GroupNorm: "element-wise, not counted by torch.utils.flop_counter",
    nn.RMSNorm: "element-wise, not counted by torch.utils.flop_counter",
    nn.PReLU: "element-wise, not counted by torch.utils.flop_counter",
    nn.Embedding: "a table look-up",
    nn.EmbeddingBag: "a table look-up and a sum",
    NonDynamicallyQuantizableLinear: "counted in the attention that owns it, which never calls it",
}
"""Modules whose parameters cost no counted FLOPs, each with the reason."""


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """FLOPs of one forward pass, 2 for each multiply-add; biases and activations not counted."""

    total: int
    by_module: Mapping[str, int]
    """Dotted module name -> FLOPs spent in it and below it."""
    zeros: Mapping[str, str]
    """Modules with parameters that were counted as zero, with the reason."""


class UncountedError(ValueError):
    """A module has parameters, costs no counted FLOPs, and is not known to be free."""


def count_flops(
    network: nn.Module,
    input_shape: tuple[int, ...],
    *,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> FlopCount:
    """Count the FLOPs of `network` on inputs of shape (batch, *input_shape) and of that `dtype`.

    Counted on *meta* tensors: on CPU tensors LSTM and attention run as fused operations that
    the counter does not know and silently counts as zero.

    Raises:
        UncountedError: a module with parameters shows no FLOPs and is not in `KNOWN_ZEROS`.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    example = torch.empty((batch, *input_shape), dtype=dtype, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(example)
    root = type(shadow).__name__
    by_module = {
        name.removeprefix(f"{root}."): int(sum(operations.values()))
        for name, operations in counter.get_flop_counts().items()
        if name.startswith(f"{root}.")
    }
    total = int(counter.get_total_flops())
    # named_modules() calls the network itself ""
    zeros = _zeros(shadow, {**by_module, "": total})
    return FlopCount(total=total, by_module=by_module, zeros=zeros)


def _zeros(network: nn.Module, by_module: Mapping[str, int]) -> dict[str, str]:
    zeros = {}
    for name, module in network.named_modules():
        owns = any(True for _ in module.parameters(recurse=False))
        if not owns or by_module.get(name, 0):
            continue
        reasons = [reason for kind, reason in KNOWN_ZEROS.items() if isinstance(module, kind)]
        if not reasons:
            place = f"module {name}" if name else "the network itself"
            raise UncountedError(
                f"{place} ({type(module).__name__}) has parameters but no counted FLOPs; "
                "drop 'flops' from the objectives or replace the module"
            )
        zeros[name] = reasons[0]
    return zeros


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What the calls of one module cost together, for the whole batch.

    A row is a module without modules below it, an attention as a whole, or a module that computes
    products or owns parameters in its own `forward`; of the latter, only these products.
    """

    name: str
    """Dotted module name; "" is the network itself."""
    kind: str
    """Class name."""
    forward_flops: int
    """2 for each multiply-add."""
    backward_flops: int
    """For the gradients of weights and inputs; the first layer has no gradient of its inputs.

    As torch.utils.flop_counter counts them, `backward_excess_flops` included.
    """
    backward_excess_flops: int = 0
    """Of those, what torch 2.14 counts too much: it takes the gradient of the weights of a grouped
    convolution for that of a dense one. Subtract it to know the work.
    """
    parameters: int
    """Elements of its parameters; shared with another row, they show in both."""
    output_elements: int
    """Activations it writes."""
    input_bytes: int
    """Read if every input of a call is moved once."""
    output_bytes: int
    """Written if every output of a call is moved once."""
    weight_bytes: int
    """Parameters and float buffers moved once a call; of a table, only the rows looked up."""
    weight_bits: int
    activation_bits: int
    bit_operations: int
    """macs x weight_bits x activation_bits; a product of two activations is charged the same.

    Source: van Baalen et al. 2020, arXiv:2005.07093 (Bayesian Bits), supplement: BOPs = MACs x
    weight bits x activation bits. Baskin et al. 2018, arXiv:1804.10969 (UNIQ), add the widths of
    the accumulator, which depend on the kernel; left out, as in Bayesian Bits.
    """
    note: str
    """Why no FLOPs were counted; "" where some were."""
    details: Details
    """What decides its work (`objectives/layers.py`), of its first call; {} of other kinds."""

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass."""
        return self.forward_flops // 2


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """What one pass of a network over one batch computes, holds and moves."""

    layers: tuple[LayerCost, ...]
    """In order of the first call."""
    batch: int
    peak_activation_bytes: int
    """Most bytes of tensors alive at once in a forward pass without gradients, inputs included.

    Storages are counted from the operation that makes them until Python drops the last tensor on
    them. A lower bound of what an eager pass needs: kernels' workspace is not in it. Source: the
    method of torch.distributed._tools.mem_tracker (Das et al., PyTorch 2.5).
    """
    parameters: int
    """Elements of all parameters, each once, called or not."""
    state_bytes: int
    """Bytes of all parameters and buffers."""
    uncounted: Mapping[str, str]
    """What ran without counted FLOPs: aten operation -> how often; module with parameters -> why.
    """

    @property
    def peak_bytes(self) -> int:
        """Most bytes held: activations, parameters and buffers."""
        return self.peak_activation_bytes + self.state_bytes

    @property
    def forward_flops(self) -> int:
        """2 for each multiply-add of a forward pass."""
        return sum(layer.forward_flops for layer in self.layers)

    @property
    def backward_flops(self) -> int:
        """2 for each multiply-add of a backward pass, given the forward one, as torch counts."""
        return sum(layer.backward_flops for layer in self.layers)

    @property
    def backward_excess_flops(self) -> int:
        """Of those, what torch counts too much for grouped convolutions."""
        return sum(layer.backward_excess_flops for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of a forward pass."""
        return self.forward_flops // 2

    @property
    def activations(self) -> int:
        """Elements that the layers with products write; normalisation and the like excluded.

        Source: Radosavovic et al. 2020, arXiv:2003.13678, section 3 (outputs of convolutions);
        here of every layer with products.
        """
        return sum(layer.output_elements for layer in self.layers if layer.forward_flops)

    @property
    def traffic_bytes(self) -> int:
        """Bytes in and out of all layers if each tensor is moved once a call, nothing fused."""
        return sum(
            layer.input_bytes + layer.output_bytes + layer.weight_bytes for layer in self.layers
        )

    @property
    def bit_operations(self) -> int:
        """Sum over the layers."""
        return sum(layer.bit_operations for layer in self.layers)


def analyze_complexity(
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    weight_bits: int | None = None,
    activation_bits: int | None = None,
) -> Complexity:
    """Count what one batch costs, layer by layer; `network` and `example` are only copied.

    `example`: the inputs of `forward` with the whole batch along the first axis of the first one;
    of any type, values do not matter. `weight_bits`, `activation_bits`: of floats as deployed (8
    once quantized); None: of their own type, 32 for float32. In evaluation mode; weights that
    require no gradient get none. Forward FLOPs are those of `count_flops`, but a module with
    parameters and without FLOPs is listed in `uncounted`, no error.

    Raises:
        ValueError: the batch is empty, or a width is not positive.
    """
    inputs = _meta_inputs(example)
    for name, bits in (("weight_bits", weight_bits), ("activation_bits", activation_bits)):
        if bits is not None and bits < 1:
            raise ValueError(f"{name} is {bits}; a number has at least 1 bit")
    ghost = shadow(network)
    seen = trace_forward(ghost, inputs, weight_bits, activation_bits)
    backward = trace_backward(ghost, inputs)
    layers = tuple(
        _layer_cost(
            name, tally, backward.get(name, Tally(tally.module)), weight_bits, activation_bits
        )
        for name, tally in seen.tallies.items()
        if tally.whole or tally.forward_flops or name in backward or tally.weights
    )
    return Complexity(
        layers=layers,
        batch=inputs[0].shape[0],
        peak_activation_bytes=seen.peak_bytes,
        parameters=sum(p.numel() for p in ghost.parameters()),
        state_bytes=bytes_of([*ghost.parameters(), *ghost.buffers()], weight_bits),
        uncounted={**_uncounted_operations(seen), **_uncounted_modules(ghost, seen)},
    )


def _meta_inputs(example: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    inputs = (example,) if isinstance(example, Tensor) else example
    if not inputs or any(x.dim() == 0 or x.numel() == 0 for x in inputs):
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ValueError(f"the example is empty: ({shapes}); give at least one input with a batch")
    return tuple(torch.empty_like(x, device="meta", requires_grad=False) for x in inputs)


def _layer_cost(
    name: str,
    tally: Tally,
    backward: Tally,
    weight_bits: int | None,
    activation_bits: int | None,
) -> LayerCost:
    own = list(tally.module.parameters(recurse=tally.whole))
    a_weight = own[0] if own else torch.empty(0, device="meta")
    w_bits = bits_of(a_weight, weight_bits)
    a_bits = activation_bits or tally.activation_bits
    return LayerCost(
        name=name,
        kind=type(tally.module).__name__,
        forward_flops=tally.forward_flops,
        backward_flops=backward.backward_flops,
        backward_excess_flops=backward.backward_excess_flops,
        parameters=sum(p.numel() for p in own),
        output_elements=tally.output_elements,
        input_bytes=tally.input_bytes,
        output_bytes=tally.output_bytes,
        weight_bytes=tally.weight_bytes,
        weight_bits=w_bits,
        activation_bits=a_bits,
        bit_operations=tally.forward_flops // 2 * w_bits * a_bits,
        note="" if tally.forward_flops else _why_nothing(tally),
        details=tally.details,
    )


def _why_nothing(tally: Tally) -> str:
    for kind, reason in KNOWN_ZEROS.items():
        if isinstance(tally.module, kind):
            return reason
    if isinstance(tally.module, POOLINGS):
        return "comparisons or additions of a window (pooling_operations), no multiply-adds"
    if not tally.operations:
        return "computes nothing: passes its input on, or a view of it"
    ran = ", ".join(tally.operations)
    if any(True for _ in tally.module.parameters(recurse=tally.whole)):
        return f"has parameters but no counted FLOPs; it ran {ran}"
    return f"element-wise or data movement, no counted FLOPs; it ran {ran}"


def _uncounted_operations(seen: Pass) -> dict[str, str]:
    calls = sum((tally.operations for tally in seen.tallies.values()), Counter[str]())
    return {name: f"{n} call{'s' * (n > 1)}" for name, n in sorted(calls.items())}


def _uncounted_modules(network: nn.Module, seen: Pass) -> dict[str, str]:
    """Modules with parameters of their own that cost nothing, with the reason."""
    inside = {
        id(below)
        for tally in seen.tallies.values()
        if tally.whole
        for below in tally.module.modules()
        if below is not tally.module
    }
    reasons = {}
    for name, module in network.named_modules():
        tally = seen.tallies.get(name)
        owns = any(True for _ in module.parameters(recurse=False))
        if not owns or id(module) in inside or (tally is not None and tally.forward_flops):
            continue
        place = name or type(module).__name__
        reasons[place] = "never called" if tally is None else _why_nothing(tally)
    return reasons
