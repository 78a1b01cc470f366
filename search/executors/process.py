"""Local worker processes, each with its own pipe: a dying one takes only its own job with it."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from queue import SimpleQueue

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.evaluation import Evaluation, Job
from search.executors.driving import Results, drive
from search.executors.early import start_fork_server
from search.executors.executor import Ask, Evaluate, Tell, Workers
from search.executors.lost import lost
from search.executors.pace import Pace
from search.places import Survey


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Process:
    """Worker processes on this machine."""

    workers: int | None = Field(default=None, ge=1)
    """Jobs at a time; default the cores that this process may use."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of a job."""
    device: str = "cpu"
    """The device that trains: `cpu` or `cuda`; several workers may share a GPU."""
    devices_per_candidate: int = Field(default=1, ge=1)
    """Devices that train one candidate together, from `cuda:0` on; on the CPU so many processes.
    The result is that of one device but for rounding and dropout."""

    @property
    def local(self) -> bool:
        """Yes."""
        return True

    @property
    def num_workers(self) -> int:
        """As given, else the usable cores over the threads of a job."""
        threads = self.threads * self.devices_per_candidate
        return self.workers or max(1, len(os.sched_getaffinity(0)) // threads)

    @property
    def train_device(self) -> str:
        """As given."""
        return self.device

    @property
    def num_threads(self) -> int:
        """As given."""
        return self.threads

    @property
    def num_devices(self) -> int:
        """As given."""
        return self.devices_per_candidate

    @contextmanager
    def start(self, evaluate: Evaluate, survey: Survey) -> Iterator[Workers]:
        """Workers start on their first job and stay warm until the context ends."""
        start_fork_server()
        jobs: _Jobs = SimpleQueue()
        results: Results = SimpleQueue()
        # a daemon may have no children; all of them end with the driver as it is
        daemon = self.num_devices == 1
        workers = [_Worker(evaluate, jobs, results, daemon) for _ in range(self.num_workers)]

        def run(ask: Ask, tell: Tell) -> None:
            drive(jobs, results, ask, tell, Pace(self.num_workers))

        try:
            places = survey.measuring(list(survey.targets))
            yield Workers(run=run, num=self.num_workers, places=places)
        finally:
            for worker in workers:
                worker.stopping = True
                jobs.put(None)
            for worker in workers:
                worker.stop()


_Jobs = SimpleQueue[Job | None]


class _Worker:
    """A process that does jobs, and a thread of the driver that hands them to it."""

    def __init__(self, evaluate: Evaluate, jobs: _Jobs, results: Results, daemon: bool) -> None:
        self.evaluate, self.daemon = evaluate, daemon
        self.jobs, self.results = jobs, results
        self.stopping = False
        self.process, self.pipe = self._started()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End both, whatever they are at."""
        while self.thread.is_alive():
            with suppress(ValueError):  # its thread has just closed a dead one
                self.process.kill()
            self.thread.join(timeout=0.1)
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()

    def _started(self) -> tuple[ForkServerProcess, Connection]:
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.evaluate), daemon=self.daemon)
        process.start()
        theirs.close()
        return process, ours

    def _serve(self) -> None:
        while not self.stopping and (job := self.jobs.get()) is not None:
            start = time.perf_counter()
            try:
                result: Evaluation | BaseException = self._done(job)
            except BaseException as error:  # of ours; the driver raises it
                result = error
            self.results.put((job, result, time.perf_counter() - start))

    def _done(self, job: Job) -> Evaluation:
        """What the process makes of a job; a new process is started in place of one that died."""
        try:
            self.pipe.send(job)
            evaluation: Evaluation = self.pipe.recv()
            return evaluation
        except (EOFError, OSError):
            dead, pipe = self.process, self.pipe
            dead.join()
            evaluation = lost(job, _cause(dead.exitcode))
            if not self.stopping:
                self.process, self.pipe = self._started()
                pipe.close()
                dead.close()
            return evaluation


def _work(pipe: Connection, evaluate: Evaluate) -> None:
    """Do jobs from the pipe until the other end is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the driver decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_driver, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            pipe.send(evaluate(pipe.recv()))


def _die_with_driver() -> None:
    """A driver that was killed leaves no worker computing behind it."""
    driver = multiprocessing.parent_process()
    assert driver is not None
    driver.join()
    os._exit(1)


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"its worker ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = "; perhaps the system ran out of memory" if name == "SIGKILL" else ""
    return f"its worker was killed by {name}{hint}"
