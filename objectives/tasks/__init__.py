"""What a network is for: data, loss and metric. One file a kind of task, one table."""

from objectives.tasks.cifar10 import CIFAR10
from objectives.tasks.digits import Digits
from objectives.tasks.image_folder import ImageFolder
from objectives.tasks.metrics import ACCURACY, MACRO_F1, NMSE, RMSE
from objectives.tasks.mnist import MNIST, FashionMNIST
from objectives.tasks.movielens import MovieLens
from objectives.tasks.robot_arms import Kin8nm, Sarcos
from objectives.tasks.spoken_digits import SpokenDigits
from objectives.tasks.table import Table
from objectives.tasks.task import Metric, Split, Splits, Task, TaskError, load
from objectives.tasks.text import SST2, TREC6, SMSSpam
from objectives.tasks.wall_following import WallFollowing

__all__ = [
    "ACCURACY",
    "MACRO_F1",
    "NMSE",
    "RMSE",
    "TASKS",
    "Metric",
    "Split",
    "Splits",
    "Task",
    "TaskError",
    "load",
]

TASKS: dict[str, type[Task]] = {
    "digits": Digits,
    "mnist": MNIST,
    "fashion_mnist": FashionMNIST,
    "cifar10": CIFAR10,
    "image_folder": ImageFolder,
    "sms_spam": SMSSpam,
    "sst2": SST2,
    "trec6": TREC6,
    "movielens": MovieLens,
    "spoken_digits": SpokenDigits,
    "wall_following": WallFollowing,
    "sarcos": Sarcos,
    "kin8nm": Kin8nm,
    "csv": Table,
}
