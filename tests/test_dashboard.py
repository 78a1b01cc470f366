"""Optuna Dashboard on the database of a study: while it runs, and afterwards."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ledger
import pytest
from conftest import ROOT, SMALL

from search.store.optuna_study import OURS, OptunaStudy

TRIALS = 10
OVERRIDES = (
    # half a second a price, however fast the machine: the run lasts while the dashboard starts
    "objectives=[accuracy, {flops: {limit: 10k}}, {latency: {precision: 0.00001, max_s: 0.5}}]",
    "executor={process: {workers: 2}}",
    f"search.trials={TRIALS}",
)
PATIENCE_S = 240.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Seen:
    """A study, the dashboard beside it, and what that answered while the study ran."""

    folder: Path
    url: str
    during: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            assert answer.status == 200
            data: bytes = answer.read()
            return data

    def study(self) -> dict[str, Any]:
        """The study as the dashboard's page asks for it."""
        ((number, name),) = [
            (study["study_id"], study["study_name"])
            for study in json.loads(self.get("/api/studies"))["study_summaries"]
        ]
        assert name == "small"
        data: dict[str, Any] = json.loads(self.get(f"/api/studies/{number}?after=0"))
        return {**data, "study_id": number}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A run that is over, with a dashboard that was started while it ran and polled until now."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "small.yaml").write_text(SMALL)
    program = Path(sys.executable).parent / "optuna-dashboard"
    if not program.exists():
        pytest.skip("optuna-dashboard is not installed")
    study = [sys.executable, "-m", "search.run", "small.yaml", "--quiet", *OVERRIDES]
    with started(study, folder, "run") as run:
        wait_for_optuna_study(folder / "small.db", run)
        port = free_port()
        serving = [program, "sqlite:///small.db", "--artifact-dir", "small.artifacts", "-q"]
        serving += ["--host", "127.0.0.1", "--port", port]
        with started(serving, folder, "dashboard") as dashboard:
            found = Seen(folder, f"http://127.0.0.1:{port}")
            wait_for_port(port, dashboard)
            while run.poll() is None:
                found.during.append(found.study())
                time.sleep(0.2)
            found.exit_code = run.returncode
            wait_until_settled(found)
            yield found
            assert dashboard.poll() is None


@contextmanager
def started(command: list[Any], folder: Path, name: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that writes what it says to NAME.log; ended on the way out."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until_settled(seen: Seen) -> None:
    """The dashboard reads the trials of a study every ten seconds at most."""
    end = time.monotonic() + PATIENCE_S
    while any(trial["state"] == "Running" for trial in seen.study()["trials"]):
        assert time.monotonic() < end
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for_optuna_study(database: Path, run: "subprocess.Popen[bytes]") -> None:
    """A dashboard that is started before there are Optuna's tables ends at once."""
    end = time.monotonic() + PATIENCE_S
    known: list[Any] = []
    while not known:
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
        if database.exists():
            names = ledger.select(database, "select name from sqlite_master")
            if ("studies",) in names and ("version_info",) in names:
                known = ledger.select(database, "select study_name from studies")


def wait_for_port(port: int, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)


def test_run_is_not_disturbed_by_the_dashboard(seen: Seen) -> None:
    assert (seen.exit_code, (seen.folder / "run.log").read_text()) == (0, "")
    own = [n for n, first in ledger.repeats(seen.folder / "small.db").items() if first is None]
    assert len(own) == TRIALS


def test_dashboard_answers_while_the_study_runs_and_sees_it_grow(seen: Seen) -> None:
    assert len(seen.during) >= 2
    seen_trials = [len(study["trials"]) for study in seen.during]
    assert seen_trials == sorted(seen_trials)
    states = {trial["state"] for study in seen.during for trial in study["trials"]}
    assert "Running" in states
    assert len(seen.study()["trials"]) >= seen_trials[-1]


def test_objectives_have_their_names_units_and_directions(seen: Seen) -> None:
    study = seen.study()
    assert study["objective_names"] == ["accuracy", "flops", "latency (ms)"]
    assert study["directions"] == ["maximize", "minimize", "minimize"]


def test_note_of_the_study_says_what_is_asked_and_answered(seen: Seen) -> None:
    note = seen.study()["note"]["body"]
    assert note.startswith("Which network for digits: most accuracy, least flops, least latency")
    assert re.search(r"\*\*Knee: trial \d+\*\*, accuracy \d", note)


def test_note_that_a_person_wrote_stays(tmp_path: Path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="it is not installed")
    study = OptunaStudy(
        f"sqlite:///{tmp_path}/x.db",
        "x",
        choices=(),
        objectives=[("accuracy", "maximize")],
        known_trials=lambda: 0,
    )
    for text in ("first", "second, " + 3000 * "long", "third"):
        study.note(text)
        note = dashboard.get_note(study.stored)
        assert note.startswith(text[:1900])
        assert len(note) <= 2045
        assert note.endswith(OURS)
    dashboard.save_note(study.stored, "mine")
    study.note("fourth")
    assert dashboard.get_note(study.stored) == "mine"
    study.close()


def test_trials_have_our_states_values_and_reasons(seen: Seen) -> None:
    states = dict.fromkeys(("infeasible", "hopeless", "stopped"), "Pruned") | {"done": "Complete"}
    found = ledger.by_trial(seen.folder / "small.db")
    origin = ledger.origins(seen.folder / "small.db")
    for trial in seen.study()["trials"]:
        rows = found[origin[trial["number"]]]
        assert trial["state"] == states[rows[-1].status]
        (result,) = [a["value"] for a in trial["user_attrs"] if a["key"] == "result"]
        assert result.startswith(rows[-1].status)
        if rows[-1].status == "done":
            measured = {k: v for row in rows for k, v in row.values.items()}
            assert trial["values"] == [measured[n] for n in ("accuracy", "flops", "latency")]


def test_infeasible_trials_are_known_as_such(seen: Seen) -> None:
    found = ledger.by_trial(seen.folder / "small.db")
    origin = ledger.origins(seen.folder / "small.db")
    infeasible = set()
    for trial in seen.study()["trials"]:
        rows = found[origin[trial["number"]]]
        assert trial["constraints"] == [rows[0].values["flops"] - 10000]
        if max(trial["constraints"]) > 0:
            infeasible.add(origin[trial["number"]])
    assert infeasible == {n for n in found if found[n][-1].status == "infeasible"}
    assert infeasible


def test_best_trials_are_our_front(seen: Seen) -> None:
    origin = ledger.origins(seen.folder / "small.db")
    best = {origin[trial["number"]] for trial in seen.study()["best_trials"]}
    assert best == set(ledger.fronts(seen.folder / "small.db")[-1][2])


def test_report_can_be_downloaded(seen: Seen) -> None:
    study = seen.study()
    (artifact,) = study["artifacts"]
    assert (artifact["filename"], artifact["mimetype"]) == ("small.html", "text/html")
    page = seen.get(f"/artifacts/{study['study_id']}/{artifact['artifact_id']}")
    assert page == (seen.folder / "reports" / "small.html").read_bytes()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open the page with")
@pytest.mark.parametrize("page", ["/dashboard", "/dashboard/studies/1"])
def test_page_in_a_browser_shows_the_study(seen: Seen, tmp_path: Path, page: str) -> None:
    opened = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=15000",
            "--dump-dom",
            f"{seen.url}{page}",
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert opened.returncode == 0
    assert "small" in opened.stdout.partition("<body")[2]
    assert "accuracy" in opened.stdout
