"""What an executor provides."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from search.evaluation import Evaluation, Job

Evaluate = Callable[[Job], Evaluation]
Ask = Callable[[], Job | None]
"""The next job; None if there is none now. None with no job in flight ends the run."""
Tell = Callable[[Job, Evaluation], None]
Run = Callable[[Ask, Tell], None]
"""Do jobs until `ask` has no more; may be called again."""


@runtime_checkable
class Executor(Protocol):
    """A place where candidates are evaluated. Frozen dataclasses; fields are the YAML keys."""

    @property
    def num_workers(self) -> int:
        """Jobs in flight at most."""

    @property
    def train_device(self) -> str:
        """The device that trains: `cpu` or `cuda`."""

    @property
    def num_threads(self) -> int:
        """CPU threads of one job, or of each of the devices that share it."""

    @property
    def num_devices(self) -> int:
        """Devices that train one candidate together."""

    def start(self, evaluate: Evaluate) -> AbstractContextManager[Run]:
        """Workers that do jobs by `evaluate`, a picklable function, until the context ends."""
