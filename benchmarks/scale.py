"""What one driver carries: python -m benchmarks.scale [--to FILE].

An event-driven simulation: the real loop, sampler, Optuna study and store; workers are events.
A training to a rung takes its share of `--training` seconds, a price `PRICE_S`, both spread by
candidate (log-normal, a third); the driver takes the CPU seconds that it takes here on one core
(with a database server, seconds by the clock), and workers wait while it thinks. Costs and scores
are made up from the candidate (`benchmarks.overhead`). Then the study is opened again: seconds to
read it, to report, to resume and to propose. Told are the share of the time that workers
were busy, jobs a second, the driver's milliseconds a candidate and of these the sampler's, and
memory at the end. Busy is counted from the moment when every worker has had a job to the last
proposal. What is stored is opened in a process of its own, whose memory is told too; with
`--folder` the database stays, and `--reopen` does only this with one that is there.
"""

import argparse
import heapq
import json
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import optuna
import psutil

from benchmarks.conditions import keep
from benchmarks.overhead import LAST_RUNG, Clock, answer
from search.evaluation import Evaluation, Job, Price
from search.executors.pace import Pace
from search.loop import Loop
from search.report import write_report
from search.session import Session
from search.state import State
from search.store.optuna_study import OptunaStudy
from search.store.view import read_view
from search.tables import front_table
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
    parser.add_argument("--folder", type=Path, help="keeps the database; a temporary one if none")
    parser.add_argument("--reopen", action="store_true", help="only what is stored there")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    kept = options.to is not None and options.to.exists()
    result = json.loads(options.to.read_text()) if kept else {"rows": [], "reopened": []}
    if options.reopen:
        row = reopened(options.samplers[0], options)
        result["reopened"].append(row)
        keep(options.to, "scale", result)
        print(row)
        return
    print(
        "| sampler | workers | candidates | busy | jobs/s | ms a candidate | of these Optuna's |"
    )
    print("|" + "---|" * 7)
    for sampler in options.samplers:
        for workers in options.workers:
            with place(options) as folder:
                row = simulated(sampler, workers, folder, options)
            result["rows"].append(row)
            keep(options.to, "scale", result)
            print(
                f"| {sampler} | {workers} | {row['candidates']} | {row['busy']:.3f} "
                f"| {row['jobs_per_s']:.1f} | {row['ms']:.1f} | {row['optuna_ms']:.1f} |",
                row["stored"],
                flush=True,
            )


@contextmanager
def place(options: argparse.Namespace) -> Iterator[Path]:
    """Where the database and artifacts are."""
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        yield options.folder
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def settings_of(sampler: str, folder: Path, options: argparse.Namespace) -> tuple[str, ...]:
    """Of the study, but for its number of candidates."""
    return (
        f"storage={options.storage.replace('FOLDER', str(folder))}",
        f"artifacts={folder}/artifacts",
        "executor={replay: {answers: 'benchmarks.overhead:answer'}}",
        f"search.sampler={sampler}",
        *options.overrides,
    )


def clock_of(options: argparse.Namespace) -> Callable[[], float]:
    """CPU seconds; with a server, which computes elsewhere, seconds by the clock."""
    return time.process_time if options.storage.startswith("sqlite") else time.perf_counter


def simulated(
    sampler: str, workers: int, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """One study."""
    candidates = options.candidates or max(40, 8 * workers)
    by = clock_of(options)
    pool = Pool(workers, options.training, by)
    settings = (*settings_of(sampler, folder, options), f"search.trials={candidates}")
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
        "stored": reopened(sampler, options, folder),
    }


def reopened(
    sampler: str, options: argparse.Namespace, folder: Path | None = None
) -> dict[str, Any]:
    """What is done with a study that is there, in a process that knows nothing of it."""
    folder = folder or options.folder
    settings = (*settings_of(sampler, folder, options), "search.trials=1000000")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(stored, settings, folder, clock_of(options)).result()


def stored(settings: tuple[str, ...], folder: Path, by: Callable[[], float]) -> dict[str, Any]:
    """Seconds to open, read, report, resume and propose; memory after each."""
    seconds: dict[str, float] = {}
    memory_mb: dict[str, int] = {}
    process = psutil.Process()

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = by()
        yield
        seconds[name] = round(by() - start, 3)
        memory_mb[name] = round(process.memory_info().rss / 2**20)

    opened = OptunaStudy.__init__

    def watched(*arguments: Any, **named: Any) -> None:
        with timed("open, Optuna's share"):
            opened(*arguments, **named)

    OptunaStudy.__init__ = watched  # type: ignore[method-assign]
    memory_mb["before"] = round(process.memory_info().rss / 2**20)
    with timed("open"):
        session = Session.open(str(STUDY), settings)
    with session:
        session.plan()
        with timed("read"):
            view = read_view(session.store.engine, session.study.name)
        with timed("front"):
            front_table(view, view.members)
        with timed("report"):
            write_report(view, folder / "report.html")
        candidates = len(view.trials)
        del view
        with timed("resume"):
            loop = Loop(
                session.study,
                session.store,
                session.optuna,
                session.prices,
                session.scale,
                lambda state: None,
            )
        for name in ("ask", "ask again"):
            with timed(name):
                loop._propose()  # a job may be many of them away
    file = folder / "scale.db"
    return {
        "candidates": candidates,
        "storage": settings[0].removeprefix("storage=").split(":")[0],
        "seconds": seconds,
        "memory_mb": memory_mb,
        "database_mb": round(file.stat().st_size / 2**20, 1) if file.exists() else None,
        "report_mb": round((folder / "report.html").stat().st_size / 2**20, 1),
    }


if __name__ == "__main__":
    main()
