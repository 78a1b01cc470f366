"""What Ray, Tune and we cost beside free jobs: python -m benchmarks.ray_overhead [--to FILE].

A job answers by a formula at once (`benchmarks.overhead`). Side by side, each in a process of its
own, with as many workers as cores, a few seeds by turns:

- `ray.remote`: tasks, twice as many in flight as workers; nothing proposed, nothing stored;
- `OptunaSearch`: Tune with Optuna's random sampler over the study's own parameters, one trial a
  candidate, a single report, actors reused, a SQLite study as ours has;
- `paretune`: our loop and store on SQLite with a sampler of its own, on the `ray` executor.

Told are milliseconds a job (a trial of OptunaSearch is one job; our candidates are a price and up
to three trainings) after the first hundredth, and seconds from the process's start to the first
result.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.conditions import keep, spread
from search.executors.ray_tune.environment import prepare

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "digits.yaml"
WAYS = ("ray.remote", "OptunaSearch", "paretune")
WORKERS = 2


class Watch:
    """Counts jobs that are done; seconds are those since `began`."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.at: list[float] = []

    def done(self) -> None:
        """One more."""
        self.at.append(time.time() - self.began)

    @property
    def figures(self) -> dict[str, float]:
        """To print."""
        skipped = max(1, len(self.at) // 100)
        counted = self.at[skipped:]
        return {
            "first_s": self.at[0],
            "jobs": len(self.at),
            "ms_a_job": 1e3 * (counted[-1] - self.at[skipped - 1]) / len(counted),
        }


def main() -> None:
    """Run every way by turns, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--candidates", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", choices=WAYS, help="what a process of its own does")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--began", type=float, default=0.0)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    if options.one:
        watch = Watch(options.began)
        DOES[options.one](options.candidates, options.seed, watch)
        print(json.dumps({**watch.figures, "end_s": time.time() - options.began}))
        return
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for way in WAYS:
            rows.append({"way": way, "seed": seed, **apart(way, options.candidates, seed)})
            print(rows[-1], flush=True)
    print(f"{'':14}{'ms a job':>24}{'s to the first':>24}")
    for way in WAYS:
        mine = [row for row in rows if row["way"] == way]
        job, first = (spread([row[key] for row in mine]) for key in ("ms_a_job", "first_s"))
        print(f"{way:14}{job:>24}{first:>24}")
    keep(options.to, "ray_overhead", {"workers": WORKERS, "rows": rows})


def apart(way: str, candidates: int, seed: int) -> dict[str, float]:
    """The figures of one process."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.ray_overhead", "--one", way),
                *("--candidates", str(candidates), "--seed", str(seed)),
                *("--began", repr(time.time())),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def by_tasks(candidates: int, seed: int, watch: Watch) -> None:
    """Tasks that answer about one candidate of the study's."""
    prepare()
    import ray

    from benchmarks.overhead import answer
    from search.evaluation import Price
    from search.plan import draw_candidates
    from search.spec import read_study

    [candidate, *_] = draw_candidates(read_study(str(STUDY), ("search.plan=8", f"seed={seed}")))
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    task = ray.remote(answer)
    job = Price(trial=0, candidate=candidate)
    flying = [task.remote(job) for _ in range(2 * WORKERS)]
    for _ in range(candidates):
        [first], flying = ray.wait(flying, num_returns=1)
        ray.get(first)
        watch.done()
        flying.append(task.remote(job))
    ray.shutdown()


def by_optuna_search(candidates: int, seed: int, watch: Watch) -> None:
    """One Tune trial a candidate, as Ray's documentation has it."""
    prepare()
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from search.samplers.distributions import distributions
    from search.spec import read_study

    width = "architecture.convnet.width.1"

    def train(parameters: dict[str, Any]) -> None:
        cost = float(parameters[width])
        tune.report({"accuracy": cost / 100, "flops": 1000 * cost, "latency": 0.0002 * cost})

    class Done(tune.Callback):  # type: ignore[misc]  # untyped
        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            watch.done()

    choices = read_study(str(STUDY)).space.open_choices
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    optuna.logging.disable_default_handler()
    tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                space=distributions(choices),
                metric=["accuracy", "flops", "latency"],
                mode=["max", "min", "min"],
                sampler=optuna.samplers.RandomSampler(seed=seed),
                storage=optuna.storages.RDBStorage("sqlite:///optuna.db"),
            ),
            num_samples=candidates,
            max_concurrent_trials=WORKERS,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd()), verbose=0, callbacks=[Done()]),
    ).fit()
    ray.shutdown()


def by_us(candidates: int, seed: int, watch: Watch) -> None:
    """Loop, sampler, store and the Ray executor."""
    from benchmarks.overhead import answer
    from search.evaluation import Evaluation, Job
    from search.executors.ray_tune import Ray
    from search.loop import Loop
    from search.places import Survey
    from search.session import Session

    settings = (
        f"search.trials={candidates}",
        "search.sampler=random",
        "search.gate=0",
        "search.fanout=0",
        f"seed={seed}",
        "executor={replay: {answers: 'benchmarks.overhead:answer'}}",
    )
    with (
        Session.open(str(STUDY), settings) as session,
        Ray(workers=WORKERS).start(answer, Survey()) as workers,
    ):
        session.plan()
        loop = Loop(
            session.study,
            session.store,
            session.optuna,
            session.prices,
            session.scale,
            lambda state: None,
        )

        def tell(job: Job, evaluation: Evaluation) -> None:
            loop.tell(job, evaluation)
            watch.done()

        workers.run(loop.ask, tell)


DOES: dict[str, Callable[[int, int, Watch], None]] = {
    "ray.remote": by_tasks,
    "OptunaSearch": by_optuna_search,
    "paretune": by_us,
}


if __name__ == "__main__":
    main()
