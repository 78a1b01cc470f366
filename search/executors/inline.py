"""One job after the other in this process: for debugging and repeatable runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.executors.executor import Ask, Evaluate, Tell, Workers
from search.places import Survey


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Inline:
    """No workers; a candidate that kills its process kills the study (which can be resumed)."""

    device: str = "cpu"
    """The device that trains: `cpu` or `cuda`."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of a training."""

    @property
    def local(self) -> bool:
        """Yes."""
        return True

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
        """One."""
        return 1

    @contextmanager
    def start(self, evaluate: Evaluate, survey: Survey) -> Iterator[Workers]:
        """A loop."""

        def run(ask: Ask, tell: Tell) -> None:
            while (job := ask()) is not None:
                tell(job, evaluate(job))

        yield Workers(run=run, num=1, places=survey.measuring(list(survey.targets)))
