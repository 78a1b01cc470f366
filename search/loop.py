"""The spine: jobs out, evaluations in. Decides what happens next to every candidate.

A candidate's way: proposed -> priced -> (infeasible) -> trained to a rung -> (stopped) -> ... ->
done. Every step is one transaction of ours; only then is Optuna told, so that whatever is cut off
can be told again. Other runs may share the study: before each step we take up what they stored.
"""

import dataclasses
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import numpy as np
from threadpoolctl import ThreadpoolController

from objectives.device import MACHINE, Turnstile
from objectives.tasks import load
from objectives.training.settings import BEST_TEACHER
from objectives.units import parse_quantity
from search.artifacts import store_at
from search.children import Children
from search.errors import RunFailedError
from search.evaluation import Artifact, Evaluation, Job, Price, Status, Train, worked_s
from search.files import Files
from search.keys import keys_of
from search.known import StudyKnowledge
from search.pareto import Array, Scale, hypervolume, losses, non_dominated
from search.prices import Prices
from search.state import Known, State
from search.store.optuna_study import OptunaStudy
from search.store.others import Others
from search.store.records import Front, Keys, StoredTrial
from search.store.store import BehindError, Store
from search.store.stored import PRICED
from search.strategy.gate import broken_limit, violations
from search.strategy.outlook import Outlook
from search.strategy.rungs import Rung
from search.study import StudySpec
from search.warm import Earlier
from spaces.candidate import Candidate
from spaces.choice import Scalar

REPEATS_IN_A_ROW = 200
"""Known candidates proposed one after the other until the space counts as exhausted."""
SEED_OF_A_RUN = 104_729
"""Added to the sampler's seed for every older run that lives: each is to propose for itself."""
ENUMERABLE = 500
"""Assignments up to which a space is enumerated, to know when every candidate has been tried."""


class Loop:
    """`ask` gives an executor its next job, `tell` takes what became of it."""

    def __init__(
        self,
        study: StudySpec,
        store: Store,
        optuna: OptunaStudy,
        prices: Prices,
        scale: Scale,
        on_change: Callable[[State], None],
        earlier: Mapping[str, Earlier] = MappingProxyType({}),
    ) -> None:
        """`earlier`: candidate key -> what an earlier study knows of it."""
        self.study = study
        self.store = store
        self.optuna = optuna
        self.prices = prices
        self.scale = scale
        self.on_change = on_change
        self.files = Files(store, store_at(study.artifacts), study.epochs)
        self.turnstile = Turnstile(MACHINE)
        self.libraries = ThreadpoolController()
        self.state = State()
        self.ready: deque[Job] = deque()
        self.trials: dict[int, Known] = {}
        self.known = StudyKnowledge(study, prices, scale, self.trials, store.planned())
        self.outlook = Outlook(self.known, study.search.gate)
        self.first: dict[str, int] = {}
        """Candidate key -> the trial that had it first."""
        self.twins: dict[tuple[str, str], int] = {}
        """(train key, deploy key) -> the first trial of this network with these weights."""
        self.merged: dict[int, int] = {}
        """Trial -> the one that it repeats, which may repeat another in its turn."""
        self.followers: dict[int, list[int]] = {}
        """Trial in flight -> repeats that wait for its result."""
        self.retried: set[tuple[int, int]] = set()
        self.others = Others(store)
        self.elsewhere: dict[int, str] = {}
        """Trial in flight in another run -> its train key."""
        self.earlier = earlier
        self.children = Children(study, optuna, self.files)
        self.rungs: defaultdict[int, Rung] = defaultdict(lambda: Rung(len(study.objectives)))
        """Epochs -> everyone who was scored there."""
        self.values: dict[int, tuple[float, ...]] = {}
        """Trial that is done -> value of every objective."""
        self.repeats_in_a_row = 0
        self.num_distinct = _num_distinct(study)
        self.deadline = self._deadline()
        self.others.gone()
        optuna.propose_by(
            study.search.sampler,
            seed=study.seed + SEED_OF_A_RUN * sum(n < store.run for n in self.others.living),
            trials=study.search.trials,
            known=self.known,
        )
        self._resume()
        self.to_take_over = deque(e for key, e in earlier.items() if key not in self.first)

    # --- what an executor calls ---

    def ask(self) -> Job | None:
        """The next job, or None while there is nothing to do."""
        while True:
            while not self.ready:
                self._catch_up()
                if self.ready:  # left by a run that is gone
                    break
                if self.to_take_over:
                    self._take_over(self.to_take_over.popleft())
                elif self._enough():
                    return None
                else:
                    self._propose()
            job = self.ready.popleft()
            if not self._answered(job):
                return job

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        """Take the result of a job and decide what follows."""
        assert job.trial is not None, job
        self._catch_up()
        trial = self.trials[job.trial]
        if isinstance(job, Train):
            self.files.training[trial.keys.train_key] -= 1
        self.state.busy_s += worked_s(evaluation.seconds)
        if evaluation.status == "away":
            raise RunFailedError(f"{evaluation.reason}; the same command goes on from here")
        if evaluation.status == "lost":
            self._retry(job, evaluation)
        elif evaluation.status == "failed":
            self._finish(trial, evaluation)
        elif evaluation.status == "priced":
            self._priced(trial, evaluation)
        else:
            self._scored(trial, evaluation)
        self.on_change(self.state)

    # --- one candidate's way ---

    def _propose(self) -> None:
        with self._thinking():
            number, parameters = self.optuna.ask()
        self._admit(number, parameters)

    def _take_over(self, earlier: Earlier) -> None:
        """A candidate that an earlier study has trained becomes one of ours."""
        number = self.optuna.add(earlier.parameters, parent=None)
        self._admit(number, dict(earlier.parameters))

    @contextmanager
    def _thinking(self) -> Iterator[None]:
        """The driver computes beside its workers: on one core, and not while a target is timed."""
        with self.turnstile.computing(), self.libraries.limit(limits=1, user_api="blas"):
            yield

    def _admit(self, number: int, parameters: dict[str, Scalar]) -> None:
        """A proposal becomes a candidate in flight, or is answered from what is known."""
        splits = load(self.study.task)
        candidate = self.study.space.decode(parameters, splits.input_shape)
        keys = keys_of(candidate, self.study)
        first = self.store.add_trial(
            number, candidate, keys, parameters, repeats=self.first.get(keys.key)
        )
        if first is not None:
            if self._origin(first) not in self.trials:  # another run has just added it
                self._take_up()
            self._repeat(number, first)
            return
        self.repeats_in_a_row = 0
        self.state.trials += 1
        self.state.known += keys.key in self.earlier
        trial = self._known(number, candidate, keys)
        self._start(trial)

    def _start(self, trial: Known) -> None:
        """What comes first for a candidate: legality, then its price."""
        splits = load(self.study.task)
        reason = self.study.space.check(trial.candidate, *splits.signature)
        if reason is not None:
            self._finish(trial, self._evaluation(trial, 0, "unbuildable", reason))
            return
        self.ready.append(Price(trial=trial.number, candidate=trial.candidate))

    def _answered(self, job: Job) -> bool:
        """Whether a job's price is known. It has its turn all the same: so a study repeats."""
        if not isinstance(job, Price) or job.trial is None or job.again:
            return False
        trial = self.trials[job.trial]
        price = self.prices.find(trial.keys.recipe_key)
        if price is None:
            return False
        evaluation = self._evaluation(trial, 0, "priced")
        self._priced(
            trial, dataclasses.replace(evaluation, deploy_key=price[0], measurements=price[1])
        )
        return True

    def _priced(self, trial: Known, evaluation: Evaluation) -> None:
        """The gate: a broken limit ends it here. A doubtful price is taken again, once."""
        if self.prices.doubtful(evaluation):
            self.ready.append(Price(trial=trial.number, candidate=trial.candidate, again=True))
            return
        evaluation = self.prices.settle(trial.keys.recipe_key, evaluation)
        reason = broken_limit(self.study.objectives, evaluation.measurements)
        if reason is not None:
            self._finish(
                trial, dataclasses.replace(evaluation, status="infeasible", reason=reason)
            )
            return
        trial.deploy_key = evaluation.deploy_key
        reason = self._hopeless(trial, evaluation)
        if reason is not None:
            self._finish(trial, dataclasses.replace(evaluation, status="hopeless", reason=reason))
            return
        self._record(trial, evaluation)
        self._join_or_train(trial)

    def _hopeless(self, trial: Known, evaluation: Evaluation) -> str | None:
        """Why a priced candidate cannot reach the front; not asked of what is trained already."""
        known = (trial.keys.train_key, trial.deploy_key) in self.twins
        if known or trial.keys.key in self.earlier or trial.keys.train_key in self.files.newest:
            return None
        trial.evaluations.append(evaluation)
        with self._thinking():
            reason = self.outlook.hopeless(trial, self.trials, self.state.front)
        trial.evaluations.pop()
        return reason

    def _join_or_train(self, trial: Known) -> None:
        """A network that another trial trains, or has trained, with these weights repeats it."""
        weights = (trial.keys.train_key, trial.deploy_key)
        twin = self.twins.setdefault(weights, trial.number)
        if twin == trial.number and self.others.living:  # one may have priced it just before
            first = self.store.first_trained(*weights)
            twin = trial.number if first is None else self._origin(first)
            if twin not in self.trials:
                self._take_up()
        if twin == trial.number:
            self._train(trial)
            return
        self.store.mark_repeat(trial.number, twin)
        self.children.let_go(trial.number, trial.keys.train_key)
        self._repeat(trial.number, twin)
        self._dissolve(trial, twin)

    def _dissolve(self, trial: Known, twin: int) -> None:
        """A trial turned out to be the network of another."""
        self.state.trials -= 1
        self.state.known -= trial.keys.key in self.earlier
        self.merged[trial.number] = twin
        self.first[trial.keys.key] = twin
        weights = (trial.keys.train_key, trial.deploy_key)
        if self.twins.get(weights) == trial.number:
            self.twins[weights] = twin
        del self.trials[trial.number]
        for follower in self.followers.pop(trial.number, []):
            self._answer(follower, twin)

    def _train(self, trial: Known) -> None:
        """Queue the next rung, from the newest checkpoint of the same training."""
        done = trial.evaluations[-1].rung
        newest = self.files.newest.get(trial.keys.train_key)
        epoch = newest.epoch if newest else 0
        until = next(r for r in self.study.search.rungs if r > done and r >= epoch)
        told = self._told_earlier(trial, until)
        if told is not None:
            self._scored(trial, told)
            return
        self.files.training[trial.keys.train_key] += 1
        self.children.let_go(trial.number, trial.keys.train_key)
        # ahead of new proposals: what is begun is brought to an end first
        self.ready.appendleft(
            Train(
                trial=trial.number,
                candidate=trial.candidate,
                until_epoch=until,
                checkpoint=newest.id if newest else None,
                taught_by=self._teacher(trial),
            )
        )

    def _told_earlier(self, trial: Known, rung: int) -> Evaluation | None:
        """What an earlier study knows of a candidate at a rung, or at the first known above it.

        A compression that joined a training later was never scored at the rungs before. One that
        would join the front has to have files: without them it is trained again.
        """
        earlier = self.earlier.get(trial.keys.key)
        if earlier is None or rung > earlier.last:
            return None
        rung = min(r for r in earlier.scores if r >= rung)
        told = earlier.told(trial, rung, self.study.epochs)
        if rung < self.study.epochs:
            return told
        trial.evaluations.append(told)
        joins = self._new_front(trial) is not None
        trial.evaluations.pop()
        self.values.pop(trial.number, None)
        if not joins:
            return told
        files = earlier.adopted(trial.keys.key, self.study.name, self.files.folder)
        return None if files is None else dataclasses.replace(told, artifacts=files)

    def _teacher(self, trial: Known) -> Candidate | None:
        """The best member when its training began, for a candidate that learns from it."""
        if trial.candidate.training.get("teacher") != BEST_TEACHER:
            return None
        teachers, train_key = self.files.teachers, trial.keys.train_key
        gone = train_key in teachers and not self.trials[teachers[train_key]].artifacts
        if self.state.front and (train_key not in teachers or gone):
            teachers[train_key] = self._best_member()
        return self.trials[teachers[train_key]].candidate if train_key in teachers else None

    def _best_member(self) -> int:
        metric = self.study.metric
        sign = 1 if metric.direction == "maximize" else -1
        return max(self.state.front, key=lambda n: sign * self.trials[n].value(metric.name))

    def _scored(self, trial: Known, evaluation: Evaluation) -> None:
        """The rung's decision: on to the next, stopped, or done."""
        if evaluation.status == "done":
            self._finish(trial, evaluation)
            return
        rung = self.rungs[evaluation.rung]
        go_on, rank = rung.passes(self._losses(trial, evaluation), self.study.search.reduction)
        earlier = self.earlier.get(trial.keys.key)
        if go_on or (earlier is not None and earlier.last > evaluation.rung):
            self._record(trial, evaluation)
            self._train(trial)
            return
        reason = f"rank {rank} among {1 + len(rung)} candidates after {evaluation.rung} epochs"
        self._finish(trial, dataclasses.replace(evaluation, status="stopped", reason=reason))

    def _losses(self, trial: Known, evaluation: Evaluation) -> Array:
        """(m,) costs of a trial and its score in `evaluation`, in the order of the objectives."""
        metric = self.study.metric.name
        score = evaluation.measurements[metric].value
        objectives = self.study.objectives
        values = [score if o.name == metric else trial.value(o.name) for o in objectives]
        return losses(np.array(values), [o.direction for o in objectives])

    def _finish(self, trial: Known, evaluation: Evaluation) -> None:
        """Record the last evaluation with the front it makes, tell Optuna, let go of files."""
        before = self.state.front
        while True:
            trial.evaluations.append(evaluation)
            front = self._new_front(trial) if evaluation.status == "done" else None
            trial.evaluations.pop()
            try:
                self._record(trial, evaluation, front)
                break
            except BehindError:  # another run's trial has joined the front in between
                self._take_up()
        self.state.counts[evaluation.status] += 1
        if front is not None:
            self.state.front, self.state.hypervolume = front.members, front.hypervolume
        self._tell_optuna(trial.number, trial)
        for follower in self.followers.pop(trial.number, []):
            self._tell_optuna(follower, trial)
        self.children.let_go(trial.number, trial.keys.train_key)
        if evaluation.status == "done" and not self._spent():
            self._fan_out(trial)
        members = set(self.state.front)
        # another run may learn from a member that is one no more
        left = set() if self.others.living else set(before) - members
        for number in {trial.number, *left}:
            self.files.drop_unneeded(self.trials[number], member=number in members)

    def _fan_out(self, trial: Known) -> None:
        """Propose other compressions of a candidate that is done, if they promise anything."""
        with self._thinking():
            children = self.children.of(trial, self.first)
        for parameters in children:
            if self.others.living:  # they spend the same budget
                self._take_up()
            if self._spent():
                break
            number = self.children.add(parameters, trial)
            self.state.children += 1
            self._admit(number, parameters)
            if number not in self.trials:  # the network of another trial
                self.children.let_go(number, trial.keys.train_key)

    def _record(self, trial: Known, evaluation: Evaluation, front: Front | None = None) -> None:
        self.store.record(evaluation, trial.keys, front)
        self._note(trial, evaluation)
        self.files.note(trial, evaluation.artifacts)

    def _note(self, trial: Known, evaluation: Evaluation) -> None:
        trial.evaluations.append(evaluation)
        if self.study.metric.name in evaluation.measurements:
            self.rungs[evaluation.rung].add(self._losses(trial, evaluation))

    def _retry(self, job: Job, evaluation: Evaluation) -> None:
        """A dead worker: once more; it may have been killed for a neighbour's memory."""
        assert job.trial is not None
        place = (job.trial, job.rung)
        if place in self.retried:
            failed = dataclasses.replace(
                evaluation, status="failed", reason=f"{evaluation.reason}, twice"
            )
            self._finish(self.trials[job.trial], failed)
            return
        self.retried.add(place)
        if isinstance(job, Train):
            self.files.training[self.trials[job.trial].keys.train_key] += 1
        self.ready.append(job)

    # --- repeats ---

    def _origin(self, number: int) -> int:
        """The trial that a trial repeats in the end, itself if none."""
        while number in self.merged:
            number = self.merged[number]
        return number

    def _repeat(self, number: int, first: int) -> None:
        """Count a proposal of a known candidate and answer it."""
        self.merged[number] = first
        self.state.repeats += 1
        self.repeats_in_a_row += 1
        self._answer(number, first)

    def _answer(self, number: int, first: int) -> None:
        """Tell Optuna what is known of a repeat, now or once it is known."""
        first = self._origin(first)
        if self.trials[first].final is None:
            self.followers.setdefault(first, []).append(number)
        else:
            self._tell_optuna(number, self.trials[first])

    def _tell_optuna(self, number: int, trial: Known) -> None:
        final = trial.final
        assert final is not None, trial
        measured = trial.measured
        values = (
            [measured[o.name].value for o in self.study.objectives]
            if final.status == "done"
            else None
        )
        repeat = f" (repeats trial {trial.number})" if number != trial.number else ""
        self.optuna.tell(
            number,
            values=values,
            failed=final.status == "failed",
            constraints=violations(self.study.objectives, measured),
            summary=f"{final.status}{': ' if final.reason else ''}{final.reason}{repeat}",
        )

    # --- the front and its files ---

    def _new_front(self, trial: Known) -> Front | None:
        """The front with a trial that is just done; None if it changes nothing."""
        if broken_limit(self.study.objectives, trial.measured) is not None:
            return None
        numbers = [*self.state.front, trial.number]
        values = np.array([self._values(self.trials[number]) for number in numbers])
        kept = non_dominated(losses(values, [o.direction for o in self.study.objectives]))
        if not kept[-1]:
            return None
        members = tuple(sorted(n for n, keep in zip(numbers, kept, strict=True) if keep))
        names = [objective.name for objective in self.study.objectives]
        volume = hypervolume(self.scale.unit_losses(values[kept], names))
        return Front(trial=trial.number, hypervolume=volume, members=members)

    def _values(self, trial: Known) -> tuple[float, ...]:
        """Newest value of every objective; kept, since a trial that is done changes no more."""
        if trial.number in self.values:
            return self.values[trial.number]
        values = tuple(trial.value(objective.name) for objective in self.study.objectives)
        if trial.final is not None:
            self.values[trial.number] = values
        return values

    # --- start, resume, end ---

    def _known(self, number: int, candidate: Candidate, keys: Keys) -> Known:
        trial = Known(number, candidate, keys)
        self.trials[number] = trial
        self.first.setdefault(keys.key, number)
        return trial

    def _evaluation(self, trial: Known, rung: int, status: Status, reason: str = "") -> Evaluation:
        return Evaluation(
            trial=trial.number,
            candidate=trial.candidate,
            rung=rung,
            status=status,
            reason=reason,
        )

    def _resume(self) -> None:
        """Take up what the store holds; go on with, or tell again, what was cut off."""
        running = self.optuna.running()
        self._take_up()
        self._inherit(running)
        self.others.gone()
        if not self.others.living:  # else it may be a proposal that another run is making
            for number in sorted(running.keys() - self.others.trials):
                self._adopt(number, running[number])
        self.repeats_in_a_row = 0
        self.tidy()

    def tidy(self) -> None:
        """Remove files that nobody needs, unless another run may need them."""
        if not self.others.living:
            self.files.sweep(self.trials, self.state.front)

    def _catch_up(self) -> None:
        """Take up what other runs have stored; go on with what one has left that is gone."""
        gone = self.others.gone()
        if self.others.living or gone:
            self._take_up()
        if gone:
            self._inherit(self.optuna.running())

    def _take_up(self) -> None:
        """Take up trials and the front as they stand in the store."""
        front = self.store.last_front()  # before the trials: those that it names are among them
        news = self.others.news()
        artifacts = self.store.artifacts([item.number for item in news]) if news else {}
        # of twins that were cut off before they were told apart, the one in training comes first
        for item in sorted(news, key=lambda item: -len(item.evaluations)):
            if item.repeats is None:
                self._restore(item, artifacts.get(item.number, []))
        for item in news:
            if item.repeats is not None:
                self._restore_repeat(item.number, item.candidate, item.repeats)
        if front is not None:
            self.state.front, self.state.hypervolume = front.members, front.hypervolume
        if news:
            self.optuna.catch_up()

    def _restore(self, item: StoredTrial, artifacts: list[Artifact]) -> None:
        trial = self.trials.get(item.number)
        if trial is None:
            trial = self._known(item.number, item.candidate, keys_of(item.candidate, self.study))
            self.state.trials += 1
            self.state.known += trial.keys.key in self.earlier
        was_final = trial.final is not None
        for evaluation in item.evaluations[len(trial.evaluations) :]:
            self._note(trial, evaluation)
        have = {artifact.id for artifact in trial.artifacts}
        self.files.note(trial, [each for each in artifacts if each.id not in have])
        if trial.evaluations and trial.evaluations[0].deploy_key:
            trial.deploy_key = trial.evaluations[0].deploy_key
            self.twins.setdefault((trial.keys.train_key, trial.deploy_key), trial.number)
            if trial.evaluations[0].status in PRICED:
                self.prices.note(trial.keys.recipe_key, trial.evaluations[0])
        self._note_place(trial, elsewhere=item.run in self.others.living)
        if trial.final is not None and not was_final:
            self.state.counts[trial.final.status] += 1
            for follower in self.followers.pop(trial.number, []):
                self._tell_optuna(follower, trial)

    def _restore_repeat(self, number: int, candidate: Candidate, first: int) -> None:
        if number in self.merged:
            return
        self.state.repeats += 1
        trial = self.trials.get(number)
        if trial is None:
            self.merged[number] = first
            self.first.setdefault(keys_of(candidate, self.study).key, first)
            return
        self._note_place(trial, elsewhere=False)
        self._dissolve(trial, first)

    def _note_place(self, trial: Known, *, elsewhere: bool) -> None:
        """Keep the files of a training that another run may have in flight."""
        number, train_key = trial.number, trial.keys.train_key
        if elsewhere and trial.final is None and number not in self.elsewhere:
            self.elsewhere[number] = train_key
            self.files.training[train_key] += 1
        elif number in self.elsewhere and (trial.final is not None or not elsewhere):
            self.files.training[self.elsewhere.pop(number)] -= 1

    def _inherit(self, running: Mapping[int, object]) -> None:
        """Go on with unfinished trials of runs that are gone."""
        ours = self.others.inherit(running)
        for number in ours:
            first = self.others.repeated.get(number)
            if first is not None:
                self._answer(number, first)
        for number in ours:
            trial = self.trials.get(number)
            if trial is not None:
                self._note_place(trial, elsewhere=False)
                self._continue(trial)

    def _continue(self, trial: Known) -> None:
        """Go on where a trial was cut off."""
        if trial.final is not None:
            self._tell_optuna(trial.number, trial)
        elif not trial.evaluations:
            self._start(trial)
        elif trial.evaluations[-1].rung == 0:
            self._join_or_train(trial)
        else:
            self._train(trial)

    def _adopt(self, number: int, parameters: dict[str, Scalar] | None) -> None:
        """A trial that Optuna proposed and we never wrote down."""
        if parameters is None:
            self.optuna.tell(
                number, values=None, failed=True, constraints=(), summary="cut off while proposed"
            )
        else:
            self._admit(number, parameters)

    def _deadline(self) -> float:
        limit = self.study.search.time
        return time.monotonic() + parse_quantity(limit, "ms") / 1e3 if limit else float("inf")

    def _enough(self) -> bool:
        """Whether no more candidates are to be proposed."""
        if self.repeats_in_a_row >= REPEATS_IN_A_ROW or len(self.first) >= self.num_distinct:
            self.state.exhausted = True
        return self.state.exhausted or self._spent()

    def _spent(self) -> bool:
        """Whether the candidates or the time of the study are used up."""
        candidates = self.state.trials - self.state.known
        return candidates >= self.study.search.trials or time.monotonic() >= self.deadline


def _num_distinct(study: StudySpec) -> float:
    """Candidates of a small space; infinity for one that is too large to enumerate."""
    shape = load(study.task).input_shape
    assignments = study.space.assignments(ENUMERABLE)
    if assignments is None:
        return float("inf")
    return len({keys_of(study.space.decode(each, shape), study).key for each in assignments})
