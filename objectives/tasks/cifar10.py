"""CIFAR-10: small photographs of ten kinds of things."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import data_folder, find_file
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

Pictures = tuple[Tensor, Tensor]
"""(pictures (N, 3, 32, 32) uint8, labels (N,) int64)."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CIFAR10:
    """Photographs, 3 x 32 x 32 uint8; the official test part, a sixth of train validates.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    root: str | None = None
    """Where the files lie or are downloaded to; default `$PARETUNE_DATA/data` or `data`."""
    images: Literal["official", "subset"] = "official"
    """`official`: 50,000 + 10,000 pictures by torchvision. `subset`: 15,000 + 3,000 of them, drawn
    evenly from the classes, from the folder `cifar10_subset`; its scores are not CIFAR-10's."""
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
        """Read train and test."""
        read = _subset if self.images == "subset" else _official
        (inputs, targets), test, classes = read(self.root)
        rows, validation = stratified(targets.numpy(), (5 / 6, 1 / 6), self.split_seed)
        if self.train_images is not None and self.train_images < len(rows):
            kept = self.train_images / len(rows)
            chosen = stratified(targets.numpy()[rows], (kept, 1 - kept), self.split_seed)[0]
            rows = rows[chosen]
        train = Split(inputs=inputs[rows], targets=targets[rows])
        mean, std = mean_std(train.inputs)
        return Splits(
            train=train,
            validation=Split(inputs=inputs[validation], targets=targets[validation]),
            test=Split(inputs=test[0], targets=test[1]),
            outputs=len(classes),
            classes=classes,
            mean=mean,
            std=std,
        )


def _official(root: str | None) -> tuple[Pictures, Pictures, tuple[str, ...]]:
    """(train, test, classes) by torchvision, downloaded where they are missing."""
    from torchvision.datasets import CIFAR10 as Official

    folder = data_folder(root)
    present = (folder / Official.base_folder / "test_batch").exists()
    try:
        train, test = (
            Official(folder, train=part, download=not present) for part in (True, False)
        )
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise TaskError(
            f"CIFAR10 is not in {folder} and could not be downloaded ({reason}); "
            "put torchvision's files there, set PARETUNE_DATA, or choose images: subset"
        ) from error
    return (
        _tensors(train.data, train.targets),
        _tensors(test.data, test.targets),
        tuple(train.classes),
    )


def _subset(root: str | None) -> tuple[Pictures, Pictures, tuple[str, ...]]:
    """(train, test, classes) from columns of pictures in PNG files."""
    source = "the subset that PARETUNE_DATA has"
    names = ("train_part0.png", "train_part1.png", "train_part2.png", "test.png", "labels.npz")
    *parts, test, labels = (
        find_file("cifar10", root, f"cifar10_subset/{name}", source) for name in names
    )
    with np.load(labels) as arrays:
        train_labels, test_labels = arrays["y_train"], arrays["y_test"]
        classes = tuple(str(name) for name in arrays["classes"])
    pixels = np.concatenate([_pixels(part) for part in parts])
    return _tensors(pixels, train_labels), _tensors(_pixels(test), test_labels), classes


def _pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(N, 32, 32, 3) of a PNG file that holds them in rows."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.array(picture).reshape(-1, 32, 32, 3)


def _tensors(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], labels: object) -> Pictures:
    """(N, 32, 32, 3) pictures with the channels first."""
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return inputs, torch.from_numpy(np.asarray(labels, dtype=np.int64))
