"""Kills a real run again and again: python -m benchmarks.faults [--kills 20] [--to FILE].

`search.run studies/digits.yaml` with a budget large enough for all kills; at a random moment
(seeded) the whole process group gets SIGKILL, and the same command is given again, until it ends
by itself. Before each start every evaluation is remembered; counted are evaluations that are gone
or changed later (lost), candidates that were evaluated twice at one rung (doubled), Optuna trials
left open, and files that nobody refers to.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.conditions import keep, spread

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "digits.yaml"
TRIALS_PER_KILL = 4
Snapshot = dict[tuple[int, int], tuple[Any, ...]]
"""(trial, rung) -> the evaluation and its measurements."""


def main() -> None:
    """Kill, resume, count, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    trials = TRIALS_PER_KILL * options.kills
    with tempfile.TemporaryDirectory() as folder:
        kills = [one_kill(Path(folder), trials, rng.uniform(0, 10)) for _ in range(options.kills)]
        before = snapshot(Path(folder))
        code = start(Path(folder), trials).wait()
        result = {
            "kills": len([kill for kill in kills if kill["killed"]]),
            "lost": sum(kill["lost"] for kill in kills) + lost(before, snapshot(Path(folder))),
            "exit_code": code,
            **final(Path(folder), trials),
        }
    print(f"killed after {spread([kill['after_s'] for kill in kills])} s")
    for key, value in result.items():
        print(f"{key:24} {value}")
    keep(options.to, "faults", {"seed": options.seed, **result, "each": kills})


def start(folder: Path, trials: int) -> subprocess.Popen[bytes]:
    """The command, in a process group of its own."""
    arguments = [str(STUDY), "--quiet", f"search.trials={trials}", "search.rungs=[1, 2, 4]"]
    return subprocess.Popen(
        [sys.executable, "-m", "search.run", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def one_kill(folder: Path, trials: int, after_s: float) -> dict[str, Any]:
    """Start or resume, kill after a while; `lost`: evaluations of earlier runs that are gone."""
    before, runs = snapshot(folder), num_runs(folder)
    process = start(folder, trials)
    killed = False
    while num_runs(folder) == runs and process.poll() is None:
        time.sleep(0.05)  # the moment is counted from when the run has taken its lease
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = True
        time.sleep(1)  # the fork server and workers notice within a second
    after = snapshot(folder)
    return {
        "after_s": after_s,
        "killed": killed,
        "evaluations": len(after),
        "lost": lost(before, after),
    }


def num_runs(folder: Path) -> int:
    """Runs that the database knows of."""
    if not (folder / "paretune.db").exists():
        return 0
    with sqlite3.connect(folder / "paretune.db") as database:
        try:
            return int(database.execute("select count(*) from paretune_runs").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are not made yet
            return 0


def snapshot(folder: Path) -> Snapshot:
    """Every evaluation of a trial with its values."""
    if not (folder / "paretune.db").exists():
        return {}
    with sqlite3.connect(folder / "paretune.db") as database:
        try:
            rows = database.execute(
                "select e.trial, e.rung, e.status, e.candidate, m.objective, m.value "
                "from paretune_evaluations e "
                "left join paretune_measurements m on m.evaluation = e.id "
                "where e.trial is not null order by e.trial, e.rung, m.objective"
            ).fetchall()
        except sqlite3.OperationalError:  # killed before the tables were made
            return {}
    found: Snapshot = {}
    for trial, rung, *values in rows:
        found[trial, rung] = (*found.get((trial, rung), ()), tuple(values))
    return found


def lost(before: Snapshot, after: Snapshot) -> int:
    """Evaluations that are gone, or are no longer what they were."""
    return sum(after.get(key) != value for key, value in before.items())


def final(folder: Path, trials: int) -> dict[str, Any]:
    """What must be 0, or as asked, once the study has ended."""
    with sqlite3.connect(folder / "paretune.db") as database:

        def one(query: str) -> Any:
            return database.execute(query).fetchone()[0]

        networks = one(  # the same weights of the same deployed network, by whichever trial
            "select count(*) from (select 1 from paretune_evaluations e "
            "join paretune_candidates c on c.key = e.candidate where e.rung > 0 "
            "group by e.rung, c.train_key, c.deploy_key having count(*) > 1)"
        )
        candidates = one(
            "select count(*) - count(distinct candidate) from paretune_trials "
            "where repeats is null"
        )
        known = {row[0] for row in database.execute("select artifact from paretune_checkpoints")}
        files = {p.name for p in (folder / "paretune.artifacts").glob("*.pt")}
        return {
            "doubled": networks + candidates,
            "trials_missing": trials
            - one("select count(*) from paretune_trials where repeats is null"),
            "open_optuna_trials": one("select count(*) from trials where state = 'RUNNING'"),
            "files_without_row": len(files - known),
            "rows_without_file": len(known - files),
            "runs": one("select count(*) from paretune_runs"),
        }


if __name__ == "__main__":
    main()
