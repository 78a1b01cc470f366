"""`search.init`: a first study file for a folder of pictures, a table or a network."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from PIL import Image

from search import init
from search.beginning import looked_at
from search.commands import BAD_INPUT, DONE
from search.spec import read_study

QUICK = ("search.trials=2", "search.rungs=[1, 2]", "search.plan=8", "executor=inline")


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current folder; the command's signal handler goes with the test."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def pictures(
    root: str, classes: int = 2, side: int = 40, mode: str = "RGB", each: int = 12
) -> Path:
    rng = np.random.default_rng(0)
    for label in range(2):
        folder = Path(root) / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(12):
            shape = (side, side + 5, 3) if mode == "RGB" else (side, side + 5)
            pixels = rng.integers(100 * label, 100 * label + 100, shape).astype("uint8")
            Image.fromarray(pixels, mode).save(folder / f"{number}.png")
    return Path(root)


def table(name: str, separator: str = ",") -> Path:
    rng = np.random.default_rng(0)
    rows = [["id", "size", "colour", "note", "kind"]]
    for number in range(80):
        size = rng.normal()
        words = [("red", "blue")[number % 2], f"note {number}", ("small", "large")[size > 0]]
        rows.append([str(number), f"{size:.3f}", *words])
    Path(name).write_text("\n".join(separator.join(row) for row in rows))
    return Path(name)


@pytest.mark.parametrize("side", [10, 40, 300])
def test_pictures_are_scaled_to_what_half_of_them_have(side: int) -> None:
    size = {10: 16, 40: 32, 300: 64}[side]
    assert f"size: {size}, channels: 3" in looked_at(pictures("p", side=side)).task


def test_pictures_without_colours_are_read_grey() -> None:
    assert "channels: 1" in looked_at(pictures("p", mode="L")).task


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_that_only_name_rows_are_no_inputs(separator: str) -> None:
    found = looked_at(table("t.csv", separator))
    assert "ignore: [id, note]" in found.task
    assert "target: kind" in found.task
    assert ("separator" in found.task) == (separator != ",")
    assert found.metric == "accuracy"
    assert "2 columns that answer kind, one of 2 classes" in found.about


def test_target_of_numbers_is_judged_by_its_error() -> None:
    found = looked_at(table("t.csv"), "size")
    assert found.metric == "rmse"
    assert "that answer size, a number" in found.about


@pytest.mark.parametrize("what", ["pictures", "table", "network"])
def test_study_that_is_written_runs_as_it_is(what: str, command: Command) -> None:
    own = {
        "pictures": lambda: [pictures("my pictures")],
        "table": lambda: [table("my.csv")],
        "network": lambda: [pictures("mine"), "--network", "torchvision:squeezenet1_1"],
    }[what]()
    done = command("init", *map(str, own), "--to", "first.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("next: python -m search.run first.yaml\n")
    ran = command("run", "first.yaml", "--quiet", *QUICK)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_limit_and_name_are_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    table("t.csv")
    assert init.main(["t.csv", "--limit", "2ms", "--name", "true"]) == DONE
    study = read_study("true.yaml")
    assert study.name == "true"
    assert [o.limit for o in study.objectives] == [None, None, 2.0]


def test_study_file_of_the_user_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    table("t.csv")
    Path("t.yaml").write_text("mine")
    assert init.main(["t.csv"]) == BAD_INPUT
    assert "t.yaml is there already; name another with --to" in capsys.readouterr().err
    assert Path("t.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "nothing: there is no such file or folder"),
        (["t.csv", "--target", "price"], "--target: t.csv has no column 'price'; it has id, size"),
        (["t.csv", "--limit", "5apples"], "has the unit 'apples'"),
        (["t.csv", "--network", "nobody:Net"], "module 'nobody' does not import"),
        (["empty"], "0 picture(s) in 0 folder(s)"),
        (["broken"], "picture broken/a/0.png cannot be read"),
        (["t.csv", "--to", "no/such/folder.yaml"], "cannot be written: No such file"),
        (["gap.csv"], "line 3"),
    ],
)
def test_mistake_is_told_in_one_line_and_nothing_is_left(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table("t.csv")
    Path("empty").mkdir()
    for label in "ab":
        (Path("broken") / label).mkdir(parents=True)
        (Path("broken") / label / "0.png").write_text("no picture")
    Path("gap.csv").write_text("a,b\n1,2\n3\n")
    assert init.main(arguments) == BAD_INPUT
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("paretune: ")
    assert told in line
    assert not list(Path().glob("*.yaml"))
