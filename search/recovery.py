"""What compression steps ask for while they change a trained network: losses and training."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from objectives.tasks import Metric, Splits, Task, load
from objectives.training import Augment, Targets
from spaces.compression import RECOVERY_LR, Lesson

BATCH = 64
"""Inputs of one loss."""


@dataclass
class Recovery:
    """The `Trainer` that a candidate's compression steps are given."""

    original: nn.Module
    task: Task
    finetune: Callable[[nn.Module, int, float, Lesson | None], None]
    """(network, epochs, factor on the learning rate, lesson): trains in place."""
    taken: int = field(default=0, init=False)
    """Batches given out so far."""

    def loss(self, network: nn.Module) -> Tensor:
        """The task's loss on the next batch, in the training split's order, unaugmented."""
        splits = load(self.task)
        start = BATCH * self.taken
        rows = torch.arange(start, start + min(BATCH, len(splits.train))) % len(splits.train)
        self.taken += 1
        inputs = splits.prepare(splits.train.inputs[rows])
        return self.task.loss(network(inputs), splits.train.targets[rows])

    def train(
        self,
        network: nn.Module,
        epochs: int,
        *,
        lr: float = RECOVERY_LR,
        lesson: Lesson | None = None,
    ) -> None:
        """Fine-tune as the candidate was trained; nothing at 0 epochs."""
        if epochs:
            self.finetune(network, epochs, lr, lesson)
        network.cpu().eval()


@dataclass(frozen=True)
class Taught:
    """A task whose targets may also be a teacher's answers (N, K)."""

    task: Task
    temperature: float

    @property
    def metric(self) -> Metric:
        """That of the task."""
        return self.task.metric

    def splits(self) -> Splits:
        """Those of the task."""
        return load(self.task)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The task's; against logits where it has classes, the distance of the distributions.

        That is T^2 KL(teacher || student) at temperature T, so that its gradients keep their size.

        Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
        """
        classes = not load(self.task).train.targets.is_floating_point()
        if not (classes and targets.is_floating_point()):
            return self.task.loss(outputs, targets)
        student = (outputs / self.temperature).log_softmax(1)
        teacher = (targets / self.temperature).log_softmax(1)
        distance = functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
        return self.temperature**2 * distance


def taught(augment: Augment, lesson: Lesson, device: str) -> Augment:
    """`augment` with the teacher's answers to the changed inputs as further targets."""
    teacher = lesson.teacher.to(device).eval()

    def with_answers(
        inputs: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Targets]:
        inputs, weighted = augment(inputs, targets, generator)
        with torch.no_grad():
            answers = teacher(inputs)
        told = tuple((each, (1 - lesson.weight) * weight) for each, weight in weighted)
        return inputs, (*told, (answers, lesson.weight))

    return with_answers
