"""The driver's side of workers that take jobs from a queue."""

import time
from queue import SimpleQueue
from typing import Protocol

from search.evaluation import Evaluation, Job
from search.executors.executor import Ask, Tell
from search.executors.pace import Pace

Results = SimpleQueue[tuple[Job, Evaluation | BaseException, float]]
"""A job, what came of it, and the seconds that it took."""


class Jobs(Protocol):
    """Where workers find jobs."""

    def put(self, job: Job, /) -> None:
        """Give one away."""


def drive(jobs: Jobs, results: Results, ask: Ask, tell: Tell, pace: Pace) -> None:
    """Ask and tell by turns: what came back is told first, and some jobs are asked for ahead.

    Workers take jobs from the queue themselves: none of them waits for a proposal, which may take
    a sampler longer than a job takes.
    """
    in_flight = 0
    while True:
        began = time.perf_counter()
        while results.empty() and in_flight < pace.most and (job := ask()) is not None:
            jobs.put(job)
            in_flight += 1
        if not in_flight:
            return
        asked = time.perf_counter()
        job, result, job_s = results.get()
        told = time.perf_counter()
        in_flight -= 1
        if isinstance(result, BaseException):
            raise result
        tell(job, result)
        pace.note(turn_s=time.perf_counter() - told + asked - began, job_s=job_s)
