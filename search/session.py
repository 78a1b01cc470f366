"""One run of a study, from the file to the report: opens everything, closes everything."""

import dataclasses
import threading
from contextlib import ExitStack
from functools import partial
from typing import Literal, Self

from objectives.units import format_quantity
from search.artifacts import Folder
from search.errors import InputError
from search.evaluate import evaluate
from search.executors.executor import Evaluate, Run
from search.loop import REPEATS_IN_A_ROW, Loop
from search.members import best, knee_of, no_front_reason
from search.pareto import Scale
from search.plan import Planner, make_plan
from search.prices import Prices, known_prices, price_key
from search.progress import LiveLine
from search.report import report_path, write_report
from search.spec import read_study
from search.state import State
from search.store.database import open_database, shown
from search.store.lease import versions
from search.store.optuna_study import OptunaStudy
from search.store.store import Store
from search.store.view import chosen_options, read_view
from search.study import StudySpec
from search.tables import console, failure_lines, front_table, plan_lines

HEARTBEAT_S = 10.0

Outcome = Literal["done", "exhausted", "interrupted"]


class Session:
    """A run: `plan`, `search`, `conclude`, in this order, inside a `with`."""

    def __init__(
        self,
        study: StudySpec,
        store: Store,
        optuna: OptunaStudy,
        prices: Prices,
        run_jobs: Run,
    ) -> None:
        self.study = study
        self.store = store
        self.optuna = optuna
        self.prices = prices
        self.run_jobs = run_jobs
        self.state = State()
        self.stack = ExitStack()
        self.outcome: Outcome = "interrupted"

    @classmethod
    def open(
        cls, file: str, overrides: tuple[str, ...] = (), *, prices_from: int | None = None
    ) -> Self:
        """Read the study file, open its database, start workers.

        Raises:
            InputError: anything that the user must change; nothing is written then.
        """
        study = read_study(file, overrides)
        if problem := Folder(study.artifacts).problem():
            raise InputError(f"artifacts: {problem}")
        with ExitStack() as stack:
            # prices of an earlier run can only come from a database that is there already
            engine = open_database(study.storage, create=prices_from is None)
            stack.callback(engine.dispose)
            store = Store(engine, study.name)
            prices = known_prices(study, store, prices_from)
            store.begin_study(study.definition(), _objective_rows(study))
            optuna = _open_optuna(study)
            stack.callback(optuna.close)
            if optuna.num_trials < store.num_trials():
                raise InputError(
                    f"name: the trials of study {study.name!r} were deleted in Optuna; "
                    "give the study another name"
                )
            raw = {**study.raw, "storage": shown(study.storage)}
            store.begin_run(raw, versions(), price_key(study), study.executor.num_workers)
            run_jobs = stack.enter_context(study.executor.start(_evaluator(study)))
            session = cls(study, store, optuna, prices, run_jobs)
            session.stack = stack.pop_all()
        return session

    def __enter__(self) -> Self:
        self.stop_beating = threading.Event()
        self.beating = threading.Thread(target=self._beat, daemon=True)
        self.beating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_beating.set()
        self.beating.join()
        self.store.end_run(self.outcome, self.state.busy_s)
        self.stack.close()

    def plan(self) -> None:
        """Price random candidates and freeze the scale, unless an earlier run did."""
        stored, summary = self.store.scale()
        if stored is None:
            planner = Planner(self.study, self.store, self.prices)
            self.run_jobs(planner.ask, planner.tell)
            plan = make_plan(self.study, planner.evaluations)
            stored, summary = dataclasses.asdict(plan.scale), dict(plan.summary)
            self.store.keep_scale(stored, summary)
        self.scale, self.summary = Scale(**stored), summary

    def print_plan(self) -> None:
        """Say what is about to be searched."""
        units = {o.name: o.unit for o in self.study.objectives}
        signs = {"minimize": "<=", "maximize": ">="}
        limits = [
            f"{o.name} {signs[o.direction]} {format_quantity(o.limit, o.unit)}"
            for o in self.study.objectives
            if o.limit is not None
        ]
        screen = console()
        place = f"run {self.store.run}, {shown(self.study.storage)}"
        screen.print(f"study {self.study.name}, {place}", style="bold")
        for line in plan_lines(self.summary, units, limits, chosen_options(self.study.raw)):
            screen.print(line, markup=False, overflow="fold")

    def search(self, *, show: bool = True) -> Outcome:
        """Search until the budget is used; Ctrl-C ends it in good order."""
        live = LiveLine(self.study.search.trials, enabled=show)
        loop = Loop(self.study, self.store, self.optuna, self.prices, self.scale, live)
        self.state = loop.state
        try:
            self.run_jobs(loop.ask, loop.tell)
            self.outcome = "exhausted" if loop.state.exhausted else "done"
            loop.files.sweep(loop.trials, loop.state.front)
        except KeyboardInterrupt:
            self.outcome = "interrupted"
        finally:
            live.close()
        return self.outcome

    def conclude(self, *, show: bool = True) -> None:
        """Write the report, attach it for the dashboard, print the front."""
        view = read_view(self.store.engine, self.study.name)
        path = report_path(self.study.name)
        write_report(view, path)
        if self.outcome != "interrupted":
            self.optuna.attach(str(path), Folder(self.study.artifacts))
        if not show:
            return
        screen = console()
        for line in failure_lines(view):
            screen.print(line, markup=False)
        if not view.members:
            screen.print(f"no front: {no_front_reason(view)}", markup=False)
            return
        screen.print(front_table(view, view.members))
        knee, top = knee_of(view, view.members).number, best(view, view.members).number
        screen.print(f"best score: trial {top}; knee: trial {knee}", markup=False)
        if self.outcome == "exhausted":
            screen.print(
                f"the space is exhausted: {REPEATS_IN_A_ROW} proposals in a row were known"
            )
        screen.print(f"report: {path}", markup=False)

    @property
    def succeeded(self) -> bool:
        """Whether any candidate of the study was measured and scored to the end."""
        return self.state.counts["done"] > 0

    def _beat(self) -> None:
        while not self.stop_beating.wait(HEARTBEAT_S):
            self.store.beat()


def _open_optuna(study: StudySpec) -> OptunaStudy:
    return OptunaStudy(
        study.storage,
        study.name,
        choices=study.space.open_choices,
        objectives=[(o.name, o.direction) for o in study.objectives],
        sampler=study.search.sampler,
        seed=study.seed,
        trials=study.search.trials,
    )


def _evaluator(study: StudySpec) -> Evaluate:
    """What a worker does with a job; picklable."""
    executor = study.executor
    return partial(
        evaluate, study=study, device=executor.train_device, threads=executor.num_threads
    )


def _objective_rows(study: StudySpec) -> list[dict[str, object]]:
    return [
        {"name": o.name, "unit": o.unit, "direction": o.direction, "limit": o.limit}
        for o in study.objectives
    ]
