"""A network of the user's own: any callable that returns an `nn.Module`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Own:
    """`factory(input_shape=..., outputs=..., **options)`, an `nn.Module` class among others.

    A factory with a parameter `vocabulary` is told that too.
    """

    factory: Callable[..., Any]
    options: Mapping[str, Any]

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Nothing is known in advance; building says."""
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "Own":
        """Every choice matters."""
        return self

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Call the factory."""
        given = {"input_shape": input_shape, "outputs": outputs, **self.options}
        if "vocabulary" in inspect.signature(self.factory).parameters:
            given["vocabulary"] = vocabulary
        network = self.factory(**given)
        if not isinstance(network, nn.Module):
            raise TypeError(f"it returned {type(network).__name__}, not a torch.nn.Module")
        return network
