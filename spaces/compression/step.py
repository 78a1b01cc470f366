"""What a compression step provides: a network made smaller, or told to run in fewer bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


class StepError(RuntimeError):
    """The step cannot be applied to this network: a sentence why."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What a step did."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """JSON data that costs or weights depend on: kept widths, a scheme; empty for no change."""
    finetune_epochs: int = 0
    """Epochs of training that the network needs now."""
    precision: str | None = None
    """The precision in which to deploy it from now on, if the step decides that."""


@runtime_checkable
class Step(Protocol):
    """A compression step. Implementations are frozen dataclasses; fields are the YAML keys."""

    def idle(self) -> bool:
        """Whether these options change no network at all; such a step leaves the candidate."""

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Change `network` in place.

        `example`: real inputs (N, ...), N >= 2. Shapes after the step may not depend on the values
        of the weights, so that costs are known before training.

        Raises:
            StepError: it cannot be applied to this network.
        """
