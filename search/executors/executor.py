"""What an executor provides."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from search.evaluation import Evaluation, Job
from search.places import Place, Survey

Evaluate = Callable[[Job], Evaluation]
Ask = Callable[[], Job | None]
"""The next job; None if there is none now. None with no job in flight ends the run."""
Tell = Callable[[Job, Evaluation], None]
Run = Callable[[Ask, Tell], None]
"""Do jobs until `ask` has no more; may be called again."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Those who do the jobs of a study."""

    run: Run
    num: int
    """Jobs that they do at a time."""
    places: Mapping[str, Place]
    """Target -> the machine that measures on it."""


@runtime_checkable
class Executor(Protocol):
    """A place where candidates are evaluated. Frozen dataclasses; fields are the YAML keys."""

    @property
    def local(self) -> bool:
        """Whether all jobs are done on this machine: its devices can be checked here and now."""

    @property
    def train_device(self) -> str:
        """The device that trains: `cpu` or `cuda`."""

    @property
    def num_threads(self) -> int:
        """CPU threads of one job, or of each of the devices that share it."""

    @property
    def num_devices(self) -> int:
        """Devices that train one candidate together."""

    def start(self, evaluate: Evaluate, survey: Survey) -> AbstractContextManager[Workers]:
        """Workers that do jobs by `evaluate`, a picklable function, until the context ends.

        Raises:
            InputError: no machine can be what `survey` asks.
        """
