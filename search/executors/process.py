"""Local worker processes, each with its own pipe: a dying one takes only its own job with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass as plain_dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.evaluation import Evaluation, Job
from search.executors.early import start_fork_server
from search.executors.executor import Ask, Evaluate, Run, Tell


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
    def start(self, evaluate: Evaluate) -> Iterator[Run]:
        """Workers start on their first job and stay warm until the context ends."""
        context = multiprocessing.get_context("forkserver")
        start_fork_server()
        # a daemon may have no children; all of them end with the driver as it is
        start = partial(_start_worker, context, evaluate, daemon=self.num_devices == 1)
        workers = [start() for _ in range(self.num_workers)]

        def run(ask: Ask, tell: Tell) -> None:
            _drive(workers, ask, tell, start)

        try:
            yield run
        finally:
            for worker in workers:
                worker.stop()


@plain_dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    job: Job | None = None

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()


def _start_worker(context: ForkServerContext, evaluate: Evaluate, *, daemon: bool) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, evaluate), daemon=daemon)
    process.start()
    theirs.close()
    return _Worker(process, ours)


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


def _drive(workers: list[_Worker], ask: Ask, tell: Tell, renew: Callable[[], _Worker]) -> None:
    """Give idle workers jobs, tell what comes back, replace the dead.

    While all are busy, one job is asked for ahead: a proposal takes a sampler longer than a worker
    should wait.
    """
    ahead: Job | None = None
    while True:
        for worker in workers:
            if worker.job is None and (job := ahead or ask()) is not None:
                worker.job, ahead = job, None
                with suppress(OSError):  # a dead worker shows at its pipe below
                    worker.pipe.send(job)
        busy = {worker.pipe: index for index, worker in enumerate(workers) if worker.job}
        if not busy:
            return
        if ahead is None and not wait(list(busy), timeout=0):
            ahead = ask()
        for pipe in wait(list(busy)):
            index = busy[pipe]  # type: ignore[index]  # wait returns what it was given
            _answer(workers, index, tell, renew)


def _answer(workers: list[_Worker], index: int, tell: Tell, renew: Callable[[], _Worker]) -> None:
    worker, job = workers[index], workers[index].job
    assert job is not None
    worker.job = None
    try:
        evaluation = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        evaluation = lost(job, _cause(worker.process.exitcode))
        worker.stop()
        workers[index] = renew()
    tell(job, evaluation)


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"its worker ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    hint = "; perhaps the system ran out of memory" if name == "SIGKILL" else ""
    return f"its worker was killed by {name}{hint}"


def lost(job: Job, cause: str) -> Evaluation:
    """What is known of a job whose worker died: why."""
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status="lost",
        reason=cause,
    )
