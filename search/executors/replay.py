"""Answers from a table or a formula: searches tried without training."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic.dataclasses import dataclass

from search.executors.executor import Ask, Evaluate, Tell, Workers
from search.places import Survey


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Replay:
    """Every job is answered at once by a function of the user's."""

    answers: str
    """Import path `package.module:function` of `(job) -> Evaluation`."""

    def __post_init__(self) -> None:
        """Find the function now, not when the study runs."""
        self._function()

    @property
    def local(self) -> bool:
        """Yes."""
        return True

    @property
    def train_device(self) -> str:
        """Nothing is trained."""
        return "cpu"

    @property
    def num_threads(self) -> int:
        """Nothing is computed."""
        return 1

    @property
    def num_devices(self) -> int:
        """One."""
        return 1

    @contextmanager
    def start(self, evaluate: Evaluate, survey: Survey) -> Iterator[Workers]:
        """`evaluate` is not used: the table knows."""
        answer = self._function()

        def run(ask: Ask, tell: Tell) -> None:
            while (job := ask()) is not None:
                tell(job, answer(job))

        yield Workers(run=run, num=1, places=survey.measuring(list(survey.targets)))

    def _function(self) -> Evaluate:
        module, _, name = self.answers.partition(":")
        try:
            found: Evaluate = vars(importlib.import_module(module))[name]
        except (ImportError, KeyError, ValueError) as error:
            raise ValueError(
                f"{self.answers!r} cannot be imported ({type(error).__name__}: {error}); "
                "write package.module:function"
            ) from error
        return found
