"""`search.front` on a study that has been run: table, bounds, JSON, CSV, and each mistake."""

import csv
import io
import json
import re
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finished import finished_small, python

from search import front
from search.commands import BAD_INPUT, DONE, FAILED
from search.store.database import open_database
from search.store.view import read_view

NAMES = ("accuracy", "flops", "latency")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_small(tmp_path_factory)


@pytest.fixture(autouse=True)
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The study's folder is the current one; the command's signal handler goes with the test."""
    monkeypatch.chdir(finished)
    monkeypatch.setenv("COLUMNS", "200")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


Say = tuple[int, str, str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Any:
    """`search.front small.yaml ARGUMENTS` -> (exit code, output, errors)."""

    def run(*arguments: str, study: str = "small.yaml") -> Say:
        code = front.main([study, *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def in_database(finished: Path) -> dict[int, dict[str, float]]:
    """Member -> objective -> value, read by hand."""
    query = """
        SELECT e.trial, m.objective, m.value
        FROM paretune_front_members AS f
        JOIN paretune_evaluations AS e ON e.trial = f.trial AND e.study = 'small'
        JOIN paretune_measurements AS m ON m.evaluation = e.id
        WHERE f.front = (SELECT MAX(id) FROM paretune_fronts) ORDER BY e.rung
    """
    found: dict[int, dict[str, float]] = {}
    connection = sqlite3.connect(finished / "small.db")
    for trial, objective, value in connection.execute(query):
        found.setdefault(trial, {})[objective] = value
    connection.close()
    return found


# --- what it prints ---


def test_json_holds_the_members_with_the_values_of_the_database(say: Any, finished: Path) -> None:
    code, out, err = say("--json")
    assert (code, err) == (DONE, "")
    rows = json.loads(out)
    told = {row["trial"]: {name: row[name]["value"] for name in NAMES} for row in rows}
    assert told == in_database(finished)
    assert told


def test_json_says_units_intervals_and_candidates(say: Any) -> None:
    for row in json.loads(say("--json")[1]):
        assert [row[name]["unit"] for name in NAMES] == ["ratio", "flops", "ms"]
        for name in NAMES:
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
        assert row["candidate"]["family"] == "convnet"
        assert row["candidate"]["architecture"]["depth"] in (1, 2)


def test_members_of_the_front_do_not_dominate_each_other(say: Any) -> None:
    rows = json.loads(say("--json")[1])
    losses = [(-r["accuracy"]["value"], r["flops"]["value"], r["latency"]["value"]) for r in rows]
    for one in losses:
        for other in losses:
            better = any(a < b for a, b in zip(one, other, strict=True))
            assert better or one == other or any(a > b for a, b in zip(one, other, strict=True))
            no_worse = all(a <= b for a, b in zip(one, other, strict=True))
            assert not (no_worse and better)


def test_csv_has_the_same_rows_with_units_in_its_head(say: Any) -> None:
    rows = json.loads(say("--json")[1])
    code, out, err = say("--csv")
    assert (code, err) == (DONE, "")
    table = list(csv.reader(io.StringIO(out)))
    assert table[0] == ["trial", "accuracy (ratio)", "flops (flops)", "latency (ms)", "candidate"]
    assert [int(line[0]) for line in table[1:]] == [row["trial"] for row in rows]
    for line, row in zip(table[1:], rows, strict=True):
        assert [float(cell) for cell in line[1:4]] == [row[name]["value"] for name in NAMES]
        assert json.loads(line[4]) == row["candidate"]


def test_table_has_a_row_a_member_and_names_best_and_knee(say: Any) -> None:
    rows = json.loads(say("--json")[1])
    code, out, err = say()
    assert (code, err) == (DONE, "")
    lines = out.splitlines()
    assert lines[0].split() == ["trial", *NAMES, "network"]
    assert [int(line.split()[0]) for line in lines[1:-1]] == [row["trial"] for row in rows]
    top = max(rows, key=lambda row: row["accuracy"]["value"])["trial"]
    knee = json.loads(say("--knee", "--json")[1])[0]["trial"]
    assert lines[-1] == f"best score: trial {top}; knee: trial {knee}"


def test_knee_is_one_member_alone(say: Any) -> None:
    members = [row["trial"] for row in json.loads(say("--json")[1])]
    knee = json.loads(say("--knee", "--json")[1])
    assert len(knee) == 1
    assert knee[0]["trial"] in members


def test_under_keeps_the_members_within_the_bound(say: Any) -> None:
    rows = json.loads(say("--json")[1])
    for bound in sorted(row["latency"]["value"] for row in rows):
        kept = json.loads(say("--json", "--under", f"latency={bound}ms")[1])
        assert kept == [row for row in rows if row["latency"]["value"] <= bound]


def test_several_bounds_hold_together(say: Any) -> None:
    rows = json.loads(say("--json")[1])
    best = max(row["accuracy"]["value"] for row in rows)
    arguments = ("--json", "--under", f"accuracy={best}", "--under", "latency=1s")
    kept = json.loads(say(*arguments)[1])
    assert kept == [row for row in rows if row["accuracy"]["value"] == best]


def test_bound_that_nobody_keeps_is_said_on_stderr_with_exit_code_1(say: Any) -> None:
    code, out, err = say("--under", "latency=1ns", "--under", "flops=1")
    assert (code, out) == (FAILED, "")
    told = re.fullmatch(
        r"no member of the front keeps latency=1ns, flops=1; trial \d+ comes nearest, its "
        r"(flops|latency) \S+ \S+ misses (1.00 FLOPs|1.00 ns) by a factor of [\d.e+]+\n",
        err,
    )
    assert told, err
    code, out, _ = say("--under", "latency=1ns", "--json")
    assert (code, json.loads(out)) == (FAILED, [])


def test_study_is_found_by_name_and_database_too(say: Any) -> None:
    by_file = say("--json")
    assert say("--json", "--storage", "sqlite:///small.db", study="small") == by_file


# --- what it refuses ---


@pytest.mark.parametrize(
    ("study", "arguments", "told"),
    [
        (
            "smal",
            ("--storage", "sqlite:///small.db"),
            "the database holds no study 'smal'; did you mean 'small'? known: small",
        ),
        ("small", ("--storage", "sqlite:///absent.db"), "there is no database absent.db yet"),
        ("small", ("--storage", "sqlite:///deep/absent.db"), "run the study first"),
        ("small", ("--storage", "nonsense"), "nonsense: not a database that can be used"),
        ("absent.yaml", (), "absent.yaml: cannot be read: No such file or directory"),
        ("small.yaml", ("--under", "latency=2"), "'2' has no unit; write one of: ns, us"),
        ("small.yaml", ("--under", "accuracy=95"), "95 is more than 1, all of it; write 95%"),
        ("small.yaml", ("--under", "speed=2"), "'speed' is not measured by study 'small'"),
        ("small.yaml", ("--under", "latency"), "'latency' is not OBJECTIVE=QUANTITY"),
    ],
)
def test_mistake_is_told_in_one_line_with_exit_code_2(
    say: Any, study: str, arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = say(*arguments, study=study)
    assert (code, out) == (BAD_INPUT, "")
    assert err.startswith("paretune: ")
    assert err.count("\n") == 1
    assert told in err


def test_database_without_our_tables_is_told(say: Any, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE books (title TEXT)")
    connection.close()
    code, _, err = say("--storage", f"sqlite:///{tmp_path / 'other.db'}", study="small")
    assert code == BAD_INPUT
    assert "holds tables of something else (books); name another database" in err


def test_study_without_a_front_says_why_with_exit_code_1(
    say: Any, finished: Path, tmp_path: Path
) -> None:
    shutil.copy(finished / "small.db", tmp_path / "bare.db")
    with sqlite3.connect(tmp_path / "bare.db") as connection:
        connection.execute("DELETE FROM paretune_front_members")
        connection.execute("DELETE FROM paretune_fronts")
    connection.close()
    code, out, err = say("--storage", f"sqlite:///{tmp_path / 'bare.db'}", study="small")
    assert (code, out) == (FAILED, "")
    assert err.startswith("no front: ")
    assert "done" in err


def test_reading_leaves_the_database_as_it_was(say: Any, finished: Path) -> None:
    before = (finished / "small.db").read_bytes()
    assert say("--json")[0] == DONE
    assert (finished / "small.db").read_bytes() == before
    assert not (finished / "absent.db").exists()


# --- what it costs ---


def test_front_of_a_real_database_is_read_without_torch_or_optuna(finished: Path) -> None:
    code = (
        "import sys, search.front; assert search.front.main(['small.yaml', '--json']) == 0; "
        "print(sorted({'torch', 'optuna', 'ray', 'plotly', 'onnxruntime'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    done = python(finished, "-c", code)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_command_itself_works_and_ends_quietly_when_its_reader_goes(finished: Path) -> None:
    done = python(finished, "-m", "search.front", "small.yaml", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)


def test_what_is_read_of_a_large_study_says_the_same_of_its_front(finished: Path) -> None:
    engine = open_database(f"sqlite:///{finished}/small.db", create=False)
    whole, part = (read_view(engine, "small", whole=each) for each in (True, False))
    engine.dispose()
    assert part.members == whole.members
    assert part.fronts == whole.fronts[-1:]
    assert len(part.trials) < len(whole.trials)
    assert (part.objectives, part.scale, part.runs) == (whole.objectives, whole.scale, whole.runs)


def test_it_answers_without_torch_and_optuna(finished: Path) -> None:
    ask = (
        "import sys; from search import front; front.main(['small.yaml']); "
        "print(sorted({'torch', 'optuna', 'plotly', 'ray'} & set(sys.modules)))"
    )
    done = python(finished, "-c", ask)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
