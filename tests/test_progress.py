"""What a run says while it goes on: the line, its width, JSON, and the time left."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT, Command

from search.progress import Progress, fitting, left_s
from search.state import State


def state(finished: int, **more: object) -> State:
    return State(trials=finished, counts=Counter(done=finished), **more)  # type: ignore[arg-type]


def test_time_left_goes_by_the_pace_of_the_newest_half() -> None:
    slow = [10.0 * n for n in range(1, 6)]
    quick = [slow[-1] + n for n in range(1, 6)]
    assert left_s(slow + quick, 30, quick[-1]) == pytest.approx(30.0)
    assert left_s(slow, 30, slow[-1]) == pytest.approx(300.0)


def test_time_left_grows_while_nothing_finishes() -> None:
    times = [float(n) for n in range(1, 9)]
    soon, late = (left_s(times, 10, now) for now in (8.0, 18.0))
    assert soon is not None
    assert late is not None
    assert late > 2 * soon


def test_nothing_is_told_of_the_time_left_too_early() -> None:
    assert left_s([1.0, 2.0, 3.0], 10, 3.0) is None


def test_parts_that_do_not_fit_are_left_out_the_least_important_first() -> None:
    parts = ["12/60 candidates", "2.5 min left", "front 5", "hypervolume 0.812", "3 stopped"]
    assert fitting(parts, 200) == "  ".join(parts)
    assert fitting(parts, 60) == "12/60 candidates  2.5 min left  front 5  hypervolume 0.812"
    assert fitting(parts, 30) == "12/60 candidates  2.5 min left"
    assert fitting(parts, 8) == "12/60 ca"


@pytest.mark.parametrize("columns", [60, 200])
def test_line_on_a_terminal_is_written_over_itself_and_never_wraps(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(60)
    progress(state(0))
    progress.last = 0.0
    progress(state(7, front=(1, 2, 3), hypervolume=0.51234, repeats=3, children=2))
    progress.close(state(7), "done")
    *_, line = capsys.readouterr().err.split("\r\x1b[2K")
    assert line.endswith("\n")
    assert len(line) <= columns
    assert "7/60 candidates" in line
    assert ("2 from trained weights + 3 repeats" in line) == (columns == 200)


def test_candidates_of_an_earlier_run_do_not_speed_this_one_up() -> None:
    progress = Progress(100)
    progress(state(50))
    for finished in range(51, 56):
        progress(state(finished))
    assert len(progress.finished_at) == 5


def test_json_lines_tell_where_a_run_stands_and_how_it_ended(
    small: Path, command: Command
) -> None:
    done = command("run", str(small), "--json-lines")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["state"] == "done"
    assert {line["state"] for line in lines[:-1]} <= {"running"}
    assert (lines[-1]["finished"], lines[-1]["total"]) == (4, 4)
    assert sum(lines[-1]["counts"].values()) == 4
    assert lines[-1]["front"]
    assert lines[-1]["left_s"] == 0.0


def test_run_whose_lines_nobody_reads_any_more_is_interrupted_and_goes_on(
    small: Path, command: Command
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "search.run", str(small), "--json-lines"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(timeout=120) == 130
    assert told == "paretune: interrupted; the same command goes on from here\n"
    again = command("run", str(small), "--json-lines")
    assert json.loads(again.stdout.splitlines()[-1])["finished"] == 4
