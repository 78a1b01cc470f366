"""MNIST and Fashion-MNIST: 70,000 pictures of 28 x 28 each, read or downloaded by torchvision."""

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import data_folder
from objectives.tasks.metrics import ACCURACY
from objectives.tasks.task import (
    Metric,
    Split,
    Splits,
    TaskError,
    cross_entropy,
    mean_std,
    stratified,
)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class MNIST:
    """Handwritten digits, 1 x 28 x 28 uint8; official test part, a sixth of train validates.

    Source: LeCun et al. 1998, doi:10.1109/5.726791.
    """

    root: str | None = None
    """Where torchvision reads from or downloads to; default `$PARETUNE_DATA/data` or `data`."""
    train_images: int | None = Field(default=None, ge=100)
    """Use only so many training pictures, drawn evenly from the classes."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read both official parts."""
        return _torchvision_splits("MNIST", self.root, self.train_images, self.split_seed)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class FashionMNIST:
    """Articles of clothing, 1 x 28 x 28 uint8; official test part, a sixth of train validates.

    Source: Xiao et al. 2017, arXiv:1708.07747.
    """

    root: str | None = None
    """Where torchvision reads from or downloads to; default `$PARETUNE_DATA/data` or `data`."""
    train_images: int | None = Field(default=None, ge=100)
    """Use only so many training pictures, drawn evenly from the classes."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read both official parts."""
        return _torchvision_splits("FashionMNIST", self.root, self.train_images, self.split_seed)


def _torchvision_splits(
    name: str, root: str | None, train_images: int | None, seed: int
) -> Splits:
    import torchvision

    folder, reader = data_folder(root), getattr(torchvision.datasets, name)
    present = (folder / name / "raw" / "t10k-labels-idx1-ubyte").exists()
    try:
        official = {
            part: reader(folder, train=part, download=not present) for part in (True, False)
        }
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise TaskError(
            f"{name} is not in {folder} and could not be downloaded ({reason}); "
            "put torchvision's files there or set PARETUNE_DATA"
        ) from error
    inputs, targets = official[True].data.unsqueeze(1), official[True].targets
    rows, validation = stratified(targets.numpy(), (5 / 6, 1 / 6), seed)
    if train_images is not None and train_images < len(rows):
        kept = train_images / len(rows)
        rows = rows[stratified(targets.numpy()[rows], (kept, 1 - kept), seed)[0]]
    train = _rows(inputs, targets, rows)
    mean, std = mean_std(train.inputs)
    return Splits(
        train=train,
        validation=_rows(inputs, targets, validation),
        test=Split(inputs=official[False].data.unsqueeze(1), targets=official[False].targets),
        outputs=10,
        classes=tuple(official[True].classes),
        mean=mean,
        std=std,
    )


def _rows(
    inputs: Tensor, targets: Tensor, rows: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Split:
    return Split(inputs=inputs[rows], targets=targets[rows])
