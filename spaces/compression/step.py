"""What a compression step provides: a network made smaller, or told to run in fewer bits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

RECOVERY_LR = 0.3
"""Factor on the learning rate while a compressed network recovers; 1 loses what was learned."""


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


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Training towards another network's answers besides the targets."""

    teacher: nn.Module
    """Takes the same inputs, answers in the same shape; not trained."""
    weight: float
    """Share of the loss that is the distance to the teacher, 0 to 1."""
    temperature: float
    """Divides the logits of both networks; classification only."""


class Trainer(Protocol):
    """What a step may ask for while it changes a trained network."""

    @property
    def original(self) -> nn.Module:
        """The network before the first step, in eval mode; not to be changed."""

    def loss(self, network: nn.Module) -> Tensor:
        """Mean loss of `network` on a batch of the training split, the next one at each call."""

    def train(
        self,
        network: nn.Module,
        epochs: int,
        *,
        lr: float = RECOVERY_LR,
        lesson: Lesson | None = None,
    ) -> None:
        """Train `network` in place with an optimizer of its own; exact zeros in weights stay.

        `lr`: factor on the candidate's learning rate. The network ends on the CPU in eval mode.
        """


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


@runtime_checkable
class Canonical(Step, Protocol):
    """A step some of whose options are of no effect beside others."""

    def canonical(self) -> Step:
        """The same step, options of no effect at their defaults: one candidate, not several."""


@runtime_checkable
class TrainingFree(Step, Protocol):
    """A step that may leave a trained network ready for use."""

    def training_free(self) -> bool:
        """Whether it trains nothing and asks for no training after it."""


@runtime_checkable
class Learner(Step, Protocol):
    """A step that needs training data itself, not only a fine-tune after it."""

    def learn(self, network: nn.Module, example: Tensor, trainer: Trainer) -> Applied:
        """Change a trained `network` in place; what it asks of the trainer is done on return.

        Shapes and names of all weights are those that `apply` leaves.

        Raises:
            StepError: it cannot be applied to this network.
        """
