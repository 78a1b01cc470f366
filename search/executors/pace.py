"""How far ahead of its workers an executor asks for jobs."""

import math

WEIGHT = 0.2
"""Of the newest job in the running means."""


class Pace:
    """Jobs that are asked for ahead: as many as workers end while the driver is busy.

    One always, since asking takes time; more where a proposal takes longer than a job. Never more
    than there are workers: what is asked for ahead knows less.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.turn_s = 0.0
        """Running mean of what the driver does for one job: its proposal, its decision."""
        self.job_s = 0.0
        """Running mean of what a worker does."""

    @property
    def most(self) -> int:
        """Jobs in flight at most."""
        ends = self.num_workers * self.turn_s / self.job_s if self.job_s else 0.0
        return self.num_workers + max(1, min(self.num_workers, math.ceil(ends)))

    def note(self, *, turn_s: float, job_s: float) -> None:
        """One more job is over."""
        weight = WEIGHT if self.job_s else 1.0
        self.turn_s += weight * (turn_s - self.turn_s)
        self.job_s += weight * (job_s - self.job_s)
