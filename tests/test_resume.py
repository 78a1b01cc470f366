"""A real study with worker processes, killed and interrupted; the same command goes on with it."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ledger
import optuna
import psutil
import pytest

from search.session import Session

ROOT = Path(__file__).parent.parent
TRIALS = 9
PATIENCE_S = 240.0
STUDY = f"""
name: small
task: digits
space:
  architecture: {{convnet: {{depth: [1, 2], width: [4, 8], pool: [2, 3]}}}}
  training: {{lr: {{low: 1.0e-3, high: 1.0e-2, log: true}}}}
  compression:
    - prune: {{ratio: [0.0, 0.5]}}
    - quantize: {{scheme: [none, int8]}}
objectives:
  - accuracy
  - flops
  - latency: {{limit: 1 ms, max_s: 0.1}}
search: {{sampler: tpe, trials: {TRIALS}, rungs: [1, 2], plan: 8, reduction: 1.5}}
executor: {{process: {{workers: 2}}}}
storage: sqlite:///small.db
"""
DATABASE = Path("small.db")
Row = tuple[Any, ...]


class Runs:
    """The same command again and again in one folder; ends whatever is left of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[int] = set()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "subprocess.Popen[str]":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "search.run", "small.yaml", "--quiet"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.process

    def finish(self) -> None:
        process = self.start()
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err) == (0, "", "")

    def family(self) -> list[psutil.Process]:
        """The driver and all that it started."""
        assert self.process is not None
        driver = psutil.Process(self.process.pid)
        return [driver, *driver.children(recursive=True)]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def runs(folder: Path) -> Iterator[Runs]:
    (folder / "small.yaml").write_text(STUDY)
    found = Runs(folder)
    yield found
    found.stop()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def evaluations() -> list[Row]:
    """Whole rows of evaluations, those of the plan too, with their measurements."""
    if not DATABASE.exists() or not ledger.select(
        DATABASE, "select 1 from sqlite_master where name = 'paretune_evaluations'"
    ):
        return []
    return ledger.select(
        DATABASE,
        "select e.*, m.* from paretune_evaluations e"
        " left join paretune_measurements m on m.evaluation = e.id order by e.id, m.id",
    )


def count() -> int:
    return len({row[0] for row in evaluations()})


def wait_for_evaluations(process: "subprocess.Popen[str]", more: int) -> None:
    """Until so many evaluations were added, or the run is over."""
    before = count()
    wait_until(lambda: count() >= before + more or process.poll() is not None)


def test_study_that_is_killed_three_times_loses_and_doubles_nothing(runs: Runs) -> None:
    moments = random.Random(20)
    kept: list[Row] = []
    for whom in ("the driver", "the whole group", "the driver"):
        process = runs.start()
        more, delay_s = moments.randint(1, 5), moments.uniform(0, 0.3)
        print(f"kill {whom} {delay_s:.3f} s after {more} evaluations")
        wait_for_evaluations(process, more)
        time.sleep(delay_s)
        family = runs.family() if process.poll() is None else []
        if whom == "the driver":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        wait_until(lambda family=family: not any(map(alive, family)))
        assert evaluations()[: len(kept)] == kept
        kept = evaluations()
    runs.finish()
    assert evaluations()[: len(kept)] == kept
    assert_sound()
    outcomes = [outcome for (outcome,) in ledger.select(DATABASE, OUTCOMES)]
    # on a fast machine the study may be over before the last kill
    assert outcomes[0] == "killed"
    assert outcomes[-1] == "done"
    assert set(outcomes) <= {"killed", "done"}
    assert_nothing_left_over()


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


OUTCOMES = "select outcome from paretune_runs order by id"


def test_study_that_is_interrupted_says_so_and_goes_on(runs: Runs) -> None:
    kept: list[Row] = []
    for number, more in ((signal.SIGTERM, 3), (signal.SIGINT, 6)):
        process = runs.start()
        wait_for_evaluations(process, more)
        family = runs.family()
        if number == signal.SIGINT:  # Ctrl-C reaches the whole group
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (130, "")
        assert err.startswith("paretune: interrupted")
        assert len(err.splitlines()) == 1
        wait_until(lambda family=family: not any(map(alive, family)))
        assert evaluations()[: len(kept)] == kept
        kept = evaluations()
    runs.finish()
    assert evaluations()[: len(kept)] == kept
    assert_sound()
    outcomes = [outcome for (outcome,) in ledger.select(DATABASE, OUTCOMES)]
    assert outcomes == ["interrupted", "interrupted", "done"]


def test_interruption_while_everything_loads_is_one_line_too(runs: Runs) -> None:
    process = runs.start()
    wait_until(DATABASE.exists)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    # 130 in a shell both ways: a library that runs Python code while it loads (PyRun_String) makes
    # CPython end by the signal, although the interruption was handled
    assert process.returncode in (130, -signal.SIGINT)
    assert out == ""
    assert err.startswith("paretune: interrupted")
    assert len(err.splitlines()) == 1


def assert_sound() -> None:
    """Every candidate came to one end, Optuna knows it, and the fronts are those of all."""
    places = [(row.trial, row.rung) for row in ledger.evaluations(DATABASE)]
    assert len(places) == len(set(places))
    own = [number for number, first in ledger.repeats(DATABASE).items() if first is None]
    assert len(own) == TRIALS
    found = ledger.by_trial(DATABASE)
    assert all(found[number][-1].status in ledger.FINAL - {"failed"} for number in own)
    trials = optuna.load_study(study_name="small", storage="sqlite:///small.db").trials
    assert all(trial.state.is_finished() for trial in trials)
    assert {trial.number for trial in trials} >= set(ledger.repeats(DATABASE))
    stored, expected = ledger.fronts(DATABASE), list(ledger.recomputed_fronts(DATABASE))
    assert [(t, members) for t, _, members in stored] == [(t, m) for t, _, m in expected]
    assert [v for _, v, _ in stored] == pytest.approx([v for _, v, _ in expected], abs=1e-12)


ONE_TRAIN_KEY = (
    "select train_key from paretune_candidates c"
    " join paretune_trials t on t.candidate = c.key where t.repeats is null"
)


def assert_nothing_left_over() -> None:
    """Files that a killed worker or driver left are swept once nobody can be writing them."""
    artifacts = Path("small.artifacts")
    known = ledger.known_files(DATABASE)
    assert known <= ledger.files(artifacts)
    train_key = ledger.select(DATABASE, ONE_TRAIN_KEY)[0][0]
    (artifacts / f"checkpoint-{train_key}-1.pt.4711.part").touch()
    for name in ledger.files(artifacts):
        os.utime(artifacts / name, (0, 0))
    with Session.open("small.yaml", ("executor=inline",)) as session:
        session.plan()
        session.search("nothing")
    assert ledger.files(artifacts) == known
    members = ledger.fronts(DATABASE)[-1][2]
    kinds = ledger.select(DATABASE, "select trial, kind from paretune_checkpoints order by 1, 2")
    assert kinds == [(n, kind) for n in members for kind in ("checkpoint", "weights")]
