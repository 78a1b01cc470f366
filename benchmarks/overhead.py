"""What a trial costs besides training and Optuna: python -m benchmarks.overhead [--to FILE].

The real loop, store and Optuna study on a SQLite file; a replay executor answers every job by a
formula at once. Reported per trial (a price and three rungs, three evaluations stored at most):
all seconds of the driver, less those inside Optuna's `ask` and `tell`. Windows of 20 trials around
trial 10 and trial 2,000. Without the gate's forecasts and without fan-out, whose model is no
bookkeeping; `--gate 2` adds the forecasts.
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.conditions import keep, spread
from objectives.measurement import exact, proportion
from search.evaluation import Evaluation, Job, Price, Train
from search.session import Session
from spaces.candidate import digest

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"
LAST_RUNG = 90
"""Epochs of a full training in that study."""


def answer(job: Job) -> Evaluation:
    """A made-up candidate: cost from its widths, score rising with cost and epochs."""
    width = sum(job.candidate.architecture["width"])
    key = digest(job.candidate.as_dict())
    luck = int(key[:4], 16) / 0xFFFF
    if isinstance(job, Price):
        return Evaluation(
            trial=job.trial,
            candidate=job.candidate,
            rung=0,
            status="priced",
            deploy_key=key,
            measurements={
                "flops": exact(1000.0 * width * (1 + luck), "flops"),
                "latency": exact(0.0002 * width * (1.5 - luck), "ms"),
            },
        )
    assert isinstance(job, Train), job
    score = round(359 * min(0.99, 0.3 + 0.001 * width + 0.3 * luck + 0.002 * job.until_epoch))
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.until_epoch,
        status="done" if job.until_epoch == LAST_RUNG else "trained",
        measurements={"accuracy": proportion(score, 359)},
    )


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2020)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--gate", type=float, default=0)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    ours, theirs = run(options.trials, options.sampler, options.gate)
    windows = {"trial 10": slice(0, 20), f"trial {options.trials - 20}": slice(-40, None)}
    for name, window in windows.items():
        print(f"{name:12} ours {spread(ours[window])} ms, Optuna's {spread(theirs[window])} ms")
    result = {
        "sampler": options.sampler,
        "gate": options.gate,
        "trials": options.trials,
        "median_ms": {
            name: {"ours": statistics.median(ours[w]), "optuna": statistics.median(theirs[w])}
            for name, w in windows.items()
        },
    }
    keep(options.to, "overhead", result)


def run(trials: int, sampler: str, gate: float) -> tuple[list[float], list[float]]:
    """(our milliseconds, Optuna's) of each trial, in order."""
    target = options_file()
    overrides = (
        f"search.trials={trials}",
        f"search.sampler={sampler}",
        f"search.gate={gate}",
        "search.fanout=0",
        "executor={replay: {answers: 'benchmarks.overhead:answer'}}",
    )
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        gc.freeze()  # as `search.run` does
        session = Session.open(str(target), overrides)
        with session:
            session.plan()
            clock = Clock()
            clock.watch(session.optuna.study)
            marks: list[tuple[float, float]] = []
            run_jobs = session.run_jobs

            def watched(ask: Callable[[], Job | None], tell: Any) -> None:
                def counted() -> Job | None:
                    if len(marks) < (loop_trials := ask_owner(ask).state.finished):
                        marks.extend(
                            [(time.perf_counter(), clock.total_s)] * (loop_trials - len(marks))
                        )
                    return ask()

                run_jobs(counted, tell)

            session.run_jobs = watched
            session.search("nothing")
        os.chdir(home)
    ours, theirs = [], []
    for before, after in pairwise(marks):
        optuna_s = after[1] - before[1]
        theirs.append(optuna_s * 1e3)
        ours.append((after[0] - before[0] - optuna_s) * 1e3)
    return ours, theirs


def ask_owner(ask: Any) -> Any:
    """The loop whose bound method `ask` is."""
    return ask.__self__


def options_file() -> Path:
    """The shipped study."""
    return STUDY


class Clock:
    """Seconds spent inside Optuna's ask and tell."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.total_s = 0.0

    def watch(self, study: Any) -> None:
        """Time two methods of a study from now on."""
        for name in ("ask", "tell"):
            setattr(study, name, self._timed(getattr(study, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            start = self.clock()
            try:
                return call(*arguments, **keywords)
            finally:
                self.total_s += self.clock() - start

        return timed


if __name__ == "__main__":
    main()
