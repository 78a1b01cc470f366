"""What a family provides: from architecture choices to a network."""

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class Family(Protocol):
    """A kind of network. Implementations are frozen dataclasses; fields are the YAML keys.

    `input_shape` is the shape of one input, such as (channels, height, width); `outputs` the
    numbers that the network returns for it. `vocabulary`: empty where inputs are float32; where
    they are ids (int64), how many there are, one number for all columns or one for each.
    """

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """The reason why these choices cannot be built for this task, or None."""

    def canonical(self, input_shape: tuple[int, ...]) -> "Family":
        """The same network with every choice that does not matter at its default."""

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """The network, freshly initialised from torch's global random state."""
