"""What a training step minimises: the task's loss, softened, and a teacher's answers."""

from torch import Tensor
from torch.nn import functional

from objectives.tasks.task import Task
from objectives.training.settings import Training


def loss_of(
    task: Task, settings: Training, outputs: Tensor, targets: Tensor, taught: Tensor | None
) -> Tensor:
    """Mean loss of outputs (N, K) against targets and, where given, a teacher's outputs (N, K)."""
    loss = _smoothed(task, outputs, targets, settings.label_smoothing)
    if taught is None:
        return loss
    if targets.is_floating_point():
        learned = matched(outputs, taught)
    else:
        learned = distilled(outputs, taught, settings.temperature)
    return (1 - settings.distil) * loss + settings.distil * learned


def _smoothed(task: Task, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The task's loss; with smoothing, mixed with the loss against a uniform target.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    loss = task.loss(outputs, targets)
    if not smoothing:
        return loss
    uniform = -outputs.log_softmax(1).mean()
    return (1 - smoothing) * loss + smoothing * uniform


def distilled(outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Divergence from the teacher's softened classes, times the temperature squared.

    Mean over the batch. Less than the cross entropy of the source by a constant, the entropy of
    the teacher, so that 0 means agreement.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    student = (outputs / temperature).log_softmax(1)
    teacher = (taught / temperature).log_softmax(1)
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def matched(outputs: Tensor, taught: Tensor) -> Tensor:
    """Mean square of the difference to the teacher's numbers, for tasks without classes.

    Source: Ba and Caruana 2014, arXiv:1312.6184, eq. 1.
    """
    return functional.mse_loss(outputs, taught)
