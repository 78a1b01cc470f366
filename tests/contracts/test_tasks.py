"""What every task of the table promises; then the splits of each, against other readers."""

import math
import os
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from objectives.tasks import ACCURACY, TASKS, Split, Splits, Task, TaskError, load
from objectives.tasks.digits import Digits
from objectives.tasks.files import data_folder
from objectives.tasks.image_folder import ImageFolder
from objectives.tasks.mnist import MNIST
from objectives.tasks.task import fingerprint, mean_std, stratified

COLOURS = {"blue": (20, 30, 200), "green": (10, 220, 40), "red": (240, 10, 30)}
MakeTask = Callable[[str], Task]


def draw_pictures(folder: Path, count: int, size: tuple[int, int] = (12, 9)) -> None:
    """`count` PNG files of one colour each class, told apart by one darker pixel."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            picture = Image.new("RGB", size, colour)
            picture.putpixel((index % size[0], index // size[0]), (0, 0, 0))
            picture.save(folder / name / f"{index}.png")


FOLDERS = {
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "cifar10": "cifar10_subset",
    "sms_spam": "sms_spam",
    "sst2": "sst2",
    "trec6": "trec6",
    "movielens": "movielens_small",
    "spoken_digits": "fsdd",
    "wall_following": "wall_following",
    "sarcos": "sarcos_test",
    "kin8nm": "kin8nm",
}
"""Task -> folder of its files below the data folder; tasks that are not here need none."""

REPEATS = {"sst2", "trec6", "image_folder"}
"""Tasks with equal inputs in two parts: official parts repeat sentences, small pictures are alike.
(A sentence is cut to its first words, of which the rare ones are all unknown.)"""


def needs_data(name: str) -> None:
    """Skip, with the reason, where the files of a task are not at hand."""
    if name not in FOLDERS:
        return
    if "PARETUNE_DATA" not in os.environ:
        pytest.skip("PARETUNE_DATA is not set")
    if not (data_folder(None) / FOLDERS[name]).is_dir():
        pytest.skip(f"{data_folder(None)} holds no {FOLDERS[name]}")


@pytest.fixture(scope="module")
def make_task(tmp_path_factory: pytest.TempPathFactory) -> MakeTask:
    """A task of the table with small data; skips what is not at hand."""
    folder = tmp_path_factory.mktemp("pictures")
    draw_pictures(folder, 20)
    table = folder / "table.csv"
    rng = np.random.default_rng(0)
    rows = [f"{a:.4f},{b:.4f},{a - b:.4f}" for a, b in rng.normal(size=(100, 2))]
    table.write_text("\n".join(["a,b,difference", *rows]))
    options: dict[str, dict[str, Any]] = {
        "mnist": {"train_images": 1000},
        "fashion_mnist": {"train_images": 1000},
        "cifar10": {"train_images": 1000, "images": "subset"},
        "image_folder": {"path": str(folder), "size": 8},
        "sms_spam": {"length": 100, "vocabulary": 10_000},
        "csv": {"path": str(table), "target": "difference"},
    }

    def make(name: str) -> Task:
        needs_data(name)
        return TASKS[name](**options.get(name, {}))

    return make


def parts(splits: Splits) -> tuple[Tensor, ...]:
    return tuple(part.inputs for part in (splits.train, splits.validation, splits.test))


every_task = pytest.mark.parametrize("name", TASKS, scope="module")  # one read serves all


@every_task
def test_three_parts_hold_as_many_targets_as_inputs_of_one_shape(
    name: str, make_task: MakeTask
) -> None:
    splits = load(make_task(name))
    for part in (splits.train, splits.validation, splits.test):
        assert len(part) == len(part.inputs) == len(part.targets) > 0
        assert tuple(part.inputs.shape[1:]) == splits.input_shape
        ids = (torch.int64,)
        values = (torch.uint8, torch.int16, torch.float32)
        assert part.inputs.dtype in (ids if splits.vocabulary else values)


@every_task
def test_no_input_is_in_two_parts(name: str, make_task: MakeTask) -> None:
    seen = [
        {row.tobytes() for row in part.flatten(1).numpy()} for part in parts(load(make_task(name)))
    ]
    shared = [len(first & other) for first, other in combinations(seen, 2)]
    assert (sum(shared) > 0) == (name in REPEATS), shared


@every_task
def test_targets_are_classes_that_every_part_has_or_values(name: str, make_task: MakeTask) -> None:
    splits = load(make_task(name))
    for part in (splits.train, splits.validation, splits.test):
        if splits.has_values:
            assert part.targets.dtype == torch.float32
            assert part.targets.shape == (len(part), splits.outputs)
        else:
            assert part.targets.dtype == torch.int64
            assert set(part.targets.tolist()) == set(range(splits.outputs))
    assert len(splits.classes) == (0 if splits.has_values else splits.outputs)


@every_task
def test_prepared_training_inputs_have_mean_0_and_deviation_1(
    name: str, make_task: MakeTask
) -> None:
    splits = load(make_task(name))
    prepared = splits.prepare(splits.train.inputs)
    if splits.vocabulary:
        assert prepared is splits.train.inputs
        return
    assert prepared.dtype == torch.float32
    assert float(prepared.mean()) == pytest.approx(0, abs=1e-3)
    assert float(prepared.std(correction=0)) == pytest.approx(1, abs=1e-3)


@every_task
def test_ids_are_below_the_vocabulary_which_is_told_for_all_columns_or_for_each(
    name: str, make_task: MakeTask
) -> None:
    splits = load(make_task(name))
    assert len(splits.vocabulary) in (0, 1, splits.input_shape[-1])
    for inputs in parts(splits) if splits.vocabulary else ():
        assert int(inputs.min()) >= 0
        assert (inputs < torch.tensor(splits.vocabulary)).all()


@every_task
def test_values_are_standardised_by_train_and_restored(name: str, make_task: MakeTask) -> None:
    splits = load(make_task(name))
    targets = splits.train.targets
    if not splits.has_values:
        assert splits.standardise(targets) is targets
        return
    standard = splits.standardise(targets)
    assert standard.mean(0).tolist() == pytest.approx([0] * splits.outputs, abs=1e-3)
    assert standard.std(0, correction=0).tolist() == pytest.approx([1] * splits.outputs, abs=1e-3)
    torch.testing.assert_close(splits.restore(standard), targets, rtol=1e-4, atol=1e-4)


@every_task
def test_reading_twice_gives_the_same_parts(name: str, make_task: MakeTask) -> None:
    first, again = make_task(name).splits(), make_task(name).splits()
    assert all(torch.equal(*pair) for pair in zip(parts(first), parts(again), strict=True))


@every_task
def test_tasks_of_equal_options_are_read_once(name: str, make_task: MakeTask) -> None:
    assert load(make_task(name)) is load(make_task(name))


@every_task
def test_fingerprint_is_the_same_each_time_and_of_this_task_alone(
    name: str, make_task: MakeTask
) -> None:
    mark = fingerprint(make_task(name))
    assert mark == fingerprint(make_task(name))
    if name != "digits":
        assert mark != fingerprint(Digits())


def right_answers(splits: Splits, targets: Tensor) -> Tensor:
    """What a network would have to answer to be right."""
    if splits.has_values:
        return splits.standardise(targets)
    return torch.nn.functional.one_hot(targets, splits.outputs).float()


@every_task
def test_right_answers_score_perfect_and_beat_the_constant(name: str, make_task: MakeTask) -> None:
    task = make_task(name)
    splits = load(task)
    targets = splits.validation.targets
    scored = task.metric.score(right_answers(splits, targets), targets)
    assert scored.value == pytest.approx(task.metric.perfect, abs=1e-5)
    assert scored.unit == task.metric.unit
    assert scored.low <= scored.value <= scored.high
    constant = task.metric.constant(splits.train.targets, targets)
    sign = 1 if task.metric.direction == "maximize" else -1
    assert sign * constant < sign * task.metric.perfect


@every_task
def test_constant_answer_scores_what_the_metric_says_of_it(name: str, make_task: MakeTask) -> None:
    task = make_task(name)
    splits = load(task)
    targets = splits.validation.targets
    answer = torch.zeros(len(targets), splits.outputs)
    if not splits.has_values:
        answer[:, int(splits.train.targets.mode().values)] = 1
    scored = task.metric.score(answer, targets)
    constant = task.metric.constant(splits.train.targets, targets)
    assert scored.value == pytest.approx(constant, rel=1e-4)


@every_task
def test_linear_network_learns_a_batch_by_the_loss(name: str, make_task: MakeTask) -> None:
    task = make_task(name)
    splits = load(task)
    inputs, targets = splits.prepare(splits.train.inputs[:64]), splits.train.targets[:64]
    torch.manual_seed(0)
    network: torch.nn.Module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(inputs[0].numel(), splits.outputs)
    )
    if splits.vocabulary:
        network = torch.nn.EmbeddingBag(max(splits.vocabulary), splits.outputs)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = task.loss(network(inputs), targets)
        assert loss.shape == ()
        assert loss.isfinite()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@every_task
def test_task_refuses_unknown_options(name: str) -> None:
    with pytest.raises(ValueError, match="no_such_option"):
        TASKS[name](no_such_option=1)


@pytest.mark.parametrize("name", [n for n in FOLDERS if n not in ("mnist", "fashion_mnist")])
def test_missing_files_are_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TaskError, match=r"file.*; put .* there.* set PARETUNE_DATA"):
        TASKS[name](root=str(tmp_path / "file")).splits()


@dataclass(frozen=True)
class Wrong:
    """A task of the user's own with one wrong value in row 2 of its test part."""

    inputs: float = 0.0
    target: float = 0.0
    vocabulary: tuple[int, ...] = ()
    metric = ACCURACY

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum()

    def splits(self) -> Splits:
        inputs = torch.zeros(4, 3)
        inputs[2, 1] = self.inputs
        is_class = self.target == round(self.target) if math.isfinite(self.target) else False
        targets = torch.zeros(4, dtype=torch.int64) if is_class else torch.zeros(4, 1)
        right = Split(inputs=torch.zeros(4, 3), targets=targets.clone())
        targets[2] = self.target
        inputs = inputs.long() if self.vocabulary else inputs
        return Splits(
            train=right,
            validation=right,
            test=Split(inputs=inputs, targets=targets),
            outputs=2,
            vocabulary=self.vocabulary,
        )


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (Wrong(target=2), r"class beyond 0 to 1 in row 2: target 2"),
        (Wrong(target=-1), r"class beyond 0 to 1 in row 2: target -1"),
        (Wrong(target=math.nan), r"target that is not a finite number in row 2"),
        (Wrong(inputs=math.inf), r"input that is not a finite number in row 2"),
        (Wrong(inputs=5, vocabulary=(5,)), r"id beyond the vocabulary \[5\] in row 2"),
    ],
    ids=repr,
)
def test_value_that_no_network_can_use_is_told_with_part_and_row(
    task: Wrong, problem: str
) -> None:
    with pytest.raises(TaskError, match=f"the test part of the data holds an? {problem}"):
        load(task)


def test_accuracy_counts_right_answers_with_their_interval() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]])
    scored = ACCURACY.score(outputs, torch.tensor([0, 1, 1, 1]))
    assert scored.value == 0.75
    assert scored.low < 0.75 < scored.high
    assert scored.conditions["samples"] == 4


def test_best_constant_answer_is_the_majority_of_train_not_of_what_is_judged() -> None:
    train, judged = torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1, 0])
    assert ACCURACY.constant(train, judged) == 0.25


def test_mean_and_deviation_of_a_constant_do_not_divide_by_zero() -> None:
    mean, std = mean_std(torch.full((3, 2), 7, dtype=torch.uint8))
    assert mean == 7
    assert std > 0


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200),
    st.sampled_from([(0.6, 0.2, 0.2), (0.7, 0.15, 0.15), (5 / 6, 1 / 6), (0.02, 0.98)]),
    st.integers(0, 3),
)
def test_stratified_parts_are_a_partition_with_each_class_alike(
    labels: list[int], shares: tuple[float, ...], seed: int
) -> None:
    targets = np.array(labels)
    rows = stratified(targets, shares, seed)
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(labels)))
    for label, total in Counter(labels).items():
        counts = [int((targets[part] == label).sum()) for part in rows]
        assert counts[0] >= 1
        for count, share in zip(counts, shares, strict=True):
            assert abs(count - share * total) <= 1


def test_digits_are_those_of_scikit_learn_each_in_one_part_only() -> None:
    from sklearn.datasets import load_digits

    splits, whole = load(Digits()), load_digits()
    rows = {tuple(row) for row in whole.data.tolist()}
    assert len(rows) == len(whole.data) == 1797
    ours = [tuple(row) for part in parts(splits) for row in part.flatten(1).tolist()]
    assert len(ours) == 1797
    assert set(ours) == rows
    label = dict(zip(map(tuple, whole.data.tolist()), whole.target.tolist(), strict=True))
    pairs = zip(splits.test.inputs.flatten(1).tolist(), splits.test.targets.tolist(), strict=True)
    assert all(label[tuple(row)] == target for row, target in pairs)


def test_digits_are_split_60_20_20_in_every_class() -> None:
    splits = load(Digits())
    whole = torch.cat([splits.train.targets, splits.validation.targets, splits.test.targets])
    for part, share in ((splits.train, 0.6), (splits.validation, 0.2), (splits.test, 0.2)):
        assert len(part) == pytest.approx(share * 1797, abs=10)
        for digit in range(10):
            count, total = int((part.targets == digit).sum()), int((whole == digit).sum())
            assert count == pytest.approx(share * total, abs=1)


def test_another_split_seed_is_another_task() -> None:
    first, other = load(Digits()), load(Digits(split_seed=1))
    assert not torch.equal(first.train.inputs, other.train.inputs)
    assert fingerprint(Digits()) != fingerprint(Digits(split_seed=1))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_official_test_part_of_mnist_stays_the_test_part(name: str, make_task: MakeTask) -> None:
    splits = load(make_task(name))
    raw = data_folder(None) / TASKS[name].__name__ / "raw"
    content = (raw / "t10k-labels-idx1-ubyte").read_bytes()
    assert struct.unpack(">ii", content[:8]) == (2049, 10_000)
    assert splits.test.targets.tolist() == list(content[8:])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_sixth_of_mnist_validates_and_train_images_are_drawn_evenly(
    name: str, make_task: MakeTask
) -> None:
    splits = load(make_task(name))
    assert splits.input_shape == (1, 28, 28)
    assert len(splits.validation) == pytest.approx(10_000, abs=10)
    assert len(splits.train) == pytest.approx(1000, abs=10)
    counts = Counter(splits.train.targets.tolist()).values()
    assert max(counts) <= 1.3 * min(counts)


def test_mnist_without_data_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TaskError, match=r"MNIST is not in .*file.* set PARETUNE_DATA"):
        MNIST(root=str(tmp_path / "file")).splits()


def test_data_folder_is_the_option_then_the_environment_then_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARETUNE_DATA", "elsewhere")
    assert data_folder("mine") == Path("mine")
    assert data_folder(None) == Path("elsewhere/data")
    monkeypatch.delenv("PARETUNE_DATA")
    assert data_folder(None) == Path("data")


def test_folder_without_parts_is_split_70_15_15(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 20)
    splits = ImageFolder(path=str(tmp_path), size=8).splits()
    assert splits.classes == ("blue", "green", "red")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [42, 9, 9]


def test_own_train_and_test_folders_are_kept_and_validation_is_taken_from_train(
    tmp_path: Path,
) -> None:
    draw_pictures(tmp_path / "train", 20)
    draw_pictures(tmp_path / "test", 4)
    splits = ImageFolder(path=str(tmp_path), size=8).splits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [51, 9, 12]


def test_all_own_folders_are_kept_and_val_is_short_for_validation(tmp_path: Path) -> None:
    for name, count in (("train", 5), ("val", 3), ("test", 4)):
        draw_pictures(tmp_path / name, count)
    splits = ImageFolder(path=str(tmp_path), size=8).splits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [15, 9, 12]


def test_label_follows_the_folder_and_pictures_are_cropped_not_squeezed(tmp_path: Path) -> None:
    for side, name in enumerate(("left", "right")):
        (tmp_path / name).mkdir()
        for index in range(10):
            picture = Image.new("RGB", (16, 8), (255, 255, 255))
            picture.paste((0, 0, index), (0, 0, 8, 8) if side == 0 else (8, 0, 16, 8))
            picture.save(tmp_path / name / f"{index}.PNG")
    splits = ImageFolder(path=str(tmp_path), size=8).splits()
    assert splits.input_shape == (3, 8, 8)
    for picture, label in zip(splits.train.inputs, splits.train.targets, strict=True):
        left, right = picture[0, :, :4], picture[0, :, 4:]
        dark, bright = (left, right) if label == 0 else (right, left)
        assert int(dark.max()) == 0
        assert int(bright.min()) == 255


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 10)
    assert ImageFolder(path=str(tmp_path), size=8, channels=1).splits().input_shape == (1, 8, 8)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"nowhere does not exist; give a folder"):
        ImageFolder(path=str(tmp_path / "nowhere")).splits()


def test_class_with_too_few_pictures_is_named(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 10)
    (tmp_path / "yellow").mkdir()
    (tmp_path / "yellow" / "notes.txt").touch()
    with pytest.raises(TaskError, match=r"yellow holds 0 picture.*at least 3"):
        ImageFolder(path=str(tmp_path)).splits()


def test_one_class_is_no_task(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    with pytest.raises(TaskError, match=r"holds 1 class folder.*at least 2"):
        ImageFolder(path=str(tmp_path)).splits()


@pytest.mark.parametrize("damage", [b"", b"no picture at all", None], ids=repr)
def test_broken_picture_is_named(tmp_path: Path, damage: bytes | None) -> None:
    draw_pictures(tmp_path, 10)
    broken = tmp_path / "green" / "4.png"
    broken.write_bytes(broken.read_bytes()[:-25] if damage is None else damage)
    with pytest.raises(TaskError, match=r"green.4\.png cannot be read .*; repair or remove it"):
        ImageFolder(path=str(tmp_path)).splits()


def test_picture_of_16_bits_is_not_clipped_in_silence(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 10)
    deep = np.linspace(0, 65_535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "green" / "4.png")
    with pytest.raises(TaskError, match=r"green.4\.png .* more than 8 bits; convert it to 8"):
        ImageFolder(path=str(tmp_path)).splits()


def test_test_folder_without_train_folder_is_refused(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "test", 4)
    with pytest.raises(TaskError, match="has test but no train; add it"):
        ImageFolder(path=str(tmp_path)).splits()


def test_class_that_a_part_lacks_is_named(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 10)
    draw_pictures(tmp_path / "test", 4)
    for picture in (tmp_path / "test" / "red").iterdir():
        picture.unlink()
    with pytest.raises(TaskError, match=r"test.red holds 0 picture"):
        ImageFolder(path=str(tmp_path)).splits()


def test_class_that_only_test_has_is_not_dropped_in_silence(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "train", 10)
    draw_pictures(tmp_path / "test", 4)
    (tmp_path / "test" / "red").rename(tmp_path / "test" / "violet")
    (tmp_path / "train" / "red").rename(tmp_path / "spare")
    with pytest.raises(TaskError, match="violet"):
        ImageFolder(path=str(tmp_path)).splits()


def test_too_few_pictures_to_set_a_part_apart_is_an_error(tmp_path: Path) -> None:
    draw_pictures(tmp_path, 3)
    with pytest.raises(TaskError, match="9 pictures of 3 classes are too few to set test apart"):
        ImageFolder(path=str(tmp_path)).splits()
