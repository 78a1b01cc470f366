"""A family, a task and a step of the user's own, by import path, from a file beside the study."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from search.keys import keys_of
from search.spec import read_study
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.choice import representatives
from tests.conftest import ROOT, Command

EXAMPLES = ROOT / "studies" / "examples"


@pytest.fixture
def example(folder: Path) -> Path:
    """The shipped example in an empty folder, with a budget of seconds."""
    for name in ("my_parts.py", "own.yaml"):
        shutil.copy(EXAMPLES / name, folder / name)
    return folder / "own.yaml"


SMALL = ("search.trials=4", "search.plan=8", "search.rungs=[1, 2]", "executor.process.workers=1")


def test_shipped_example_runs_and_exports(example: Path, command: Command) -> None:
    ran = command("run", example.name, *SMALL)
    assert ran.returncode == 0, ran.stderr
    assert "my_parts:perceptron" in ran.stdout
    exported = command("export", example.name, "best", *SMALL, "--to", "out")
    assert exported.returncode == 0, exported.stderr
    certificate = json.loads((example.parent / "out" / "certificate.json").read_text())
    assert certificate["candidate"]["family"] == "my_parts:perceptron"


def test_network_class_serves_as_a_family(folder: Path, command: Command) -> None:
    (folder / "my_nets.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, input_shape, outputs, *, width: int = 8):\n"
        "        super().__init__()\n"
        "        self.first = nn.Conv2d(input_shape[0], width, 3)\n"
        "        self.last = nn.Linear(width, outputs)\n"
        "    def forward(self, x):\n"
        "        return self.last(self.first(x).relu().mean((2, 3)))\n"
    )
    (folder / "study.yaml").write_text(
        "name: nets\ntask: digits\n"
        "space:\n"
        "  architecture: {'my_nets:Net': {width: [4, 8]}}\n"
        "  compression: [{prune: {ratio: [0.0, 0.5]}}]\n"
        "objectives: [accuracy, flops]\n"
        "search: {sampler: random, trials: 3, plan: 8, rungs: [1]}\n"
        "executor: inline\n"
    )
    ran = command("run", "study.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "my_nets:Net width=" in ran.stdout


def test_wrong_option_of_an_own_part_is_told_with_the_known_ones(
    example: Path, command: Command
) -> None:
    ran = command("run", example.name, "space.compression.my_parts:Round.bit=[1]")
    assert ran.returncode == 2
    assert "no option 'bit'" in ran.stderr
    assert "bits" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_own_network_that_cannot_be_built_fails_alone(folder: Path, command: Command) -> None:
    (folder / "my_nets.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, outputs, *, broken: bool = False):\n"
        "    if broken:\n"
        "        raise RuntimeError('these sizes do not fit')\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))\n"
    )
    (folder / "study.yaml").write_text(
        "name: nets\ntask: digits\n"
        "space:\n"
        "  architecture: {'my_nets:build': {broken: [false, true]}}\n"
        "  training: {batch: [32, 64]}\n"
        "objectives: [accuracy, flops]\n"
        "search: {sampler: random, trials: 4, plan: 8, rungs: [1]}\n"
        "executor: inline\n"
    )
    ran = command("run", "study.yaml")
    assert ran.returncode == 0, ran.stderr
    assert "these sizes do not fit" in ran.stdout


def test_changed_source_of_an_own_part_changes_every_key(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _keys(example, monkeypatch)
    with (example.parent / "my_parts.py").open("a") as file:
        file.write("\n# another version\n")
    after = _keys(example, monkeypatch)
    assert set(before) & set(after) == set()


def _keys(example: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Key, train key and recipe key of one candidate, with the module imported anew."""
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    monkeypatch.syspath_prepend(str(example.parent))
    study = read_study(example)
    keys = keys_of(_one_candidate(study), study)
    return keys.key, keys.train_key, keys.recipe_key


def _one_candidate(study: StudySpec) -> Candidate:
    choices = study.space.open_choices
    return study.space.decode({c.name: representatives(c.domain)[0] for c in choices}, (2,))


def test_network_that_does_not_ask_what_it_is_for_is_refused(
    folder: Path, command: Command
) -> None:
    (folder / "my_nets.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width: int = 3):\n"
        "        super().__init__()\n"
    )
    (folder / "study.yaml").write_text(
        "name: nets\ntask: digits\nspace:\n  architecture: {'my_nets:Net': {width: [1, 2]}}\n"
        "objectives: [accuracy, flops]\n"
    )
    ran = command("run", "study.yaml")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)
    assert "my_nets:Net takes no input_shape and no outputs" in ran.stderr
    assert not (folder / "paretune.db").exists()
