"""The user's own table: what becomes of its columns, and every mistake in one line."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from objectives.tasks import Splits, TaskError, load
from objectives.tasks.table import Table
from search.errors import InputError
from search.members import best
from search.spec import read_study
from search.store.view import view_of
from tests.conftest import Command


def rows(count: int = 60) -> list[list[str]]:
    """Columns: row, size, colour, day, price, kind."""
    colours = ("blue", "green", "red")
    return [
        [
            f"r{n}",
            f"{n % 7 + n / 100}",
            colours[n % 3],
            str(count - n),
            f"{1000 + 3.5 * n}",
            "big" if n % 2 else "small",
        ]
        for n in range(count)
    ]


NAMES = ("row", "size", "colour", "day", "price", "kind")


def write(folder: Path, lines: list[list[str]], names: tuple[str, ...] = NAMES) -> str:
    path = folder / "mine.csv"
    path.write_text("\n".join(",".join(line) for line in [list(names), *lines]) + "\n")
    return str(path)


def read(folder: Path, lines: list[list[str]] | None = None, **options: Any) -> Splits:
    """The splits of the table; the column `row` is not read."""
    path = write(folder, rows() if lines is None else lines)
    return Table(path=path, **{"ignore": ("row",), **options}).splits()


def test_text_is_a_class_and_numbers_are_values(tmp_path: Path) -> None:
    classes = read(tmp_path, target="kind")
    assert classes.classes == ("big", "small")
    values = read(tmp_path, target="price")
    assert (values.classes, values.outputs, values.has_values) == ((), 1, True)
    assert [len(part) for part in (values.train, values.validation, values.test)] == [42, 9, 9]


def test_few_whole_numbers_are_classes_in_their_order_unless_kind_says_otherwise(
    tmp_path: Path,
) -> None:
    lines = [[*line[:4], str(n % 4 * 5), line[5]] for n, line in enumerate(rows())]
    assert read(tmp_path, lines, target="price").classes == ("0", "5", "10", "15")
    assert read(tmp_path, lines, target="price", kind="numbers").has_values
    many = [[*line[:4], str(n % 21), line[5]] for n, line in enumerate(rows(126))]
    assert read(tmp_path, many, target="price").has_values
    assert len(read(tmp_path, many, target="price", kind="classes").classes) == 21


def test_numbers_stay_and_texts_become_zeros_and_ones(tmp_path: Path) -> None:
    splits = read(tmp_path, target="price")
    known = {float(line[4]): line for line in rows()}
    assert splits.input_shape == (7,)  # size, three colours, day, two kinds
    for inputs, price in zip(splits.test.inputs.tolist(), splits.test.targets[:, 0], strict=True):
        line = known[float(price)]
        expected = [
            float(line[1]),
            *[float(line[2] == colour) for colour in ("blue", "green", "red")],
            float(line[3]),
            *[float(line[5] == kind) for kind in ("big", "small")],
        ]
        assert inputs == pytest.approx(expected)


def test_text_that_train_lacks_is_all_zeros(tmp_path: Path) -> None:
    lines = rows()
    lines[0][2] = "violet"  # day 60, the last
    splits = read(tmp_path, lines, target="price", time="day")
    assert splits.input_shape == (6,)
    assert splits.test.inputs[-1, 1:4].tolist() == [0, 0, 0]


def test_time_splits_in_its_order_and_is_no_input(tmp_path: Path) -> None:
    splits = read(tmp_path, target="price", time="day")
    assert splits.input_shape == (6,)
    prices = [
        part.targets[:, 0].tolist() for part in (splits.train, splits.validation, splits.test)
    ]
    assert [price for part in prices for price in part] == sorted(
        (float(line[4]) for line in rows()), reverse=True
    )


def test_group_stays_in_one_part_and_is_no_input(tmp_path: Path) -> None:
    lines = [[f"patient{n // 3}", *line[1:]] for n, line in enumerate(rows())]
    splits = read(tmp_path, lines, target="price", group="row", ignore=())
    assert splits.input_shape == (7,)
    group = {float(line[4]): line[0] for line in lines}
    found = [
        {group[float(price)] for price in part.targets[:, 0]}
        for part in (splits.train, splits.validation, splits.test)
    ]
    assert sorted(name for part in found for name in part) == sorted(set(group.values()))


def test_metric_follows_the_kind_of_the_target(tmp_path: Path) -> None:
    path = write(tmp_path, rows())
    both = ("price", "size")
    for options, name, unit in (
        ({"target": "kind"}, "accuracy", "ratio"),
        ({"target": "kind", "judged_by": "macro_f1"}, "macro_f1", "ratio"),
        ({"target": "price", "unit": "EUR"}, "rmse", "EUR"),
        ({"target": "price", "judged_by": "nmse"}, "nmse", "ratio"),
        ({"target": both}, "nmse", "ratio"),
    ):
        metric = Table(path=path, ignore=("row",), **options).metric
        assert (metric.name, metric.unit) == (name, unit)
    assert load(Table(path=path, ignore=("row",), target=both)).outputs == 2


def spoil(line: int, column: int, value: str) -> list[list[str]]:
    lines = rows()
    lines[line - 2][column] = value
    return lines


CONSTANT = [[*line[:4], "7.5", line[5]] for line in rows()]
ONE_CLASS = [[*line[:5], "big"] for line in rows()]


@pytest.mark.parametrize(
    ("lines", "options", "problem"),
    [
        (spoil(5, 1, ""), {"target": "price"}, r"line 5, column 'size': .* missing \(''\)"),
        (spoil(9, 2, "NA"), {"target": "price"}, r"line 9, column 'colour': .* missing \('NA'\)"),
        (spoil(7, 4, "?"), {"target": "price"}, r"line 7, column 'price': .* missing"),
        (spoil(7, 5, "null"), {"target": "kind"}, r"line 7, column 'kind': .* missing"),
        (spoil(6, 1, "large"), {"target": "price"}, r"line 6, column 'size': 'large' is not a nu"),
        (spoil(6, 1, "inf"), {"target": "price"}, r"line 6, column 'size': 'inf' is not a number"),
        (spoil(6, 4, "free"), {"target": "price"}, r"line 6, column 'price': 'free' is not a num"),
        (CONSTANT, {"target": "price"}, r"line 2, column 'price': every row is '7\.5'"),
        (ONE_CLASS, {"target": "kind"}, r"line 2, column 'kind': every row is 'big'.*2 classes"),
        (spoil(4, 5, "odd"), {"target": "kind"}, r"line 4, .*class 'odd' has fewer than 3 rows"),
        (rows(), {"target": "row", "kind": "numbers", "ignore": ()}, r"'r0' is not a number; nam"),
        (rows(), {"target": "price", "ignore": ()}, r"column 'row': 60 different texts .* ignore"),
        (rows(), {"target": "cost"}, r"target: .* no column 'cost'; it has row, size, colour"),
        (rows(), {"target": "price", "ignore": ("id",)}, r"ignore: .* has no column 'id'"),
        (rows(), {"target": "price", "time": "when"}, r"time: .* has no column 'when'"),
        (rows(), {"target": ()}, r"target names no column"),
        (rows(), {"target": "price", "time": "day", "group": "row"}, r"cannot both decide"),
        (rows(), {"target": "price", "judged_by": "accuracy"}, r"accuracy does not judge numbers"),
        (rows(), {"target": "kind", "judged_by": "rmse"}, r"rmse does not judge classes"),
        (rows(3), {"target": "price"}, r"leaves [01] row\(s\) to validation; add rows"),
        (rows(), {"target": "price", "ignore": NAMES[:4] + NAMES[5:]}, r"no column left as an in"),
        ([*rows(), ["a", "b"]], {"target": "price"}, r"line 62 has 2 cells where line 1 has 6"),
        ([], {"target": "price"}, r"holds 1 line"),
    ],
)
def test_mistake_in_the_table_is_told_in_one_line(
    tmp_path: Path, lines: list[list[str]], options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TaskError, match=problem) as caught:
        read(tmp_path, lines, **options)
    assert "\n" not in str(caught.value)


def test_file_itself_may_be_wrong(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with pytest.raises(TaskError, match=r"mine\.csv does not exist; give the file as path"):
        Table(path=str(path), target="a").splits()
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(TaskError, match="is not UTF-8 text"):
        Table(path=str(path), target="a").splits()
    path.write_text("a;b\n1;2\n")
    with pytest.raises(TaskError, match=r"one column, 'a;b'.* separator"):
        Table(path=str(path), target="a").splits()
    path.write_text("a,a\n1,2\n")
    with pytest.raises(TaskError, match="'a' is empty or stands twice"):
        Table(path=str(path), target="a").splits()
    path.write_text('a,b\n1,"2\n')
    with pytest.raises(TaskError, match=r"line 2: .*; mend it"):
        Table(path=str(path), target="a").splits()


def test_class_that_time_keeps_from_train_is_told(tmp_path: Path) -> None:
    lines = [[*line[:5], "late" if int(line[3]) > 54 else line[5]] for line in rows()]
    with pytest.raises(TaskError, match=r"no row of class 'late' is in the training part"):
        read(tmp_path, lines, target="kind", time="day")


def test_other_separators_quotes_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    lines = [f'{n};"a; ""{n % 2}""";{n / 2}' for n in range(40)]
    path.write_text("\ufeffx;word;y\n" + "\n".join(lines), encoding="utf-8")
    splits = load(Table(path=str(path), target="y", separator=";"))
    assert splits.input_shape == (3,)
    assert splits.outputs == 1


STUDY = """
name: prices
task: {csv: {path: prices.csv, target: price, unit: EUR}}
space:
  architecture: {'my_nets:Net': {width: [4, 8]}}
  training: {lr: [0.01, 0.02], batch: 16}
objectives:
  - rmse: {limit: 500 EUR}
  - parameters
search: {sampler: random, trials: 4, plan: 8, rungs: [1, 30]}
confirm: {seeds: 2}
executor: inline
"""

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, outputs, *, width: int = 4):
        super().__init__()
        self.first = nn.Linear(input_shape[0], width)
        self.last = nn.Linear(width, outputs)
    def forward(self, x):
        return self.last(self.first(x).relu())
"""


@pytest.fixture
def prices(folder: Path) -> Path:
    """A study of a table with prices around 5,000, known from two columns up to a noise of 100."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(10, 100, 300), rng.uniform(0, 50, 300)
    price = 2000 + 70 * size - 20 * age + 100 * rng.normal(size=300)
    lines = [f"{a:.3f},{b:.3f},{c:.2f}" for a, b, c in zip(size, age, price, strict=True)]
    (folder / "prices.csv").write_text("\n".join(["size,age,price", *lines]))
    (folder / "my_nets.py").write_text(NETS)
    (folder / "prices.yaml").write_text(STUDY)
    return folder


def test_study_of_numbers_finds_small_errors_and_tells_them_in_their_unit(
    prices: Path, command: Command
) -> None:
    ran = command("run", "prices.yaml")
    assert ran.returncode == 0, ran.stderr
    view = view_of("prices", "sqlite:///paretune.db")
    errors = {t.number: t.measurements["rmse"].value for t in view.trials if t.status == "done"}
    assert errors[best(view, view.members).number] == min(errors.values()) < 500
    assert re.search(r"\d EUR ±\d", ran.stdout)  # several seeds on the test split
    exported = command("export", "prices.yaml", "best", "--to", "out")
    assert exported.returncode == 0, exported.stderr
    certificate = json.loads((prices / "out" / "certificate.json").read_text())
    output, score = certificate["output"], certificate["score"]
    assert (output["kind"], output["restore"]) == ("values", "output * std + mean")
    assert score["test"]["unit"] == "EUR"
    splits = load(Table(path="prices.csv", target="price", unit="EUR"))
    assert output["mean"] == pytest.approx([float(splits.train.targets.mean())], rel=1e-4)
    np.savez("mine.npz", inputs=splits.test.inputs, targets=splits.test.targets)
    checked = command("verify", "out", "--data", "mine.npz")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "score    holds: rmse " in checked.stdout
    assert "same answer" not in exported.stdout + checked.stdout


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("objectives=[accuracy, parameters]", "this task's metric is 'rmse'"),
        ("objectives=[{rmse: {limit: -1}}, parameters]", "must be above 0, the best rmse there"),
        ("space.training.label_smoothing=0.1", "targets are numbers"),
        ("task.csv.target=nothing", "has no column 'nothing'; it has size, age, price"),
        ("task.csv.unit=kg 2", "task.csv.unit: 'kg 2'"),
    ],
)
def test_study_of_numbers_with_a_mistake_is_refused_in_one_line(
    prices: Path, override: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_study("prices.yaml", (override,))
    assert "\n" not in str(caught.value)
