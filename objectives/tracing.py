"""One pass of a network on meta tensors, seen operation by operation: who ran it, what it cost."""

import bisect
import copy
import dataclasses
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from objectives.layers import Details, layer_details

WHOLE = (nn.MultiheadAttention,)
"""Modules that are one layer although they own others: they use their weights, never call them."""
NO_WORK = {"aten.empty", "aten.empty_like", "aten.empty_strided", "aten.new_empty"} | {
    "aten._unsafe_view",
    "aten.lift_fresh",
}
"""Operations that compute nothing and that their schema does not call views."""


@dataclass
class Tally:
    """What the calls of one module have cost so far."""

    module: nn.Module
    forward_flops: int = 0
    backward_flops: int = 0
    backward_excess_flops: int = 0
    output_elements: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    weight_bytes: int = 0
    activation_bits: int = 32
    """Of the floats it writes."""
    operations: Counter[str] = field(default_factory=Counter)
    """aten name -> calls, of operations without counted FLOPs."""
    details: Details = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether its calls are measured from outside."""
        return isinstance(self.module, WHOLE) or not any(True for _ in self.module.children())

    @property
    def weights(self) -> list[Tensor]:
        """Its own parameters and float buffers, those below it included if it is whole."""
        parameters = self.module.parameters(recurse=self.whole)
        buffers = self.module.buffers(recurse=self.whole)
        return [*parameters, *(b for b in buffers if b.is_floating_point())]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What a pass was seen to do."""

    tallies: Mapping[str, Tally]
    """Dotted module name -> tally, in order of the first call."""
    peak_bytes: int


def shadow(network: nn.Module) -> nn.Module:
    """A copy of `network` without data, in evaluation mode; what was shared is shared again."""
    empty: dict[int, object] = {id(b): b.to("meta") for b in network.buffers()}
    for p in network.parameters():  # `Module.to` would give a tied weight two copies
        empty[id(p)] = nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad)
    copied = copy.deepcopy(network, empty).eval()
    for module in copied.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):  # neither parameter nor buffer
                setattr(module, name, value.to("meta"))
    return copied


def trace_forward(
    network: nn.Module,
    inputs: Sequence[Tensor],
    weight_bits: int | None,
    activation_bits: int | None,
) -> Pass:
    """One forward pass of a shadow without gradients."""
    with FlopCounterMode(display=False) as counter:
        trace = _Trace(network, counter, weight_bits, activation_bits)
        for tensor in inputs:
            trace.hold(tensor)
        with torch.no_grad(), torch.device("meta"), trace:
            network(*inputs)
    return Pass(tallies=trace.tallies, peak_bytes=trace.peak_bytes)


def trace_backward(network: nn.Module, inputs: Sequence[Tensor]) -> Mapping[str, Tally]:
    """Module name -> tally with the backward FLOPs from the sum of all outputs, if it has any."""
    with FlopCounterMode(display=False) as counter:
        trace = _Trace(network, counter, None, None)
        with torch.enable_grad(), torch.device("meta"), trace:
            outputs = [y for y in tensors(network(*inputs)) if y.requires_grad]
            if outputs:
                torch.autograd.backward(outputs, [torch.ones_like(y) for y in outputs])
    return {name: tally for name, tally in trace.tallies.items() if tally.backward_flops}


def tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors(list(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from tensors([getattr(value, f.name) for f in dataclasses.fields(value)])


def bits_of(tensor: Tensor, bits: int | None) -> int:
    """Bits of an element: `bits` of a float where they are given, else those of its type."""
    if bits is not None and tensor.is_floating_point():
        return bits
    return 8 * tensor.element_size()


def bytes_of(values: Sequence[Tensor], bits: int | None) -> int:
    """Bytes of the tensors, each object once, an expanded one as what is stored."""
    return sum(
        -(-_stored(tensor) * bits_of(tensor, bits) // 8)
        for tensor in {id(tensor): tensor for tensor in values}.values()
    )


def _stored(tensor: Tensor) -> int:
    return min(tensor.numel(), tensor.untyped_storage().nbytes() // tensor.element_size())


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Follows the call stack by hooks and every operation by dispatch.

    A backward operation belongs to the module in whose forward its autograd node was made: nodes
    are numbered as they are made, so that noting the next number whenever the stack changes tells
    whose each one is. (Tensor hooks at the modules' borders, as in torch's ModuleTracker, miss
    functional operations and modules whose inputs need no gradient.)
    """

    supports_higher_order_operators = True

    def __init__(
        self,
        network: nn.Module,
        counter: FlopCounterMode,
        weight_bits: int | None,
        activation_bits: int | None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.tallies: dict[str, Tally] = {}
        self.peak_bytes = 0
        self._counter = counter
        self._weight_bits, self._activation_bits = weight_bits, activation_bits
        self._names = {module: name for name, module in network.named_modules()}
        self._stack: list[str] = []
        self._starts: list[int] = []
        self._owners: list[str] = []
        self._live_bytes = 0
        self._storages = WeakIdKeyDictionary()
        for tensor in (*network.parameters(), *network.buffers()):
            self._storages[tensor.untyped_storage()] = "weight"
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "_Trace":
        for module in self._names:
            self._handles += [
                module.register_forward_pre_hook(self._enter_module),
                module.register_forward_hook(self._leave_module, with_kwargs=True),
            ]
        super().__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for handle in self._handles:
            handle.remove()

    def hold(self, tensor: Tensor) -> None:
        """Count the storage under `tensor` as alive until it is dropped."""
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        if storage in self._storages:
            return
        self._storages[storage] = "activation"
        bits = bits_of(tensor, self._activation_bits)
        size = -(-storage.nbytes() * bits // (8 * tensor.element_size()))
        self._live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        weakref.finalize(storage, self._free, size).atexit = False

    def _is_weight(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        return storage in self._storages and self._storages[storage] == "weight"

    def _free(self, size: int) -> None:
        self._live_bytes -= size

    def _enter_module(self, module: nn.Module, _: object) -> None:
        inside = self.tallies[self._stack[-1]] if self._stack else None
        if inside is not None and inside.whole:
            self._stack.append(self._stack[-1])
        else:
            name = self._names[module]
            self.tallies.setdefault(name, Tally(module))
            self._stack.append(name)
        self._mark()

    def _leave_module(
        self, module: nn.Module, inputs: object, keywords: object, outputs: object
    ) -> None:
        name = self._stack.pop()
        self._mark()
        tally = self.tallies[name]
        if not tally.whole or tally.module is not module or _current_node() is not None:
            return
        read, written = list(tensors([inputs, keywords])), list(tensors(outputs))
        tally.details = tally.details or layer_details(module, read, written)
        if not tally.forward_flops and not tally.operations:
            return  # a view, or nothing at all: no byte moves
        tally.output_elements += sum(y.numel() for y in written)
        tally.input_bytes += bytes_of(read, self._activation_bits)
        tally.output_bytes += bytes_of(written, self._activation_bits)
        tally.weight_bytes += self._moved_weights(tally, read)
        self._note_bits(tally, written)

    def _moved_weights(self, tally: Tally, read: Sequence[Tensor]) -> int:
        weights = bytes_of(tally.weights, self._weight_bits)
        if isinstance(tally.module, nn.Embedding | nn.EmbeddingBag) and read:
            rows = tally.module.num_embeddings
            return weights * min(rows, read[0].numel()) // rows
        return weights

    def _mark(self) -> None:
        self._starts.append(torch._C._autograd._get_sequence_nr())
        self._owners.append(self._stack[-1] if self._stack else "")

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        before = self._counter.get_total_flops()
        result = func(*args, **(kwargs or {}))
        flops = int(self._counter.get_total_flops() - before)
        node = _current_node()
        if node is not None:
            place = bisect.bisect_right(self._starts, node._sequence_nr()) - 1
            tally = self.tallies[self._owners[place]]
            tally.backward_flops += flops
            if func is torch.ops.aten.convolution_backward.default:
                tally.backward_excess_flops += _excess_of_groups(flops, args[9], args[10])
        elif self._stack:
            self._add(self.tallies[self._stack[-1]], func, flops, args, kwargs, result)
        return result

    def _add(
        self,
        tally: Tally,
        func: torch._ops.OpOverload,
        flops: int,
        args: object,
        kwargs: object,
        result: object,
    ) -> None:
        written = list(tensors(result))
        for tensor in written:
            self.hold(tensor)
        name = _operation_name(func)
        if isinstance(func, torch._ops.OpOverload) and (func.is_view or name in NO_WORK):
            return
        tally.forward_flops += flops
        if not flops:
            tally.operations[name] += 1
        if tally.whole:
            return
        read = list(tensors([args, kwargs]))
        weights = [x for x in read if self._is_weight(x)]
        tally.weight_bytes += bytes_of(weights, self._weight_bits)
        if flops:
            rest = [x for x in read if all(x is not weight for weight in weights)]
            tally.input_bytes += bytes_of(rest, self._activation_bits)
            tally.output_bytes += bytes_of(written, self._activation_bits)
            tally.output_elements += sum(y.numel() for y in written)
            self._note_bits(tally, written)

    def _note_bits(self, tally: Tally, written: Sequence[Tensor]) -> None:
        floats = [y for y in written if y.is_floating_point()]
        if floats:
            tally.activation_bits = bits_of(floats[0], self._activation_bits)


def _current_node() -> "torch.autograd.graph.Node | None":
    """The autograd node that is being evaluated; None outside a backward pass."""
    return torch._C._current_autograd_node()


def _excess_of_groups(flops: int, groups: object, wanted: object) -> int:
    """What torch counts too much for a grouped convolution's gradients.

    `conv_backward_flop` of torch.utils.flop_counter (2.14) lets every output channel meet every
    input channel in the gradient of the weights, so that this part is `groups` times too large.
    `wanted`: whether the gradients of inputs, weights and biases are computed.
    """
    assert isinstance(groups, int)
    assert isinstance(wanted, list | tuple)
    of_inputs, of_weights = int(wanted[0]), int(wanted[1])
    parts = of_inputs + of_weights * groups  # each as large as the forward pass
    return flops * of_weights * (groups - 1) // parts if parts else 0


def _operation_name(func: object) -> str:
    """`aten.add` of `aten.add.Tensor`."""
    name = str(func)
    return name.rpartition(".")[0] if name.count(".") == 2 else name
