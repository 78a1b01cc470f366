"""Every shipped study is accepted as it is; the one for a folder of pictures runs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.spec import read_study
from tests.conftest import ROOT, Command

AT_HAND = {"cifar10.yaml": ("task.cifar10.images=subset",)}
"""Study -> overrides that read what the tests have instead of a download."""
STUDIES = sorted(path.name for path in (ROOT / "studies").glob("*.yaml"))


@pytest.fixture
def pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of small pictures: light above dark, and dark above light."""
    rng = np.random.default_rng(0)
    for name, first in (("light_on_top", 200), ("dark_on_top", 50)):
        (folder / "pictures" / name).mkdir(parents=True)
        for index in range(40):
            pixels = rng.integers(0, 50, (20, 24, 3))
            pixels[:10] += first
            pixels[10:] += 250 - first
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(folder / "pictures" / name / f"{index}.png")
    for name in ("PICTURES", "IMAGENET"):
        monkeypatch.setenv(name, str(folder / "pictures"))
    monkeypatch.setenv("WEIGHTS", "none")
    return folder / "pictures"


BACKBONE = """
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return (x + self.norm(self.inner(x))).relu()


class Backbone(nn.Sequential):
    def __init__(self):
        blocks = [Block() for _ in range(3)]
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        super().__init__(nn.Conv2d(3, 8, 5, 2, 2), *blocks, *pool, nn.Linear(8, 1000))
"""
"""A small network of residual blocks with the head of another task."""


@pytest.mark.parametrize("name", STUDIES)
def test_shipped_study_is_accepted(name: str, data: Path, pictures: Path) -> None:
    study = read_study(ROOT / "studies" / name, AT_HAND.get(name, ()))
    assert study.space.open_choices
    assert study.storage == "sqlite:///paretune.db"


def test_own_pictures_and_a_brought_network_become_an_exported_model(
    pictures: Path, command: Command
) -> None:
    (pictures.parent / "my_nets.py").write_text(BACKBONE)
    study = str(ROOT / "studies" / "pictures_pretrained.yaml")
    small = (
        "search.trials=2",
        "search.plan=8",
        "search.rungs=[1]",
        "executor=inline",
        "task.image_folder.size=16",
        "space.architecture.module.factory=my_nets:Backbone",
        "space.architecture.module.size=[12, 16]",
    )
    ran = command("run", study, *small, timeout=240)
    assert ran.returncode == 0, ran.stderr
    exported = command("export", study, "best", *small, "--to", "out")
    assert exported.returncode == 0, exported.stderr
    assert "same answer" in exported.stdout


def test_imagenet_is_planned_and_priced_from_a_folder_laid_out_as_it_is(
    pictures: Path, command: Command
) -> None:
    for part in ("train", "val"):
        (pictures / part).mkdir()
    for child in ("light_on_top", "dark_on_top"):
        shutil.copytree(pictures / child, pictures / "val" / child)
        (pictures / child).rename(pictures / "train" / child)
    small = (
        "search.plan=8",
        "executor.process.workers=1",
        "task.image_folder.size=32",
        "objectives=[accuracy, flops]",
    )
    planned = command(
        "run", str(ROOT / "studies" / "imagenet.yaml"), *small, "--dry-run", timeout=240
    )
    assert planned.returncode == 0, planned.stderr
    assert "cheapest" in planned.stdout
    assert "torchvision:" in planned.stdout


def test_own_pictures_become_an_exported_model(pictures: Path, command: Command) -> None:
    study = str(ROOT / "studies" / "pictures.yaml")
    small = (
        "search.trials=3",
        "search.plan=8",
        "search.rungs=[1, 2]",
        "task.image_folder.size=16",
    )
    ran = command("run", study, *small, timeout=240)
    assert ran.returncode == 0, ran.stderr
    exported = command("export", study, "best", *small, "--to", "out")
    assert exported.returncode == 0, exported.stderr
    assert "same answer" in exported.stdout
