"""Which augmentation a study may name for its task's data: told before anything is trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.tasks import ACCURACY, Split, Splits
from objectives.tasks.task import cross_entropy
from search.errors import InputError
from search.spec import read_study
from spaces.augmentation import unfit
from spaces.augmentation.fitting import NEEDS, SHORTEST_WAVE

NUMBERS = {"noise", "mixup"}
PICTURES = NUMBERS | {field for field in NEEDS if NEEDS[field] == "pictures"}
ROWS = NUMBERS | {"feature_dropout", "feature_swap"}
WAVES = ROWS | {"time_shift", "time_mask", "frequency_mask"}

DATA = [
    ((1, 8, 8), (), PICTURES),
    ((4, 8, 8), (), PICTURES),
    ((3, 32, 32), (), PICTURES | {"colour"}),
    ((24,), (), ROWS),
    ((SHORTEST_WAVE - 1,), (), ROWS),
    ((SHORTEST_WAVE,), (), WAVES),
    ((8000,), (), WAVES),
    ((10, 24), (), ROWS),
    ((3, 4, 8, 8), (), NUMBERS),
    ((40,), (5000,), {"token_dropout"}),
    ((2,), (943, 1682), set()),
]


@pytest.mark.parametrize(
    ("input_shape", "vocabulary", "fitting"), DATA, ids=[str(d[0]) for d in DATA]
)
def test_what_fits_which_data(
    input_shape: tuple[int, ...], vocabulary: tuple[int, ...], fitting: set[str]
) -> None:
    assert {field for field in NEEDS if unfit(field, input_shape, vocabulary) is None} == fitting


@dataclass(frozen=True)
class Words:
    """Texts of random ids."""

    length: int = 12

    metric: Any = ACCURACY
    loss = staticmethod(cross_entropy)

    def splits(self) -> Splits:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(2, 9, (30, self.length), generator=generator)
        part = Split(inputs=ids, targets=ids[:, 0] % 2)
        return Splits(train=part, validation=part, test=part, outputs=2, vocabulary=(9,))


STUDY = """\
name: fits
task: TASK
space:
  architecture: FAMILY
  augmentation:
    FIELDS
objectives: [accuracy]
"""


def read(folder: Path, task: str, fields: str) -> None:
    file = folder / "study.yaml"
    family = "text" if "Words" in task else "convnet"
    study = STUDY.replace("FAMILY", family).replace("TASK", task).replace("FIELDS", fields)
    file.write_text(study)
    read_study(file)


REFUSED = [
    ("digits", "colour: [0.0, 0.3]", "colour is for colour pictures", "(1, 8, 8)"),
    ("digits", "time_mask: 0.2", "time_mask is for waveforms", "(1, 8, 8)"),
    ("digits", "token_dropout: {low: 0.0, high: 0.3}", "for texts", "numbers of shape (1, 8, 8)"),
    ("WORDS", "rotate_deg: [0, 10]", "rotate_deg is for pictures", "ids of shape (12,)"),
    ("WORDS", "mixup: [0.0, 0.2]", "mixup is for numbers", "ids of shape (12,)"),
    ("WORDS", "policy: [none, rand]", "policy is for pictures", "ids of shape (12,)"),
]


@pytest.mark.parametrize(("task", "fields", "needed", "told"), REFUSED)
def test_field_for_other_data_is_refused_in_one_line(
    tmp_path: Path, task: str, fields: str, needed: str, told: str
) -> None:
    task = task.replace("WORDS", f"'{__name__}:Words'")
    with pytest.raises(InputError) as caught:
        read(tmp_path, task, fields)
    message = str(caught.value)
    field = fields.partition(":")[0]
    assert f"study.yaml:6: space.augmentation.{field}: " in message
    assert needed in message
    assert told in message
    assert message.endswith("remove it")
    assert "\n" not in message


@pytest.mark.parametrize("policy", ["", "policy: none\n    "])
def test_strength_without_a_policy_is_refused(tmp_path: Path, policy: str) -> None:
    with pytest.raises(InputError, match="changes nothing without policy; add policy"):
        read(tmp_path, "digits", f"{policy}policy_strength: [0.3, 0.6]")


ACCEPTED = [
    ("digits", "rotate_deg: [0, 10]"),
    ("digits", "{policy: [none, trivial], policy_strength: {low: 0.1, high: 1.0}, cutmix: 1.0}"),
    ("digits", "policy: rand"),
    ("digits", "{token_dropout: 0.0, time_mask: 0, colour: [0.0]}"),  # off: no harm
    ("WORDS", "token_dropout: [0.0, 0.1]"),
]


@pytest.mark.parametrize(("task", "fields"), ACCEPTED)
def test_field_that_fits_or_is_off_is_accepted(tmp_path: Path, task: str, fields: str) -> None:
    read(tmp_path, task.replace("WORDS", f"'{__name__}:Words'"), fields)
