"""Kills a real run again and again: python -m benchmarks.faults [--kills 20] [--to FILE].

`search.run studies/digits.yaml` with a budget large enough for all kills; at a random moment
(seeded) the whole process group gets SIGKILL, and the same command is given again, until it ends
by itself. Before each start every evaluation is remembered; see `benchmarks.ledger` for what is
counted, and `benchmarks.faults_cluster` for more that can go on a cluster.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.conditions import keep, spread
from benchmarks.ledger import final, lost, num_runs, snapshot

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "digits.yaml"
TRIALS_PER_KILL = 4


def main() -> None:
    """Kill, resume, count, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    trials = TRIALS_PER_KILL * options.kills
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine = sa.create_engine(f"sqlite:///{folder}/paretune.db")
        kills = [
            one_kill(folder, engine, trials, rng.uniform(0, 10)) for _ in range(options.kills)
        ]
        before = snapshot(engine)
        code = start(folder, trials).wait()
        result = {
            "kills": len([kill for kill in kills if kill["killed"]]),
            "lost": sum(kill["lost"] for kill in kills) + lost(before, snapshot(engine)),
            "exit_code": code,
            **final(engine, folder / "paretune.artifacts", trials),
        }
    print(f"killed after {spread([kill['after_s'] for kill in kills])} s")
    for key, value in result.items():
        print(f"{key:24} {value}")
    keep(options.to, "faults", {"seed": options.seed, **result, "each": kills})


def start(folder: Path, trials: int, *overrides: str) -> subprocess.Popen[bytes]:
    """The command, in a process group of its own."""
    arguments = [str(STUDY), "--quiet", f"search.trials={trials}", "search.rungs=[1, 2, 4]"]
    return subprocess.Popen(
        [sys.executable, "-m", "search.run", *arguments, *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def one_kill(folder: Path, engine: sa.Engine, trials: int, after_s: float) -> dict[str, Any]:
    """Start or resume, kill after a while; `lost`: evaluations of earlier runs that are gone."""
    before, runs = snapshot(engine), num_runs(engine)
    process = start(folder, trials)
    killed = False
    while num_runs(engine) == runs and process.poll() is None:
        time.sleep(0.05)  # the moment is counted from when the run has taken its lease
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = True
        time.sleep(1)  # the fork server and workers notice within a second
    after = snapshot(engine)
    return {
        "after_s": after_s,
        "killed": killed,
        "evaluations": len(after),
        "lost": lost(before, after),
    }


if __name__ == "__main__":
    main()
