"""A study of the user's own texts: priced on every runtime, searched, exported, repeated."""

from pathlib import Path

import numpy as np
import pytest

from search.evaluate import evaluate
from search.evaluation import Price
from search.plan import draw_candidates
from search.spec import read_study
from search.study import StudySpec
from tests.conftest import Command

TASK = '''
"""Six words each: is word 5 among them?"""

from dataclasses import dataclass

import torch

from objectives.tasks.task import Split, Splits, cross_entropy
from objectives.tasks.metrics import ACCURACY


@dataclass(frozen=True)
class Contains:
    ids: int = 9

    @property
    def metric(self):
        return ACCURACY

    def loss(self, outputs, targets):
        return cross_entropy(outputs, targets)

    def splits(self):
        train, validation, test = (_split(seed, n) for seed, n in enumerate((400, 100, 100)))
        return Splits(
            train=train, validation=validation, test=test, outputs=2, vocabulary=(self.ids,)
        )


def _split(seed, count):
    ids = torch.randint(1, 9, (count, 6), generator=torch.Generator().manual_seed(seed))
    return Split(inputs=ids, targets=(ids == 5).any(1).long())
'''
STUDY = """
name: words
task: {'my_words:Contains': {ids: 9}}
space:
  architecture:
    text:
      body: [bag, conv, recurrent, transformer]
      vocabulary: [7, 0]
      width: 16
      kernel: {values: [1, 3], when: {body: conv}}
      heads: {values: [1, 2], when: {body: transformer}}
  training: {lr: 0.02, batch: 16}
  compression:
    - prune: {ratio: {values: [0.0, 0.5], when: {architecture.text.body: [bag, conv]}}}
targets:
  file: {runtime: onnxruntime}
  module: {runtime: eager}
objectives:
  - accuracy
  - flops
  - parameters
  - size: {target: file}
  - latency: {target: file, max_s: 0.1}
  - latency: {target: module, max_s: 0.1}
search: {sampler: random, trials: 5, rungs: [1, 4], plan: 8}
executor: inline
"""


@pytest.fixture
def words(folder: Path) -> Path:
    (folder / "my_words.py").write_text(TASK)
    (folder / "words.yaml").write_text(STUDY)
    return folder / "words.yaml"


@pytest.fixture
def study(words: Path, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.syspath_prepend(str(words.parent))
    return read_study(words)


def test_every_body_is_priced_on_every_target(study: StudySpec) -> None:
    names = [objective.name for objective in study.objectives if objective.cost is not None]
    seen = set()
    for candidate in draw_candidates(study):
        priced = evaluate(Price(trial=None, candidate=candidate), study, "cpu", 1)
        assert priced.status == "priced", priced.reason
        assert sorted(priced.measurements) == sorted(names)
        assert all(measured.value > 0 for measured in priced.measurements.values())
        seen.add(candidate.architecture["body"])
        if candidate.architecture["body"] in ("recurrent", "transformer"):
            assert dict(candidate.compression).get("prune") is None
    assert len(seen) == 4


def test_costs_of_another_vocabulary_are_other_costs(words: Path, study: StudySpec) -> None:
    more = read_study(words, ("task.my_words:Contains.ids=10",))
    assert read_study(words).cost_context() == study.cost_context() != more.cost_context()


def test_text_study_becomes_a_file_that_takes_ids(words: Path, command: Command) -> None:
    ran = command("run", words.name)
    assert ran.returncode == 0, ran.stderr
    assert "failed" not in ran.stdout
    exported = command("export", words.name, "best", "--to", "out")
    assert exported.returncode == 0, exported.stderr
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (200, 6))
    np.savez(words.parent / "own.npz", inputs=ids, targets=(ids == 5).any(1).astype(np.int64))
    verified = command("verify", "out", "--data", "own.npz")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "score    holds: accuracy" in verified.stdout
