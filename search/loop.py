"""The spine: jobs out, evaluations in. Decides what happens next to every candidate.

A candidate's way: proposed -> priced -> (infeasible) -> trained to a rung -> (stopped) -> ... ->
done. Every step is one transaction of ours; only then is Optuna told, so that whatever is cut off
can be told again.
"""

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from objectives.tasks import load
from objectives.units import parse_quantity
from search.artifacts import Folder
from search.evaluation import FINAL, Artifact, Evaluation, Job, Price, Status, Train
from search.keys import keys_of
from search.pareto import Scale, hypervolume, losses, non_dominated
from search.prices import Prices
from search.spec import StudySpec
from search.store.optuna_study import OptunaStudy
from search.store.store import LEASE_S, Front, Keys, Store, StoredTrial
from search.strategy.gate import broken_limit, violations
from search.strategy.rungs import passes
from spaces.candidate import Candidate
from spaces.choice import Scalar

REPEATS_IN_A_ROW = 200
"""Known candidates proposed one after the other until the space counts as exhausted."""


@dataclass
class Known:
    """What the loop knows of a trial while it runs and after."""

    number: int
    candidate: Candidate
    keys: Keys
    evaluations: list[Evaluation] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    deploy_key: str = ""

    @property
    def final(self) -> Evaluation | None:
        """Its last evaluation, if nothing more will happen."""
        last = self.evaluations[-1] if self.evaluations else None
        return last if last is not None and last.status in FINAL else None

    def value(self, objective: str) -> float:
        """The newest value measured of `objective`."""
        return next(
            e.measurements[objective].value
            for e in reversed(self.evaluations)
            if objective in e.measurements
        )


@dataclass
class State:
    """What is shown of a study while it runs."""

    trials: int = 0
    """Candidates proposed, repeats not counted."""
    counts: Counter[Status] = field(default_factory=Counter)
    repeats: int = 0
    front: tuple[int, ...] = ()
    hypervolume: float = 0.0
    busy_s: float = 0.0
    """Seconds that workers computed, waiting not counted."""
    exhausted: bool = False

    @property
    def finished(self) -> int:
        """Candidates to which nothing more happens."""
        return sum(self.counts.values())


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
    ) -> None:
        self.study = study
        self.store = store
        self.optuna = optuna
        self.prices = prices
        self.scale = scale
        self.on_change = on_change
        self.files = Folder(study.artifacts)
        self.state = State()
        self.ready: deque[Job] = deque()
        self.trials: dict[int, Known] = {}
        self.first: dict[str, int] = {}
        """Candidate key -> the trial that had it first."""
        self.twins: dict[tuple[str, str], int] = {}
        """(train key, deploy key) -> the first trial of this network with these weights."""
        self.followers: dict[int, list[int]] = {}
        """Trial in flight -> repeats that wait for its result."""
        self.retried: set[tuple[int, int]] = set()
        self.rungs: dict[int, list[list[float]]] = {}
        """Rung -> values of everyone who was scored there, in the order of the objectives."""
        self.checkpoints: dict[str, Artifact] = {}
        """Train key -> its checkpoint with the most epochs."""
        self.in_use: Counter[str] = Counter()
        """Artifacts that jobs in flight start from."""
        self.repeats_in_a_row = 0
        self.deadline = self._deadline()
        self._resume()

    # --- what an executor calls ---

    def ask(self) -> Job | None:
        """The next job, or None while there is nothing to do."""
        while not self.ready:
            if self._enough():
                return None
            self._propose()
        return self.ready.popleft()

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        """Take the result of a job and decide what follows."""
        assert job.trial is not None, job
        trial = self.trials[job.trial]
        if isinstance(job, Train) and job.checkpoint:
            self.in_use[job.checkpoint] -= 1
        self.state.busy_s += sum(s for stage, s in evaluation.seconds.items() if stage != "wait")
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
        number, parameters = self.optuna.ask()
        self._admit(number, parameters)

    def _admit(self, number: int, parameters: dict[str, Scalar]) -> None:
        """A proposal becomes a candidate in flight, or is answered from what is known."""
        splits = load(self.study.task)
        candidate = self.study.space.decode(parameters, splits.input_shape)
        keys = keys_of(candidate, self.study)
        first = self.first.get(keys.key)
        self.store.add_trial(number, candidate, keys, parameters, repeats=first)
        if first is not None:
            self._repeat(number, first)
            return
        self.repeats_in_a_row = 0
        self.state.trials += 1
        trial = self._known(number, candidate, keys)
        self._start(trial)

    def _start(self, trial: Known) -> None:
        """What comes first for a candidate: legality, a known price, or pricing."""
        splits = load(self.study.task)
        reason = self.study.space.check(trial.candidate, splits.input_shape, splits.outputs)
        if reason is not None:
            self._finish(trial, self._evaluation(trial, 0, "unbuildable", reason))
            return
        price = self.prices.find(trial.keys.recipe_key)
        if price is None:
            self.ready.append(Price(trial=trial.number, candidate=trial.candidate))
            return
        evaluation = self._evaluation(trial, 0, "priced")
        self._priced(
            trial, dataclasses.replace(evaluation, deploy_key=price[0], measurements=price[1])
        )

    def _priced(self, trial: Known, evaluation: Evaluation) -> None:
        """The gate: a broken limit ends it here; a network known already is not trained again."""
        evaluation = self.prices.settle(trial.keys.recipe_key, evaluation)
        reason = broken_limit(self.study.objectives, evaluation.measurements)
        if reason is not None:
            self._finish(
                trial, dataclasses.replace(evaluation, status="infeasible", reason=reason)
            )
            return
        trial.deploy_key = evaluation.deploy_key
        twin = self.twins.setdefault((trial.keys.train_key, trial.deploy_key), trial.number)
        self._record(trial, evaluation)
        if twin != trial.number:
            self.store.mark_repeat(trial.number, twin)
            self.state.trials -= 1
            self.first[trial.keys.key] = twin
            del self.trials[trial.number]
            self._repeat(trial.number, twin)
            return
        self._train(trial)

    def _train(self, trial: Known) -> None:
        """Queue the next rung, from the newest checkpoint of the same training."""
        done = trial.evaluations[-1].rung
        newest = self.checkpoints.get(trial.keys.train_key)
        epoch = newest.epoch if newest else 0
        until = next(r for r in self.study.search.rungs if r > done and r >= epoch)
        if newest:
            self.in_use[newest.id] += 1
        # ahead of new proposals: what is begun is brought to an end first
        self.ready.appendleft(
            Train(
                trial=trial.number,
                candidate=trial.candidate,
                until_epoch=until,
                checkpoint=newest.id if newest else None,
            )
        )

    def _scored(self, trial: Known, evaluation: Evaluation) -> None:
        """The rung's decision: on to the next, stopped, or done."""
        if evaluation.status == "done":
            self._finish(trial, evaluation)
            return
        old = list(trial.artifacts)
        go_on, rank, peers = self._decide(trial, evaluation)
        if go_on:
            self._record(trial, evaluation)
            self._train(trial)
            self._drop(trial, old)
            return
        reason = f"rank {rank} among {peers} candidates after {evaluation.rung} epochs"
        self._finish(trial, dataclasses.replace(evaluation, status="stopped", reason=reason))

    def _decide(self, trial: Known, evaluation: Evaluation) -> tuple[bool, int, int]:
        """(whether it trains on, its rank, candidates compared) at its rung."""
        own, peers = self._row(trial, evaluation), self.rungs.get(evaluation.rung, [])
        directions = [objective.direction for objective in self.study.objectives]
        points = losses(np.array([own, *peers], dtype=np.float64), directions)
        go_on, rank = passes(points[0], points[1:], self.study.search.reduction)
        return go_on, rank, len(points)

    def _row(self, trial: Known, evaluation: Evaluation) -> list[float]:
        """Costs of a trial and its score in `evaluation`, in the order of the objectives."""
        metric = self.study.metric.name
        score = evaluation.measurements[metric].value
        return [score if o.name == metric else trial.value(o.name) for o in self.study.objectives]

    def _finish(self, trial: Known, evaluation: Evaluation) -> None:
        """Record the last evaluation with the front it makes, tell Optuna, let go of files."""
        trial.evaluations.append(evaluation)
        front = self._new_front(trial) if evaluation.status == "done" else None
        trial.evaluations.pop()
        before = self.state.front
        self._record(trial, evaluation, front)
        self.state.counts[evaluation.status] += 1
        if front is not None:
            self.state.front, self.state.hypervolume = front.members, front.hypervolume
        self._tell_optuna(trial.number, trial)
        for follower in self.followers.pop(trial.number, []):
            self._tell_optuna(follower, trial)
        for number in {trial.number, *before}:
            self._drop(self.trials[number], self._unneeded(self.trials[number]))

    def _record(self, trial: Known, evaluation: Evaluation, front: Front | None = None) -> None:
        self.store.record(evaluation, trial.keys, front)
        self._note(trial, evaluation)
        self._note_artifacts(trial, evaluation.artifacts)

    def _note(self, trial: Known, evaluation: Evaluation) -> None:
        trial.evaluations.append(evaluation)
        if self.study.metric.name in evaluation.measurements:
            self.rungs.setdefault(evaluation.rung, []).append(self._row(trial, evaluation))

    def _note_artifacts(self, trial: Known, artifacts: Iterable[Artifact]) -> None:
        for artifact in artifacts:
            trial.artifacts.append(artifact)
            newest = self.checkpoints.get(artifact.train_key)
            if artifact.kind == "checkpoint" and (not newest or newest.epoch < artifact.epoch):
                self.checkpoints[artifact.train_key] = artifact

    def _retry(self, job: Job, evaluation: Evaluation) -> None:
        """A dead worker: once more; it may have been killed for a neighbour's memory."""
        assert job.trial is not None
        place = (job.trial, evaluation.rung)
        if place in self.retried:
            failed = dataclasses.replace(
                evaluation, status="failed", reason=f"{evaluation.reason}, twice"
            )
            self._finish(self.trials[job.trial], failed)
            return
        self.retried.add(place)
        if isinstance(job, Train) and job.checkpoint:
            self.in_use[job.checkpoint] += 1
        self.ready.append(job)

    # --- repeats ---

    def _repeat(self, number: int, first: int) -> None:
        """Answer a proposal of a known candidate with what is, or will be, known of it."""
        self.state.repeats += 1
        self.repeats_in_a_row += 1
        if self.trials[first].final is None:
            self.followers.setdefault(first, []).append(number)
        else:
            self._tell_optuna(number, self.trials[first])

    def _tell_optuna(self, number: int, trial: Known) -> None:
        final = trial.final
        assert final is not None, trial
        measured = {k: m for e in trial.evaluations for k, m in e.measurements.items()}
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
        measured = {k: m for e in trial.evaluations for k, m in e.measurements.items()}
        if broken_limit(self.study.objectives, measured) is not None:
            return None
        names = [objective.name for objective in self.study.objectives]
        numbers = [*self.state.front, trial.number]
        values = np.array([[self.trials[n].value(name) for name in names] for n in numbers])
        kept = non_dominated(losses(values, [o.direction for o in self.study.objectives]))
        if not kept[-1]:
            return None
        members = tuple(sorted(n for n, keep in zip(numbers, kept, strict=True) if keep))
        volume = hypervolume(self.scale.unit_losses(values[kept], names))
        return Front(trial=trial.number, hypervolume=volume, members=members)

    def _unneeded(self, trial: Known) -> list[Artifact]:
        """Files of a finished trial that may go: all, but for a member its last rung's."""
        if trial.number not in self.state.front:
            return list(trial.artifacts)
        return [artifact for artifact in trial.artifacts if artifact.epoch < self.study.epochs]

    def _drop(self, trial: Known, artifacts: list[Artifact]) -> None:
        """Forget files of a trial; the row goes first, then the file, if nobody needs it."""
        unused = [artifact for artifact in artifacts if not self.in_use[artifact.id]]
        if not unused:
            return
        ids = [artifact.id for artifact in unused]
        trial.artifacts = [artifact for artifact in trial.artifacts if artifact.id not in ids]
        for artifact_id in self.store.drop_artifacts(trial.number, ids):
            self.files.remove(artifact_id)
            newest = self.checkpoints.get(trial.keys.train_key)
            if newest and newest.id == artifact_id:
                del self.checkpoints[trial.keys.train_key]

    def sweep(self) -> None:
        """Remove files that no trial in flight and no member of the front needs."""
        for trial in self.trials.values():
            if trial.final is not None:
                self._drop(trial, self._unneeded(trial))
        known = self.store.known_artifacts()
        for artifact_id in self.files.older_than(LEASE_S, prefixes=("checkpoint-", "weights-")):
            if artifact_id not in known:
                self.files.remove(artifact_id)

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
        stored = self.store.trials()
        artifacts = self.store.artifacts()
        front = self.store.last_front()
        if front is not None:
            self.state.front, self.state.hypervolume = front.members, front.hypervolume
        for item in stored:
            if item.repeats is None:
                self._restore(item, artifacts.get(item.number, []))
        for item in stored:
            if item.repeats is not None:
                self.state.repeats += 1
                if item.number in running:
                    self._repeat(item.number, item.repeats)
                    self.state.repeats -= 1
        for trial in list(self.trials.values()):
            if trial.number in running:
                self._continue(trial)
        for number in sorted(running.keys() - {item.number for item in stored}):
            self._adopt(number, running[number])
        self.repeats_in_a_row = 0
        self.sweep()

    def _restore(self, item: StoredTrial, artifacts: list[Artifact]) -> None:
        trial = self._known(item.number, item.candidate, keys_of(item.candidate, self.study))
        for evaluation in item.evaluations:
            self._note(trial, evaluation)
        self._note_artifacts(trial, artifacts)
        self.state.trials += 1
        if trial.evaluations and trial.evaluations[0].deploy_key:
            trial.deploy_key = trial.evaluations[0].deploy_key
            self.twins.setdefault((trial.keys.train_key, trial.deploy_key), trial.number)
        if trial.final is not None:
            self.state.counts[trial.final.status] += 1

    def _continue(self, trial: Known) -> None:
        """Go on where a trial was cut off."""
        if trial.final is not None:
            self._tell_optuna(trial.number, trial)
        elif not trial.evaluations:
            self._start(trial)
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
        if self.repeats_in_a_row >= REPEATS_IN_A_ROW:
            self.state.exhausted = True
        return (
            self.state.exhausted
            or self.state.trials >= self.study.search.trials
            or time.monotonic() >= self.deadline
        )
