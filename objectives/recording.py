"""The calls that one pass of a network makes to its layers, kept so that they can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from objectives.tracing import WHOLE


@dataclass(frozen=True)
class Recorded:
    """A layer without layers below it, and the arguments of its calls in one pass."""

    module: nn.Module
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]

    def run(self) -> None:
        """All calls once more."""
        for arguments, named in self.calls:
            self.module(*arguments, **named)


def record_calls(network: nn.Module, inputs: Tensor) -> dict[str, Recorded]:
    """The layers that one pass calls, by dotted name in the order of their first call.

    A layer that works in place is made to return a new tensor: called again and again on one
    input it would meet other numbers each time, at last denormal ones, which are slow.
    """
    recorded: dict[str, Recorded] = {}
    hooks = []
    for name, module in whole_layers(network):
        if vars(module).get("inplace"):
            vars(module)["inplace"] = False

        def keep(
            module: nn.Module, arguments: Any, named: dict[str, Any], name: str = name
        ) -> None:
            known = recorded.setdefault(name, Recorded(module, []))
            known.calls.append((_kept(arguments), _kept(named)))

        hooks.append(module.register_forward_pre_hook(keep, with_kwargs=True))
    try:
        with torch.inference_mode():
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return recorded


def whole_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules without modules below them, and attentions as a whole."""
    inside: set[int] = set()
    for name, module in network.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, WHOLE):
            inside |= {id(below) for below in module.modules()}
        if isinstance(module, WHOLE) or not any(True for _ in module.children()):
            yield name, module


def _kept(value: Any) -> Any:
    """Arguments with copies of their tensors: a later layer may write into them."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple | list):
        return type(value)(map(_kept, value)) if type(value) in (tuple, list) else value
    return {k: _kept(v) for k, v in value.items()} if type(value) is dict else value
