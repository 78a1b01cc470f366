"""Changes to a training batch that keep its meaning; one file for each kind of data."""

from spaces.augmentation.augmentation import Augmentation
from spaces.augmentation.fitting import unfit
from spaces.augmentation.mixing import Targets

__all__ = ["Augmentation", "Targets", "unfit"]
