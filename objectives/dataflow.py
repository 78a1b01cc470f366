"""Which layer reads what which other one wrote: the graph of one pass of a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from objectives.recording import whole_layers
from objectives.tracing import NO_WORK, tensors

MOVES = {"aten.clone", "aten.copy_", "aten._to_copy"} | NO_WORK
"""Operations that hand on what they read, as views do."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A call of a layer, or an operation between layers."""

    name: str
    """Dotted name of the layer, or of the module in whose `forward` the operation runs."""
    kind: str
    """Class of the layer, or the operation's name in aten."""
    shape: tuple[int, ...]
    """Of the first tensor that it writes, without the batch."""
    sources: tuple[int, ...]
    """Places of the steps that wrote what it reads, in ascending order."""


INPUT = "input"
"""Kind of the first step, which stands for the inputs of the network."""


def trace_steps(network: nn.Module, inputs: Tensor) -> tuple[Step, ...]:
    """The steps of one pass over `inputs` (N, ...) in evaluation mode, in the order of the pass.

    Views and copies are no steps of their own. What is computed of weights alone (a table of
    positions) has no source, so it is left out too.
    """
    flow = _Flow(network, inputs)
    with flow.following(), torch.no_grad(), flow:
        network.eval()(inputs)
    return tuple(flow.steps)


class _Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Remembers of every tensor alive which steps it comes from."""

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.steps = [Step(name="", kind=INPUT, shape=tuple(inputs.shape[1:]), sources=())]
        self._from = WeakTensorKeyDictionary()
        self._from[inputs] = frozenset({0})
        self._network = network
        self._within: list[str] = []
        self._layer: str | None = None
        """The layer that is running: its operations are not told apart."""

    @contextmanager
    def following(self) -> Iterator[None]:
        """Hear of every call of a module."""
        layers = dict(whole_layers(self._network))
        inside = {id(below) for layer in layers.values() for below in layer.modules()}
        hooks = []
        for name, module in self._network.named_modules():
            if name in layers:
                hooks += self._follow_layer(name, module)
            elif id(module) not in inside:
                hooks += self._follow_module(name, module)
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _follow_layer(self, name: str, layer: nn.Module) -> list[RemovableHandle]:
        def enter(_: nn.Module, inputs: object, named: object) -> None:
            self._layer = name

        def leave(_: nn.Module, inputs: object, named: object, outputs: object) -> None:
            self._layer = None
            self._note(name, type(layer).__name__, [inputs, named], outputs)

        return [
            layer.register_forward_pre_hook(enter, with_kwargs=True),
            layer.register_forward_hook(leave, with_kwargs=True),
        ]

    def _follow_module(self, name: str, module: nn.Module) -> list[RemovableHandle]:
        def enter(_: nn.Module, inputs: object) -> None:
            self._within.append(name)

        def leave(_: nn.Module, inputs: object, outputs: object) -> None:
            self._within.pop()

        return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if self._layer is not None:
            return result
        operation = str(func).rsplit(".", 1)[0]
        if func.is_view or operation in MOVES:
            sources = self._sources([args, kwargs])
            for written in tensors(result) if sources else ():
                self._from[written] = sources
        else:
            kind = operation.removeprefix("aten.").strip("_")
            self._note(self._within[-1] if self._within else "", kind, [args, kwargs], result)
        return result

    def _sources(self, read: object) -> frozenset[int]:
        known = (self._from[x] for x in tensors(read) if x in self._from)
        return frozenset().union(*known)

    def _note(self, name: str, kind: str, read: object, result: object) -> None:
        sources, written = self._sources(read), list(tensors(result))
        if not sources or not written:
            return
        shape = tuple(written[0].shape[1:])
        self.steps.append(Step(name=name, kind=kind, shape=shape, sources=tuple(sorted(sources))))
        for tensor in written:
            self._from[tensor] = frozenset({len(self.steps) - 1})
