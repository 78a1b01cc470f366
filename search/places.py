"""What a machine must be to measure or to train for a study: told by the machine itself.

An executor may have its workers elsewhere; each of them answers a `Survey` before its first job.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from objectives.device import missing_device
from objectives.measurement import Condition
from objectives.parallel import devices_of
from objectives.target import Target
from objectives.tasks import Task, TaskError, load
from search.artifacts import store_at
from search.store.lease import versions


@dataclass(frozen=True, kw_only=True)
class Place:
    """A machine that measures on a target, or trains."""

    device: Mapping[str, Condition]
    """What identifies the target's device there; empty where nothing is measured."""
    versions: Mapping[str, Any]
    """System and libraries there."""
    problem: str | None = None
    """Why it cannot do it."""
    niceness: int = 0
    """Above 0 others come first: what is timed there takes longer beside any other process."""


@dataclass(frozen=True, kw_only=True)
class School:
    """What training needs of a machine."""

    task: Task
    device: str
    num_devices: int
    scorer: Target
    """As whose runtime deploys a trained network it is scored."""
    artifacts: str
    probe: str
    """An artifact that the driver has written there ..."""
    token: str
    """... and what is in it."""

    def problem(self) -> str | None:
        """The reason why this machine cannot train and score, or None."""
        for device in devices_of(self.device, self.num_devices):
            if reason := missing_device(device):
                return f"executor: {reason}"
        if reason := self.scorer.runtime.check(self.scorer.device):
            return f"what is trained there cannot be scored there: {reason}"
        try:
            load(self.task)
        except TaskError as error:
            return f"task: {error}"
        return self._unseen()

    def _unseen(self) -> str | None:
        try:
            with store_at(self.artifacts).open_reader(self.probe) as file:
                if file.read() == self.token.encode():
                    return None
            why = "something else is there"
        except Exception as error:
            why = type(error).__name__
        return (
            f"artifacts: what the driver writes to {self.artifacts} is not seen there ({why}); "
            "name a folder that all machines share, or s3://BUCKET"
        )


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a study asks of machines. Picklable."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    """Those on which something is measured."""
    school: School | None = None

    def measuring(self, names: Sequence[str]) -> dict[str, Place]:
        """Target -> this machine as the one that measures on it."""
        return {name: _place(self.targets[name]) for name in names}

    def training(self) -> Place:
        """This machine as one that trains."""
        problem = self.school.problem() if self.school else None
        return Place(device={}, versions=versions(), problem=problem)


def _place(target: Target) -> Place:
    problem = target.check()
    device = {} if problem else target.description()
    return Place(device=device, versions=versions(), problem=problem, niceness=os.nice(0))
