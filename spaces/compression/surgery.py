"""Exchanging layers of a built network by name."""

from typing import TypeVar

from torch import nn

T = TypeVar("T", bound=nn.Module)

FUNCTIONAL = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
"""Modules that read the weights of layers in them instead of calling them; those stay whole."""


def called_layers(network: nn.Module, kinds: tuple[type[T], ...]) -> list[tuple[str, T]]:
    """(dotted name, layer) of exactly these kinds, without those inside `FUNCTIONAL` modules."""
    closed = tuple(n for n, module in network.named_modules() if isinstance(module, FUNCTIONAL))
    return [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, kinds) and type(module) in kinds and name
        if not any(name.startswith(f"{outer}.") or not outer for outer in closed)
    ]


def replace(network: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the one called `name`, in the same mode."""
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module.train(network.training))
