"""The commands of README do what README says, with a smaller budget in the study file."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.partition("#")[0].strip()
    for block in README.split("```")[1::2]
    for line in block.splitlines()
    if line.startswith("python -m search.")
]


@pytest.fixture
def shipped(folder: Path) -> Path:
    """The shipped studies in the current folder; digits with a budget of seconds."""
    shutil.copytree(ROOT / "studies", folder / "studies")
    study = folder / "studies" / "digits.yaml"
    text, changes = re.subn(
        r"trials: \d+, rungs: \[.*?\]", "trials: 5, plan: 8, rungs: [1, 2]", study.read_text()
    )
    assert changes == 1, "the study file's budget moved"
    study.write_text(text)
    return folder


def test_readme_starts_with_the_two_commands() -> None:
    first_block = README.split("```")[1].split()
    assert first_block[:2] == ["make", "demo"]
    assert "make test" in README.split("```")[1]


def test_every_readme_command_works(shipped: Path, command: Command) -> None:
    assert len(COMMANDS) >= 6
    for line in COMMANDS:
        shorter = line.replace("search.trials=20", "search.trials=7").replace("seeds 3", "seeds 1")
        _, _, module, *arguments = shlex.split(shorter)
        result = command(module.removeprefix("search."), *arguments)
        allowed = {0, 1} if "--under" in arguments else {0}
        assert result.returncode in allowed, f"{line}\n{result.stdout}\n{result.stderr}"
    assert (shipped / "reports" / "digits.html").exists()
    assert (shipped / "exports" / "knee" / "model.onnx").exists()


def test_example_in_readme_is_the_shipped_study() -> None:
    from ruamel.yaml import YAML

    block = next(b for b in README.split("```yaml\n")[1:] if b.startswith("name: digits"))
    shown = YAML(typ="safe").load(block.partition("```")[0])
    shipped = YAML(typ="safe").load(ROOT / "studies" / "digits.yaml")
    assert shown["objectives"] == shipped["objectives"]
    assert shown["search"] == shipped["search"]
    for section, options in shown["space"].items():
        if section != "compression":
            assert _within(options, shipped["space"][section]), section


def _within(part: object, whole: object) -> bool:
    """Whether a mapping says nothing that the other does not say."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _within(value, whole[key]) for key, value in part.items())
    return part == whole


def test_files_that_readme_names_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link
