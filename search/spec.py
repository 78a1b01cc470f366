"""study.yaml -> StudySpec: everything checked before anything starts.

Every mistake is an `InputError` that says file, line, key, rule and remedy.
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from objectives.costs import Cost
from objectives.measurement import Direction
from objectives.target import Target
from objectives.tasks import Metric, Task, TaskError
from objectives.tasks.task import fingerprint, load
from objectives.training import Training
from objectives.units import parse_quantity
from search.address import read_address
from search.document import Document, Path_, read_document
from search.errors import nearest
from search.executors.executor import Executor
from search.parts import resolve
from search.samplers import Sampler
from spaces.augmentation import Augmentation
from spaces.candidate import digest
from spaces.choice import members
from spaces.compression import Quantize
from spaces.reading import SpaceError, read_space, rule
from spaces.space import Space

SECTIONS: dict[str, str] = {
    "name": "what the study is called in the database",
    "seed": "fixes proposals and trainings; default 0",
    "task": "the data and the metric: NAME or {NAME: {options}}",
    "space": "the choices: architecture, training, augmentation, compression",
    "targets": "where the network will run: NAME: {device, runtime, batch, threads}",
    "objectives": "what is traded off: a list of NAME or {NAME: {options}}",
    "search": "how candidates are proposed: sampler, trials, rungs, ...",
    "executor": "where candidates are evaluated: NAME or {NAME: {options}}",
    "storage": "the database's URL; default sqlite:///paretune.db",
    "artifacts": "folder of checkpoints and reports; default beside the database",
}
REQUIRED = ("name", "task", "space", "objectives")


@plain_dataclass(frozen=True, kw_only=True)
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
    """Epochs at which candidates are compared; the last is a full training."""
    reduction: float = Field(default=3.0, ge=1)
    """About one in so many candidates passes a rung; 1 lets all pass."""
    plan: int = Field(default=64, ge=8)
    """Random candidates priced before the start: plan, and scale of the hypervolume."""
    reference: dict[str, str | int | float] = Field(default_factory=dict)
    """Objective -> worst value of interest; default its limit, else the dearest of the plan."""


@plain_dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A study file, checked."""

    name: str
    seed: int
    task: Task
    task_name: str
    space: Space
    targets: Mapping[str, Target]
    objectives: tuple[Objective, ...]
    search: SearchSettings
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

    def context(self) -> str:
        """What every key of a candidate includes: data, epochs, seed, own sources."""
        return digest([fingerprint(self.task), self.epochs, self.seed, self.space.source()])

    def cost_context(self) -> str:
        """What costs include besides the candidate: the shape of inputs and outputs."""
        splits = load(self.task)
        return digest([list(splits.input_shape), splits.outputs, self.space.source()])

    def definition(self) -> dict[str, Any]:
        """What must not change under one study name, as JSON data."""
        space = [[c.name, repr(c.domain), repr(c.when)] for c in self.space.choices]
        objectives = [[o.name, o.direction, o.limit, repr(o.cost)] for o in self.objectives]
        return {
            "space": digest(space),
            "task": digest([self.task_name, fingerprint(self.task)]),
            "targets": digest({name: repr(target) for name, target in self.targets.items()}),
            "objectives": digest(objectives),
            "rungs": digest(list(self.search.rungs)),
            "seed": digest(self.seed),
        }


def read_study(file: str | Path, overrides: tuple[str, ...] = ()) -> StudySpec:
    """Read and check a study file.

    Raises:
        InputError: see `search.errors`.
    """
    _importable_from(Path(file))
    document = read_document(file, overrides)
    data = document.data
    for key in data:
        if key not in SECTIONS:
            raise document.error((key,), f"unknown key; {nearest(key, SECTIONS)}")
    for key in REQUIRED:
        if data.get(key) is None:
            raise document.error((), f"{key} is missing: {SECTIONS[key]}")
    name, storage, artifacts = read_address(document)
    task_name, task = _read_task(document)
    space = _read_space(document)
    targets = _read_targets(document)
    _check_precisions(document, space, targets)
    return StudySpec(
        name=name,
        seed=_read_whole(document, "seed", 0),
        task=task,
        task_name=task_name,
        space=space,
        targets=targets,
        objectives=_read_objectives(document, task, targets),
        search=_read_search(document, task),
        executor=_make(document, "executor", data.get("executor", "process"), ("executor",)),
        storage=storage,
        artifacts=artifacts,
        raw=data,
    )


def _importable_from(file: Path) -> None:
    """Own parts may stand beside the study file or in the current folder."""
    for folder in (str(Path.cwd()), str(file.resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _named(document: Document, raw: object, path: Path_) -> tuple[str, dict[str, Any], Path_]:
    """(name, options, path of the options) of `NAME` or `{NAME: {options}}`."""
    if isinstance(raw, str):
        return raw, {}, path
    if isinstance(raw, dict) and len(raw) == 1:
        name, options = next(iter(raw.items()))
        if options is None or isinstance(options, dict):
            return str(name), options or {}, (*path, name)
    raise document.error(path, f"{raw!r} is not a part; write NAME or {{NAME: {{options}}}}")


def _make(document: Document, kind: str, raw: object, path: Path_) -> Any:
    """The part of `kind` that `raw` names."""
    name, options, path = _named(document, raw, path)
    try:
        factory = resolve(kind, name)
    except ValueError as error:
        raise document.error(path, str(error)) from error
    return _construct(document, factory, name, options, path)


def _construct(document: Document, factory: Any, name: str, options: Any, path: Path_) -> Any:
    """`factory(**options)`, checked against its fields."""
    if not isinstance(options, dict):
        raise document.error(path, f"{options!r} is not a mapping of {name}'s options")
    known = [item.name for item in dataclasses.fields(factory) if item.init]
    for key in options:
        if key not in known:
            told = nearest(str(key), known) if known else "it has none"
            raise document.error((*path, key), f"{name} has no option {key!r}; {told}")
    try:
        return TypeAdapter(factory).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing" or not first["loc"]:
            raise document.error(path, f"{name} needs the option {first['loc'][0]!r}") from error
        place = tuple(key for key in first["loc"] if key in known or isinstance(key, int))
        raise document.error((*path, *place), f"{first['input']!r}: {rule(error)}") from error


def _read_whole(document: Document, key: str, default: int) -> int:
    value = document.data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise document.error((key,), f"{value!r} is not a whole number from 0")
    return value


def _read_task(document: Document) -> tuple[str, Task]:
    """The task, with its data read: a missing folder is found now."""
    name = _named(document, document.data["task"], ("task",))[0]
    task = _make(document, "task", document.data["task"], ("task",))
    try:
        load(task)
    except TaskError as error:
        raise document.error(("task",), str(error)) from error
    return name, task


def _read_space(document: Document) -> Space:
    try:
        return read_space(document.data["space"], resolve, Training, Augmentation)
    except SpaceError as error:
        raise document.error(("space", *error.path), str(error)) from error


def _read_targets(document: Document) -> dict[str, Target]:
    raw = document.data.get("targets")
    if raw is None:
        return {"cpu": Target()}
    if not isinstance(raw, dict) or not raw:
        raise document.error(("targets",), f"{raw!r} names no target; write cpu: {{device: cpu}}")
    return {str(name): _read_target(document, name, options) for name, options in raw.items()}


def _read_target(document: Document, name: str, raw: object) -> Target:
    path: Path_ = ("targets", name)
    options = dict(raw) if isinstance(raw, dict) else raw or {}
    if isinstance(options, dict) and "runtime" in options:
        options["runtime"] = _make(document, "runtime", options["runtime"], (*path, "runtime"))
    target: Target = _construct(document, Target, "a target", options, path)
    if reason := target.check():
        raise document.error((*path, "device"), reason)
    return target


def _check_precisions(document: Document, space: Space, targets: Mapping[str, Target]) -> None:
    """Every scheme of the space must be one that every target's runtime runs."""
    for index, group in enumerate(space.compression):
        for choice in group.choices:
            if group.part.factory is not Quantize or not choice.name.endswith(".scheme"):
                continue
            for scheme in members(choice.domain) or ():
                precision = Quantize.PRECISIONS[str(scheme)]
                for name, target in targets.items():
                    if precision not in target.runtime.precisions:
                        offered = ", ".join(sorted(target.runtime.precisions))
                        raise document.error(
                            ("space", "compression", index, group.part.name, "scheme"),
                            f"target {name!r} cannot run {scheme!r}: its runtime offers "
                            f"{offered}; remove the scheme or give the target another runtime",
                        )


def _read_objectives(
    document: Document, task: Task, targets: Mapping[str, Target]
) -> tuple[Objective, ...]:
    raw = document.data["objectives"]
    if not isinstance(raw, list) or not raw:
        raise document.error(
            ("objectives",), f"{raw!r} is not a list; name at least one objective"
        )
    found = [_read_objective(document, i, item, task, targets) for i, item in enumerate(raw)]
    names = [objective.name for objective in found]
    doubled = {n for n in names if names.count(n) > 1}
    found = [
        dataclasses.replace(o, name=f"{o.name}.{o.cost.target}")
        if o.name in doubled and o.cost is not None and o.cost.target
        else o
        for o in found
    ]
    names = [objective.name for objective in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise document.error(("objectives", index), f"{name} stands twice; remove one")
    if not any(objective.cost is None for objective in found):
        raise document.error(
            ("objectives",), f"{task.metric.name} is missing; a front without it needs no search"
        )
    return tuple(found)


def _read_objective(
    document: Document, index: int, raw: object, task: Task, targets: Mapping[str, Target]
) -> Objective:
    name, options, path = _named(document, raw, ("objectives", index))
    metric = task.metric
    if name == metric.name:
        score = _construct(document, Score, name, options, path)
        limit = _read_limit(document, score.limit, metric.unit, (*path, "limit"))
        return Objective(
            name=name, unit=metric.unit, direction=metric.direction, limit=limit, cost=None
        )
    try:
        factory = resolve("objective", name)
    except ValueError as error:
        known = f" (this task's metric is {metric.name!r})"
        raise document.error(path, f"{error}{known}") from error
    cost = _on_target(document, _construct(document, factory, name, options, path), targets, path)
    limit = _read_limit(document, cost.limit, cost.unit, (*path, "limit"))
    return Objective(name=name, unit=cost.unit, direction="minimize", limit=limit, cost=cost)


def _on_target(document: Document, cost: Any, targets: Mapping[str, Target], path: Path_) -> Cost:
    """The cost with its target filled in where there is only one."""
    made: Cost = cost
    if "target" not in {item.name for item in dataclasses.fields(cost)}:
        return made
    if cost.target is None and len(targets) > 1:
        raise document.error(path, f"names no target; add target: {' or '.join(targets)}")
    target = cost.target or next(iter(targets))
    if target not in targets:
        raise document.error(
            (*path, "target"), f"{target!r} is not a target; {nearest(target, targets)}"
        )
    made = dataclasses.replace(cost, target=target)
    return made


def _read_limit(document: Document, raw: Any, unit: str, path: Path_) -> float | None:
    if raw is None:
        return None
    try:
        return parse_quantity(raw, unit)
    except ValueError as error:
        raise document.error(path, str(error)) from error


def _read_search(document: Document, task: Task) -> SearchSettings:
    path: Path_ = ("search",)
    raw = document.data.get("search") or {}
    options = dict(raw) if isinstance(raw, dict) else raw
    if isinstance(options, dict):
        named = options.get("sampler", "tpe")
        options["sampler"] = _make(document, "sampler", named, (*path, "sampler"))
    settings: SearchSettings = _construct(document, SearchSettings, "search", options, path)
    rungs = settings.rungs
    if not rungs or rungs[0] < 1 or any(a >= b for a, b in pairwise(rungs)):
        raise document.error(
            (*path, "rungs"), f"{list(rungs)} must rise from 1 or more, as [1, 3, 9]"
        )
    if settings.time is not None:
        _read_limit(document, settings.time, "ms", (*path, "time"))
    names = _objective_units(document, task)
    for name, value in settings.reference.items():
        if name not in names:
            raise document.error(
                (*path, "reference", name), f"is not an objective; {nearest(name, names)}"
            )
        _read_limit(document, value, names[name], (*path, "reference", name))
    return settings


def _objective_units(document: Document, task: Task) -> dict[str, str]:
    """Name -> unit of the objectives of the file."""
    targets = _read_targets(document)
    return {o.name: o.unit for o in _read_objectives(document, task, targets)}
