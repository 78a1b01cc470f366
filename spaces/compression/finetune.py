"""Training between or after compression steps: plain, or towards the uncompressed network."""

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.compression.step import RECOVERY_LR, Applied, Lesson, Trainer


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Finetune:
    """Train the network as it is now, with an optimizer and a schedule of its own."""

    epochs: int = Field(default=0, ge=0)
    lr: float = Field(default=RECOVERY_LR, gt=0)
    """Factor on the candidate's learning rate."""

    def idle(self) -> bool:
        """0 epochs change nothing."""
        return self.epochs == 0

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Change nothing: no cost depends on it."""
        return Applied(record={"epochs": self.epochs}) if self.epochs else Applied()

    def learn(self, network: nn.Module, example: Tensor, trainer: Trainer) -> Applied:
        """Train."""
        trainer.train(network, self.epochs, lr=self.lr)
        return self.apply(network, example)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Distil:
    """Train the network as it is now towards the same candidate before its first step.

    The loss is `(1 - weight)` times the task's plus `weight` times the distance to the answers of
    the uncompressed network on the same augmented inputs: T^2 KL of the distributions at
    temperature T for classes, the task's own loss for values.

    Source: Hinton et al. 2015, arXiv:1503.02531.
    """

    epochs: int = Field(default=0, ge=0)
    lr: float = Field(default=RECOVERY_LR, gt=0)
    """Factor on the candidate's learning rate."""
    weight: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=4.0, gt=0)

    def idle(self) -> bool:
        """0 epochs change nothing."""
        return self.epochs == 0

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Change nothing: no cost depends on it."""
        return Applied(record={"epochs": self.epochs}) if self.epochs else Applied()

    def learn(self, network: nn.Module, example: Tensor, trainer: Trainer) -> Applied:
        """Train with the uncompressed network as the teacher."""
        lesson = Lesson(teacher=trainer.original, weight=self.weight, temperature=self.temperature)
        trainer.train(network, self.epochs, lr=self.lr, lesson=lesson)
        return self.apply(network, example)
