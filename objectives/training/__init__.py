"""How weights are found: settings, optimizers, schedules, and the loop that uses them."""

from objectives.training.answers import answers, mean_loss
from objectives.training.loop import Augment, NonFiniteLossError, Targets, train
from objectives.training.progress import Progress, begin
from objectives.training.settings import Training

__all__ = [
    "Augment",
    "NonFiniteLossError",
    "Progress",
    "Targets",
    "Training",
    "answers",
    "begin",
    "mean_loss",
    "train",
]
