"""What one driver carries: python -m benchmarks.scale [--to FILE].

An event-driven simulation: the real loop, sampler, Optuna study and store; workers are events.
A training to a rung takes its share of `--training` seconds, a price `PRICE_S`, both spread by
candidate (log-normal, a third); the driver takes the CPU seconds that it takes here on one core
(with a database server, seconds by the clock), and workers wait while it thinks. Costs and scores
are made up from the candidate (`benchmarks.overhead`). Then the study is opened again: seconds to
read it, to report, to resume and to propose. Told are the share of the time that workers
were busy, jobs a second, the driver's milliseconds a candidate and of these the sampler's, and
memory at the end. Busy is counted from the moment when every worker has had a job to the last
proposal.
"""

import argparse
import heapq
import json
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from benchmarks.conditions import keep
from benchmarks.overhead import LAST_RUNG, Clock, answer
from search.evaluation import Evaluation, Job, Price
from search.executors.pace import Pace
from search.loop import Loop
from search.report import write_report
from search.session import Session
from search.state import State
from search.store.view import read_view
from spaces.candidate import digest

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"
PRICE_S = 2.0
SPREAD = 0.33
"""Standard deviation of the logarithm of a duration."""


@dataclass
class Pool:
    """Workers that compute nothing and take their time."""

    num_workers: int
    training_s: float
    clock: Callable[[], float] = time.process_time
    """Of the driver."""
    now_s: float = 0.0
    """Of the simulation."""
    busy_s: float = 0.0
    """Of all workers, while all were wanted."""
    full_at_s: float | None = None
    """When every worker had had a job."""
    last_proposal_s: float = 0.0
    thought_s: float = 0.0
    """Of the driver."""
    num_jobs: int = 0

    def run(self, ask: Callable[[], Job | None], tell: Callable[[Job, Evaluation], None]) -> None:
        """As an executor: asks ahead, tells what came back first."""
        pace = Pace(self.num_workers)
        free = [0.0] * self.num_workers
        """When each worker is free."""
        ends: list[tuple[float, int, Job, float]] = []
        intervals: list[tuple[float, float]] = []
        in_flight = 0
        while True:
            began_s = self.now_s
            while in_flight < pace.most and not (ends and ends[0][0] <= self.now_s):
                job = self._timed(ask)
                if job is None:
                    break
                self.last_proposal_s = self.now_s
                start_s = max(heapq.heappop(free), self.now_s)
                job_s = self._duration_s(job)
                heapq.heappush(free, start_s + job_s)
                heapq.heappush(ends, (start_s + job_s, self.num_jobs, job, job_s))
                intervals.append((start_s, start_s + job_s))
                self.num_jobs += 1
                in_flight += 1
                if self.full_at_s is None and in_flight > self.num_workers:
                    self.full_at_s = self.now_s
            asked_s = self.now_s - began_s
            if not ends:
                break
            end_s, _, job, job_s = heapq.heappop(ends)
            self.now_s = max(self.now_s, end_s)
            told_s = self.now_s
            self._timed(lambda job=job: tell(job, answer(job)))  # type: ignore[misc]
            in_flight -= 1
            pace.note(turn_s=self.now_s - told_s + asked_s, job_s=job_s)
        first, last = self.full_at_s or 0.0, self.last_proposal_s
        self.busy_s = sum(max(0.0, min(e, last) - max(s, first)) for s, e in intervals)

    @property
    def busy(self) -> float:
        """Share of the workers' time."""
        whole = self.num_workers * (self.last_proposal_s - (self.full_at_s or 0.0))
        return self.busy_s / whole if whole > 0 else math.nan

    def _timed(self, act: Callable[[], Any]) -> Any:
        start = self.clock()
        result = act()
        spent = self.clock() - start
        self.now_s += spent
        self.thought_s += spent
        return result

    def _duration_s(self, job: Job) -> float:
        luck = int(digest([job.candidate.as_dict(), job.rung])[:8], 16) / 0xFFFFFFFF
        factor = math.exp(SPREAD * statistics.NormalDist().inv_cdf(min(max(luck, 1e-6), 1 - 1e-6)))
        if isinstance(job, Price):
            return PRICE_S * factor
        return self.training_s * factor * job.rung / LAST_RUNG


def main() -> None:
    """Run what is missing, keep, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samplers", nargs="*", default=["random", "ehvi"])
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2, 64, 256, 1000])
    parser.add_argument(
        "--candidates", type=int, default=0, help="default 8 a worker, 40 at least"
    )
    parser.add_argument("--training", type=float, default=60.0, help="seconds of a full training")
    parser.add_argument("--storage", default="sqlite:///FOLDER/scale.db")
    parser.add_argument("--overrides", nargs="*", default=[])
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    kept = options.to is not None and options.to.exists()
    rows = json.loads(options.to.read_text())["rows"] if kept else []
    print(
        "| sampler | workers | candidates | busy | jobs/s | ms a candidate | of these Optuna's |"
    )
    print("|" + "---|" * 7)
    for sampler in options.samplers:
        for workers in options.workers:
            row = simulated(sampler, workers, options)
            rows.append(row)
            keep(options.to, "scale", {"rows": rows})
            print(
                f"| {sampler} | {workers} | {row['candidates']} | {row['busy']:.3f} "
                f"| {row['jobs_per_s']:.1f} | {row['ms']:.1f} | {row['optuna_ms']:.1f} |",
                row["stored_s"],
                flush=True,
            )


def simulated(sampler: str, workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """One study."""
    candidates = options.candidates or max(40, 8 * workers)
    by = time.process_time if options.storage.startswith("sqlite") else time.perf_counter
    pool = Pool(workers, options.training, by)
    with tempfile.TemporaryDirectory() as folder:
        settings = (
            f"storage={options.storage.replace('FOLDER', folder)}",
            f"artifacts={folder}/artifacts",
            "executor={replay: {answers: 'benchmarks.overhead:answer'}}",
            f"search.trials={candidates}",
            f"search.sampler={sampler}",
            *options.overrides,
        )
        with Session.open(str(STUDY), settings) as session:
            session.plan()
            clock = Clock(by)
            clock.watch(session.optuna.study)
            marks: dict[int, float] = {}

            def watched(state: State) -> None:
                if state.finished % max(1, candidates // 20) == 0:
                    marks.setdefault(state.finished, round(pool.thought_s, 1))

            loop = Loop(
                session.study,
                session.store,
                session.optuna,
                session.prices,
                session.scale,
                watched,
            )
            started = time.perf_counter()
            pool.run(loop.ask, loop.tell)
            driver_s = time.perf_counter() - started
            finished = loop.state.finished
        file = Path(folder) / "scale.db"
        megabytes = round(file.stat().st_size / 2**20, 1) if file.exists() else None
        after = stored(settings, Path(folder), by)
    return {
        "sampler": sampler,
        "workers": workers,
        "training_s": options.training,
        "storage": options.storage.split(":")[0],
        "overrides": options.overrides,
        "candidates": finished,
        "jobs": pool.num_jobs,
        "busy": round(pool.busy, 4),
        "jobs_per_s": round(pool.num_jobs / pool.now_s, 2),
        "simulated_s": round(pool.now_s, 1),
        "driver_s": round(driver_s, 1),
        "ms": round(1e3 * pool.thought_s / finished, 2),
        "optuna_ms": round(1e3 * clock.total_s / finished, 2),
        "thought_s": marks,
        "max_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "database_mb": megabytes,
        "stored_s": after,
    }


def stored(settings: tuple[str, ...], folder: Path, by: Callable[[], float]) -> dict[str, float]:
    """Seconds of what is done with a study that is there: read, report, resume, one proposal."""
    seconds: dict[str, float] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        start = by()
        result = act()
        seconds[name] = round(by() - start, 3)
        return result

    more = (*settings, "search.trials=1000000")
    with timed("open", lambda: Session.open(str(STUDY), more)) as session:
        session.plan()
        view = timed("read", lambda: read_view(session.store.engine, session.study.name))
        timed("report", lambda: write_report(view, folder / "report.html"))
        loop = timed(
            "resume",
            lambda: Loop(
                session.study,
                session.store,
                session.optuna,
                session.prices,
                session.scale,
                lambda state: None,
            ),
        )
        timed("ask", loop.ask)
        timed("ask again", loop.ask)
    return seconds


if __name__ == "__main__":
    main()
