"""How long the demonstration takes: python -m benchmarks.demo [--times 3] [--to FILE].

Each time in an empty folder: `search.run --help`; then `search.run studies/digits.yaml` as it is
shipped, from the start of the command to the first trained evaluation in the database and to the
end, and the share of the time after the plan that both workers computed.
"""

import argparse
import json
import os
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


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    helps = [seconds(["search.run", "--help"], ROOT) for _ in range(5)]
    runs = [one_run() for _ in range(options.times)]
    print(f"--help                        {spread(helps)} s")
    for key, unit in (
        ("first_evaluation_s", "s"),
        ("total_s", "s"),
        ("trials", ""),
        ("busy_share", ""),
        ("hypervolume", ""),
    ):
        print(f"{key:29} {spread([run[key] for run in runs])} {unit}")
    keep(options.to, "demo", {"help_s": helps, "runs": runs})


def seconds(module: list[str], folder: Path) -> float:
    """Wall seconds of `python -m MODULE ...` in `folder`."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def one_run() -> dict[str, Any]:
    """Figures of one run in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        total_s = seconds(["search.run", str(STUDY)], Path(folder))
        with sqlite3.connect(Path(folder) / "paretune.db") as database:
            return {"total_s": total_s, **figures(database, started)}


def figures(database: sqlite3.Connection, started: float) -> dict[str, Any]:
    """What the store knows of the run."""

    def one(query: str) -> Any:
        return database.execute(query).fetchone()[0]

    first = one("select min(at) from paretune_evaluations where rung > 0")
    warm = one("select min(at) from paretune_evaluations where trial is not null")
    last = one("select max(at) from paretune_evaluations")
    rows = database.execute(
        "select seconds, at from paretune_evaluations where trial is not null"
    ).fetchall()
    busy_s = sum(
        s for row, at in rows if at > warm for k, s in json.loads(row).items() if k != "wait"
    )
    return {
        "first_evaluation_s": first - started,
        "trials": one("select count(*) from paretune_trials where repeats is null"),
        "busy_share": busy_s / (2 * (last - warm)),
        "hypervolume": one("select hypervolume from paretune_fronts order by id desc limit 1"),
    }


if __name__ == "__main__":
    main()
