"""Every shipped study is accepted as it is; the one for a folder of pictures runs."""

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
    monkeypatch.setenv("PICTURES", str(folder / "pictures"))
    return folder / "pictures"


@pytest.mark.parametrize("name", STUDIES)
def test_shipped_study_is_accepted(name: str, data: Path, pictures: Path) -> None:
    study = read_study(ROOT / "studies" / name, AT_HAND.get(name, ()))
    assert study.space.open_choices
    assert study.storage == "sqlite:///paretune.db"


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
