"""The user's own pictures: one folder a class."""

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.metrics import ACCURACY
from objectives.tasks.task import (
    Metric,
    Split,
    Splits,
    TaskError,
    cross_entropy,
    stratified,
    take,
)

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
PARTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
"""Folder name -> part, where the user has split the pictures already."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ImageFolder:
    """Pictures in `path/CLASS/*`, or in `path/{train,validation,test}/CLASS/*`.

    Without such parts: 70 / 15 / 15% of each class. With some of them: validation is a share of
    train, test is a share of what is left, where their folder is missing. All pictures are held
    in memory as uint8, `channels * size * size` bytes each, twice while they are read.
    """

    path: str
    """The folder; relative paths start where the command is given."""
    size: int = Field(default=32, ge=4)
    """Pictures are scaled to this many pixels on the shorter side and cropped at the centre."""
    channels: Literal[1, 3] = 3
    """3 for colour, 1 for grey."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read every picture once."""
        root = Path(self.path).expanduser()
        if not root.is_dir():
            raise TaskError(f"image folder {root} does not exist; give a folder of class folders")
        own = {PARTS[child.name]: child for child in _folders(root) if child.name in PARTS}
        if own and "train" not in own:
            raise TaskError(f"image folder {root} has {', '.join(own)} but no train; add it")
        classes = tuple(child.name for child in _folders(own.get("train", root)))
        if len(classes) < 2:
            raise TaskError(
                f"image folder {own.get('train', root)} holds {len(classes)} class folder(s); "
                "put the pictures of each class into a folder of its own, at least 2"
            )
        parts = {name: self._read(folder, classes) for name, folder in own.items()}
        if not own:
            parts = {"train": self._read(root, classes)}
        train, validation, test = _three(parts, self.split_seed)
        mean, std = pixel_mean_std(train.inputs)
        return Splits(
            train=train,
            validation=validation,
            test=test,
            outputs=len(classes),
            classes=classes,
            mean=mean,
            std=std,
        )

    def _read(
        self, folder: Path, classes: tuple[str, ...]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        unknown = [child.name for child in _folders(folder) if child.name not in classes]
        if unknown:
            raise TaskError(
                f"image folder {folder} has the class {unknown[0]}, which train lacks; "
                "add it there or remove it here"
            )
        files, targets = [], []
        for label, name in enumerate(classes):
            paths = [p for p in sorted((folder / name).rglob("*")) if p.suffix.lower() in SUFFIXES]
            if len(paths) < 3:
                raise TaskError(
                    f"image folder {folder / name} holds {len(paths)} picture(s) "
                    f"({', '.join(sorted(SUFFIXES))}); a class needs at least 3"
                )
            files += paths
            targets += [label] * len(paths)
        pictures = np.empty((len(files), self.channels, self.size, self.size), np.uint8)
        for index, path in enumerate(files):
            pictures[index] = _read_picture(path, self.size, self.channels)
        return pictures, np.array(targets, dtype=np.int64)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _read_picture(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """(channels, size, size) uint8."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):  # PIL would clip them to black and white
                raise ValueError(f"mode {picture.mode} has more than 8 bits; convert it to 8")
            upright = ImageOps.exif_transpose(picture).convert("RGB" if channels == 3 else "L")
            fitted = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise TaskError(f"picture {path} cannot be read ({error}); repair or remove it") from error
    return np.asarray(fitted).reshape(size, size, channels).transpose(2, 0, 1).copy()


def pixel_mean_std(pictures: Tensor) -> tuple[float, float]:
    """Mean and deviation over all values of uint8 pictures, of which no copy is made.

    >>> pixel_mean_std(torch.tensor([[0, 2], [2, 4]], dtype=torch.uint8))
    (2.0, 1.632993161855452)
    """
    counts = torch.zeros(256, dtype=torch.int64)
    for chunk in torch.split(pictures, 1024):
        counts += chunk.flatten().bincount(minlength=256)
    values, total = torch.arange(256, dtype=torch.float64), int(counts.sum())
    mean = float((values * counts).sum() / total)
    variance = float(((values - mean) ** 2 * counts).sum() / (total - 1))
    return mean, max(math.sqrt(variance), 1e-6)


def _three(
    parts: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]], seed: int
) -> tuple[Split, Split, Split]:
    """Train, validation and test; what the user did not set apart is taken from train."""
    inputs, targets = parts["train"]
    missing = [name for name in ("validation", "test") if name not in parts]
    shares = (1 - 0.15 * len(missing), *[0.15] * len(missing))
    rows = dict(zip(("train", *missing), stratified(targets, shares, seed), strict=True))
    splits = {name: take(inputs, targets, chosen) for name, chosen in rows.items()}
    for name in ("validation", "test"):
        if name in parts:
            splits[name] = take(*parts[name], np.arange(len(parts[name][1])))
        elif len(splits[name]) == 0:
            classes = len(set(targets.tolist()))
            raise TaskError(
                f"{len(targets)} pictures of {classes} classes are too few to set {name} apart; "
                "add pictures"
            )
    return splits["train"], splits["validation"], splits["test"]
