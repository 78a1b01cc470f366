"""The Python interface: `Study.from_yaml(...)`, `study.run()`, `study.front()`.

The same study file, database and report as those of the commands.
"""

import html
import multiprocessing
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from search.errors import InputError
from search.evaluation import Evaluation, Job
from search.executors.executor import Ask, Tell
from search.members import best, find_member, knee_of, parse_bounds, within
from search.session import Outcome, Session
from search.spec import read_study
from search.store.records import Front as FrontRecord
from search.store.records import Keys
from search.store.view import StudyView, TrialView, view_of

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go


class Study:
    """A study file with its overrides, to be run, resumed, and asked for its front."""

    def __init__(self, file: str | Path, overrides: tuple[str, ...] = ()) -> None:
        self.file, self.overrides = str(file), overrides
        self.spec = read_study(self.file, overrides)
        self.outcome: Outcome | None = None
        """How the last `run` ended; None before."""

    @classmethod
    def from_yaml(cls, file: str | Path, *overrides: str) -> Self:
        """Read a study file; `overrides` as on the command line: `"search.trials=20"`.

        Raises:
            InputError: anything that the user must change, with place, rule and remedy.
        """
        return cls(file, overrides)

    def run(self) -> Iterator[Evaluation]:
        """Search; yields every evaluation as it is recorded, and ends when the budget is used.

        A loop that is left early (`break`) interrupts the search in good order: `run` goes on
        from there another time; an iterator that has a name is left with its `close()`. The search
        is done by a thread. With `executor: process` a script must run this under
        `if __name__ == "__main__":`, since workers import it.

        Raises:
            InputError: anything that the user must change.
            RunFailedError: the run cannot go on, for no fault of a candidate.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RuntimeError('run the study under `if __name__ == "__main__":`')
        told: queue.SimpleQueue[Evaluation | BaseException | None] = queue.SimpleQueue()
        left = threading.Event()

        def search() -> None:
            try:
                self.outcome = _search(self.file, self.overrides, told.put, left)
                told.put(None)
            except BaseException as error:  # handed on to who iterates
                told.put(error)

        thread = threading.Thread(target=search)
        thread.start()
        try:
            while (news := told.get()) is not None:
                if isinstance(news, BaseException):
                    raise news
                yield news
        finally:
            left.set()
            thread.join()

    def view(self) -> StudyView:
        """Everything that the database holds of the study.

        Raises:
            InputError: it was not run yet.
        """
        return view_of(self.spec.name, self.spec.storage)

    def front(self) -> "Front":
        """The newest front.

        Raises:
            InputError: the study was not run yet.
        """
        view = self.view()
        return Front(view, view.members)


def _search(file: str, overrides: tuple[str, ...], told: Any, left: threading.Event) -> Outcome:
    with Session.open(file, overrides) as session:
        session.plan()
        run_jobs, record = session.run_jobs, session.store.record

        def go_on(ask: Ask, tell: Tell) -> None:
            def ask_on() -> Job | None:
                # a script that has ended waits for its threads
                over = left.is_set() or not threading.main_thread().is_alive()
                return None if over else ask()

            run_jobs(ask_on, tell)

        def record_and_tell(
            evaluation: Evaluation, keys: Keys, front: FrontRecord | None = None
        ) -> None:
            record(evaluation, keys, front)
            if evaluation.trial is not None:
                told(evaluation)

        session.run_jobs = go_on
        session.store.record = record_and_tell  # type: ignore[method-assign]
        outcome = session.search("nothing")
        session.run_jobs = run_jobs
        if left.is_set() and outcome == "done":
            outcome = session.outcome = "interrupted"
        session.conclude(show=False)
        return outcome


@dataclass(frozen=True)
class Front(Sequence[TrialView]):
    """The members of a front, by the last objective; a sequence of `TrialView`."""

    view: StudyView
    members: tuple[TrialView, ...]

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, place: Any) -> Any:
        return self.members[place]

    def under(self, *bounds: str) -> "Front":
        """The members that keep bounds such as `"latency=2ms"`.

        Raises:
            InputError: not OBJECTIVE=QUANTITY, or not an objective of the study.
        """
        parsed = parse_bounds(self.view, bounds)
        return Front(self.view, tuple(m for m in self.members if within(m, parsed)))

    @property
    def knee(self) -> TrialView:
        """The member nearest to the ideal point; InputError if there is none."""
        return knee_of(self.view, self._some())

    @property
    def best(self) -> TrialView:
        """The member with the best score; InputError if there is none."""
        return best(self.view, self._some())

    def _some(self) -> tuple[TrialView, ...]:
        if not self.members:
            find_member(self.view, "knee")  # says why there is no front
            raise InputError("no member of the front keeps these bounds")
        return self.members

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a member: trial, value, low and high of each objective, then its choices.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError("to_pandas needs pandas; pip install pandas") from error
        return pd.DataFrame([_row(self.view, member) for member in self.members])

    def figures(self) -> "dict[str, go.Figure]":
        """The front in every pair of objectives, and in three dimensions: plotly figures."""
        from search.desk.figures import front_figures

        return front_figures(self.view)

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from search.desk.tables import front

        if not self.members:
            return "<p>no member</p>"
        numbers = {member.number for member in self.members}
        return f"<b>{html.escape(self.view.name)}</b>{front(self.view, numbers)}"


def _row(view: StudyView, member: TrialView) -> dict[str, Any]:
    from search.desk.importance import flat

    values: dict[str, Any] = {}
    for objective in view.objectives:
        measured = member.measurements[objective.name]
        values |= {
            objective.name: measured.value,
            f"{objective.name}_low": measured.low,
            f"{objective.name}_high": measured.high,
        }
    return {**flat(member.candidate), "trial": member.number, **values}
