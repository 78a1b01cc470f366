"""What a study is once its file has been checked."""

from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from objectives.costs import Cost
from objectives.measurement import Direction
from objectives.target import Target
from objectives.tasks import Metric, Task
from objectives.tasks.task import fingerprint, load
from search.executors.executor import Executor
from search.samplers import Sampler
from spaces.candidate import digest
from spaces.space import Space


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Score:
    """The task's own metric of the deployed network on the validation split."""

    limit: str | int | float | None = None
    """Least (or, where less is better, largest) value that may be deployed."""


@plain_dataclass(frozen=True, kw_only=True)
class Objective:
    """A named quantity with unit, direction and perhaps a limit."""

    name: str
    unit: str
    direction: Direction
    limit: float | None
    """In base units; None for none."""
    cost: Cost | None
    """How it is measured without training; None for the task's metric."""

    def violation(self, value: float) -> float:
        """How far `value` is beyond the limit, in base units; at most 0 where it is met."""
        if self.limit is None:
            return 0.0
        return value - self.limit if self.direction == "minimize" else self.limit - value


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class SearchSettings:
    """How candidates are proposed, and when to stop."""

    sampler: Sampler
    """Who proposes: a name of the table, with options."""
    trials: int = Field(default=60, ge=1)
    """Candidates to evaluate; repeats do not count, infeasible and failed ones do."""
    time: str | None = None
    """No new candidate after this long, such as `30 min`; running ones are finished."""
    rungs: tuple[int, ...] = (1, 3, 9)
    """Epochs at which candidates are compared, as they are before compression; the last is a full
    training, compressed and deployed."""
    reduction: float = Field(default=3.0, ge=1)
    """About one in so many candidates passes a rung; 1 lets all pass."""
    gate: float = Field(default=2.0, ge=0)
    """A candidate is not trained if a member of the front is better in everything even at a score
    so many standard deviations better than foretold; 0 trains all that keep the limits."""
    fanout: int = Field(default=2, ge=0)
    """Other compressions of a candidate that is done, from its trained weights: at most so many,
    those that promise most. They count to `trials`. 0 for none."""
    warm_start: tuple[str, ...] = ()
    """Earlier studies of the same database: what they trained and is possible here is not trained
    again, and the sampler learns from it. It does not count to `trials`."""
    plan: int = Field(default=32, ge=8)
    """Random candidates priced before the start: plan, and scale of the hypervolume."""
    reference: dict[str, str | int | float] = Field(default_factory=dict)
    """Objective -> worst value of interest; default its limit, else the dearest of the plan."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class ConfirmSettings:
    """Trains the members of the front anew at the end of a run; see `search.confirm`."""

    seeds: int = Field(default=3, ge=1)
    """Trainings of each member, each with a seed of its own."""


@plain_dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A study file, checked."""

    name: str
    seed: int
    task: Task
    task_name: str
    task_source: str
    """Hash of the source of a task of the user's own, else empty: keys include it."""
    space: Space
    teachers: Mapping[str, str]
    """Name -> hash of a network that candidates learn from: keys include them."""
    targets: Mapping[str, Target]
    objectives: tuple[Objective, ...]
    search: SearchSettings
    confirm: ConfirmSettings | None
    executor: Executor
    storage: str
    artifacts: str
    raw: Mapping[str, Any]
    """The file as data, overrides applied: kept with every run."""

    @property
    def epochs(self) -> int:
        """Epochs of a full training."""
        return self.search.rungs[-1]

    @property
    def metric(self) -> Metric:
        """The task's metric."""
        return self.task.metric

    @property
    def timed(self) -> dict[str, Target]:
        """The targets on which an objective is measured."""
        asked = {o.cost.target for o in self.objectives if o.cost is not None}
        return {name: target for name, target in self.targets.items() if name in asked}

    def context(self) -> str:
        """What every key of a candidate includes: data, epochs, seed, own sources, teachers."""
        sources = [self.task_source, self.space.source(), *sorted(self.teachers.values())]
        return digest([fingerprint(self.task), self.epochs, self.seed, *sources])

    def cost_context(self) -> str:
        """What costs include besides the candidate: shape of inputs, outputs, vocabulary."""
        return digest([load(self.task).signature, self.space.source()])

    def costs_key(self) -> str:
        """Equal for studies that measure the same costs on the same targets."""
        costs = [[o.name, repr(o.cost)] for o in self.objectives if o.cost is not None]
        return digest([costs, {name: repr(target) for name, target in self.targets.items()}])

    def definition(self) -> dict[str, Any]:
        """What must not change under one study name, as JSON data."""
        parts = [[group.prefix, group.part.source] for group in self.space.groups]
        choices = [[c.name, repr(c.domain), repr(c.when)] for c in self.space.choices]
        choices += [["teacher", name, made_of] for name, made_of in self.teachers.items()]
        objectives = [[o.name, o.direction, o.limit, repr(o.cost)] for o in self.objectives]
        return {
            "space": digest([parts, choices]),
            "task": digest([self.task_name, self.task_source, fingerprint(self.task)]),
            "targets": digest({name: repr(target) for name, target in self.targets.items()}),
            "objectives": digest(objectives),
            "reference": digest(self.search.reference),
            "rungs": digest(list(self.search.rungs)),
            "seed": digest(self.seed),
        }
