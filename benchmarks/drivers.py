"""Several runs of one study: python -m benchmarks.drivers [--seeds 3] [--to FILE].

`search.run` of one study in one PostgreSQL database (or SQLite: --storage sqlite), given once,
twice and four times at the same moment. A training is a wait, of `TRAINING_S` seconds to the last
rung, so that the machine's cores are not what limits it; loop, sampler, leases and database are
real. Told are seconds from the first result to the last, speed-up over one run, and what runs did
in vain: candidates that were done twice, trials beyond the budget, trials that repeat another.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.conditions import keep, spread
from benchmarks.ledger import doubled
from benchmarks.overhead import LAST_RUNG
from benchmarks.overhead import answer as at_once
from search.evaluation import Evaluation, Job, Train
from tests.postgres_server import running

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "digits.yaml"
TRAINING_S = 4.0
"""To the last rung; to the others their share of it."""
PRICE_S = 0.1
RUNS = (1, 2, 4)


def answer(job: Job) -> Evaluation:
    """What `benchmarks.overhead` answers, after a while."""
    whole = isinstance(job, Train)
    time.sleep(TRAINING_S * job.rung / LAST_RUNG if whole else PRICE_S)
    return at_once(job)


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--storage", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--samplers", nargs="*", default=["random", "ehvi"])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with served(options.storage) as new_database:
        for seed in range(options.seeds):
            for sampler in options.samplers:
                for runs in RUNS:
                    row = shared(runs, sampler, options.trials, seed, new_database)
                    rows.append(row)
                    print(row, flush=True)
                    keep(options.to, "drivers", {"storage": options.storage, "rows": rows})
    for sampler in options.samplers:
        for runs in RUNS:
            mine = [r for r in rows if (r["runs"], r["sampler"]) == (runs, sampler)]
            alone = [r for r in rows if (r["runs"], r["sampler"]) == (1, sampler)]
            gain = [a["seconds"] / r["seconds"] for a, r in zip(alone, mine, strict=True)]
            vain = {k: statistics.median([r[k] for r in mine]) for k in ("doubled", "beyond")}
            print(f"{sampler:8} {runs} runs: {spread(gain)}x, {vain}")


@contextmanager
def served(kind: str) -> Iterator[Any]:
    """A function that makes a new database and returns its address."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            numbers = iter(range(10_000))
            yield lambda: f"sqlite:///{folder}/{next(numbers)}.db"
            return
        with running() as server:
            yield lambda: server.url(server.new_database())


def shared(runs: int, sampler: str, trials: int, seed: int, new_database: Any) -> dict[str, Any]:
    """One study by several runs."""
    url = new_database()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "search.run", str(STUDY), "--quiet"),
            *(f"storage={url}", f"search.trials={trials}", f"search.sampler={sampler}"),
            *(f"seed={seed}", "executor={replay: {answers: 'benchmarks.drivers:answer'}}"),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        begun = [
            subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
            for _ in range(runs)
        ]
        codes = [process.wait() for process in begun]
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:

        def one(query: str) -> Any:
            return connection.execute(sa.text(query)).scalar()

        # clocks of trials, not of processes: four starts on two cores take their time
        stamps = "select {}(at) from paretune_evaluations where trial is not null"
        row = {
            "runs": runs,
            "sampler": sampler,
            "seed": seed,
            "exit_codes": codes,
            "seconds": one(stamps.format("max")) - one(stamps.format("min")),
            "doubled": doubled(engine),
            "beyond": one("select count(*) from paretune_trials where repeats is null") - trials,
            "repeats": one("select count(*) from paretune_trials where repeats is not null"),
        }
    engine.dispose()
    return row


if __name__ == "__main__":
    main()
