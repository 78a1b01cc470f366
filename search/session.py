"""One run of a study, from the file to the report: opens everything, closes everything."""

import dataclasses
import io
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property, partial
from typing import Literal, Self

from objectives.units import format_quantity, with_unit
from search import interruption
from search.artifacts import ArtifactsAwayError, absolute, store_at
from search.confirming import Confirmer
from search.desk.answer import note
from search.errors import InputError, RunFailedError
from search.evaluate import evaluate
from search.executors.executor import Evaluate, Run, Workers
from search.loop import Loop
from search.members import best, knee_of, no_front_reason, some_of
from search.origins import OriginPricer
from search.pareto import Scale
from search.places import School, Survey
from search.plan import Planner, make_plan
from search.prices import Prices, check_conditions, known_prices, price_key
from search.progress import Form, Progress
from search.report import report_path, write_report
from search.spec import read_study
from search.state import State
from search.store.database import open_database, shown
from search.store.failures import DATABASE_ERRORS, explained
from search.store.lease import versions
from search.store.optuna_study import OptunaStudy
from search.store.store import Store
from search.store.view import StudyView, chosen_options, read_view
from search.study import StudySpec
from search.tables import (
    LISTED,
    console,
    failure_lines,
    front_table,
    known_line,
    plan_lines,
    verdict_table,
)
from search.verdicts import reasons, verdicts
from search.warm import check_earlier, earlier_trials

HEARTBEAT_S = 10.0
PROBE, PROBE_S = "probe-", 3600.0
"""What tells whether artifacts are seen: begin of its name; a killed run leaves it for so long."""
WAIT_S = 0.5
"""Between two looks whether another run has made the plan."""
PUBLISH_S = 60.0
"""The report is written again at most so often while a study runs, from the first front on."""
PUBLISH_SHARE = 0.02
"""Of a run's time that goes into reports at most, however long one of many candidates takes."""

Outcome = Literal["planned", "done", "exhausted", "interrupted"]


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
        self.prices_from: int | None = None
        self.state = State()
        self.publish_at = -math.inf
        self.stack = ExitStack()
        self.outcome: Outcome = "interrupted"

    @classmethod
    def open(
        cls,
        file: str,
        overrides: tuple[str, ...] = (),
        *,
        prices_from: int | None = None,
        alone: bool = False,
    ) -> Self:
        """Read the study file, open its database, start workers.

        `alone`: not beside another run of the study.

        Raises:
            InputError: anything that the user must change; nothing is written then.
        """
        study = read_study(file, overrides)
        if problem := store_at(study.artifacts).problem():
            raise InputError(f"artifacts: {problem}")
        with explained(study.storage, InputError), ExitStack() as stack:
            # prices of an earlier run can only come from a database that is there already
            engine = open_database(study.storage, create=prices_from is None)
            stack.callback(engine.dispose)
            store = Store(engine, study.name)
            store.check_study(study.definition())
            if alone:
                store.check_not_run()
            check_earlier(study, store)
            workers = stack.enter_context(_workers(study))
            key = price_key(study, workers.places, prices_from)
            prices = known_prices(study, store, key, prices_from)
            check_conditions(study, store, key)
            optuna = _open_optuna(study, store.num_trials)
            stack.callback(optuna.close)
            store.begin_study(study.definition(), _objective_rows(study))
            raw = {**study.raw, "storage": shown(study.storage)}
            store.begin_run(raw, versions(), key, workers.num, alone=alone)
            session = cls(study, store, optuna, prices, workers.run)
            session.prices_from = prices_from
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
        """Price random candidates and freeze the scale, unless another run did or does."""
        stored, summary = self.store.scale()
        while stored is None and self.store.older_lives():
            time.sleep(WAIT_S)
            stored, summary = self.store.scale()
        if stored is None:
            planner = Planner(self.study, self.store, self.prices)
            self.run_jobs(planner.ask, planner.tell)
            plan = make_plan(self.study, planner.evaluations)
            self.store.keep_scale(dataclasses.asdict(plan.scale), plan.summary)
            stored, summary = self.store.scale()
        self.scale, self.summary = Scale(**stored), summary
        self.outcome = "planned"

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

    def search(self, progress: Form = "line") -> Outcome:
        """Search until the budget is used; Ctrl-C ends it in good order."""
        told = Progress(self.study.search.trials, progress)

        def changed(state: State) -> None:
            interruption.act()
            told(state)
            if state.front and time.monotonic() > self.publish_at:
                try:
                    self.publish()
                except DATABASE_ERRORS:  # a report can wait, and the loop for the database
                    self.publish_at = time.monotonic() + PUBLISH_S

        earlier = earlier_trials(self.study, self.store)
        loop = Loop(self.study, self.store, self.optuna, self.prices, self.scale, changed, earlier)
        self.state = loop.state
        try:
            self.run_jobs(loop.ask, loop.tell)
            self.outcome = "exhausted" if loop.state.exhausted else "done"
            loop.tidy()
        except KeyboardInterrupt:
            self.outcome = "interrupted"
        finally:
            told.close(loop.state, "failed" if self.outcome == "planned" else self.outcome)
        return self.outcome

    def confirm(self, seeds: int, *, show: bool = True) -> StudyView:
        """Train the members of the front anew with `seeds` further seeds; returns the study.

        Raises:
            RunFailedError: not one training succeeded.
        """
        view = read_view(self.store.engine, self.study.name, whole=False)
        confirmer = Confirmer(view, self.store, seeds, self.study.epochs, self.study.seed)
        wanted = len(confirmer.waiting)
        self.run_jobs(confirmer.ask, confirmer.tell)
        self.state.busy_s += confirmer.busy_s
        for failure in confirmer.failures[:3] if show else ():
            console().print(f"not confirmed: {failure}", markup=False)
        if wanted and len(confirmer.failures) == wanted:
            raise RunFailedError(f"confirm: {confirmer.failures[0]}")
        self.outcome = "done"
        return self.publish(last=True)

    def publish(self, *, last: bool = False) -> StudyView:
        """Write the report as the study stands, for the dashboard too.

        The `last` one of a run takes the members apart: nothing is measured beside it any more.
        """
        from search.analysis.anatomy import anatomies

        start = time.monotonic()
        view = read_view(self.store.engine, self.study.name)
        path = report_path(self.study.name)
        write_report(view, path, anatomies(self.study, view) if last else None)
        self.optuna.attach(str(path), store_at(self.study.artifacts))
        self.optuna.note(note(view))
        end = time.monotonic()
        self.publish_at = end + max(PUBLISH_S, (end - start) / PUBLISH_SHARE)
        return view

    def conclude(self, *, show: bool = True) -> None:
        """Write the report, attach it for the dashboard, print the front."""
        if self.completes:
            members = read_view(self.store.engine, self.study.name, whole=False).members
            pricer = OriginPricer(self.study, self.store, self.prices, members)
            self.run_jobs(pricer.ask, pricer.tell)
        view = self.publish(last=self.outcome != "interrupted")
        if not show:
            return
        screen = console()
        for line in failure_lines(view):
            screen.print(line, markup=False)
        if not view.members:
            screen.print(f"no front: {no_front_reason(view)}", markup=False)
            return
        shown = some_of(view, view.members, LISTED)
        screen.print(front_table(view, shown))
        if len(shown) < len(view.members):
            more = f"{len(shown)} of {len(view.members)} members"
            screen.print(f"{more}, evenly; search.front --csv prints all")
        knee, top = knee_of(view, view.members).number, best(view, view.members).number
        screen.print(f"best score: trial {top}; knee: trial {knee}", markup=False)
        if known := known_line(view):
            screen.print(known, markup=False)
        if self.outcome == "exhausted":
            screen.print("the space is exhausted: nothing new is proposed")
        if self.prices_from is not None and self.prices.fresh:
            missing = f"{self.prices.fresh} prices were not in run {self.prices_from}"
            screen.print(f"{missing}; they were measured here", markup=False)
        if found := verdicts(view):
            screen.print("trained anew and scored on the test split:", markup=False)
            screen.print(verdict_table(view, found))
            for line in reasons(found):
                screen.print(line, markup=False)
        if self.outcome != "interrupted" and not self.completes:
            screen.print("another run goes on with this study; the last one to end completes it")
        screen.print(f"report: {report_path(self.study.name)}", markup=False)

    @cached_property
    def completes(self) -> bool:
        """Whether the search is over and no other run of the study is left to complete it."""
        return self.outcome != "interrupted" and self.store.last_to_end()

    @property
    def succeeded(self) -> bool:
        """Whether any candidate of the study was measured and scored to the end."""
        return self.state.counts["done"] > 0

    def _beat(self) -> None:
        while not self.stop_beating.wait(HEARTBEAT_S):
            # a database that is away now may be back at the next beat; the loop will say if not
            with suppress(RunFailedError), explained(self.study.storage):
                self.store.beat()


def _open_optuna(study: StudySpec, known_trials: Callable[[], int]) -> OptunaStudy:
    return OptunaStudy(
        study.storage,
        study.name,
        known_trials=known_trials,
        choices=study.space.open_choices,
        objectives=[(with_unit(o.name, o.unit), o.direction) for o in study.objectives],
    )


@contextmanager
def _workers(study: StudySpec) -> Iterator[Workers]:
    """Those of the study's executor, told where its artifacts are seen from elsewhere."""
    if study.executor.local:
        with study.executor.start(_evaluator(study), Survey(targets=study.timed)) as workers:
            yield workers
        return
    store, token = store_at(study.artifacts), uuid.uuid4().hex
    probe = f"{PROBE}{token}"
    for left_behind in store.older_than(PROBE_S, (PROBE,)):
        store.remove(left_behind)
    school = School(
        task=study.task,
        device=study.executor.train_device,
        num_devices=study.executor.num_devices,
        scorer=next(iter(study.targets.values())),
        artifacts=absolute(study.artifacts),
        probe=probe,
        token=token,
    )
    store.write(probe, io.BytesIO(token.encode()))
    try:
        survey = Survey(targets=study.timed, school=school)
        with study.executor.start(_evaluator(study), survey) as workers:
            yield workers
    finally:
        with suppress(ArtifactsAwayError):
            store.remove(probe)


def _evaluator(study: StudySpec) -> Evaluate:
    """What a worker does with a job, in whatever folder; picklable."""
    executor = study.executor
    return partial(
        evaluate,
        # a worker has no use for the database, nor for its password
        study=dataclasses.replace(
            study, artifacts=absolute(study.artifacts), storage=shown(study.storage)
        ),
        device=executor.train_device,
        threads=executor.num_threads,
        devices=executor.num_devices,
    )


def _objective_rows(study: StudySpec) -> list[dict[str, object]]:
    return [
        {"name": o.name, "unit": o.unit, "direction": o.direction, "limit": o.limit}
        for o in study.objectives
    ]
