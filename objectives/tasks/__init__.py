"""What a network is for: data, loss and metric. One file a kind of task, one table."""

from objectives.tasks.digits import Digits
from objectives.tasks.image_folder import ImageFolder
from objectives.tasks.metrics import ACCURACY
from objectives.tasks.mnist import MNIST, FashionMNIST
from objectives.tasks.task import Metric, Split, Splits, Task, TaskError, load

__all__ = ["ACCURACY", "TASKS", "Metric", "Split", "Splits", "Task", "TaskError", "load"]

TASKS: dict[str, type[Task]] = {
    "digits": Digits,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "image_folder": ImageFolder,
}
