"""study.yaml -> StudySpec: everything checked before anything starts.

Every mistake is an `InputError` that says file, line, key, rule and remedy.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from objectives.costs import Cost
from objectives.device import missing_device
from objectives.parallel import devices_of
from objectives.target import Target
from objectives.tasks import Metric, Task, TaskError, load
from objectives.training import Training
from objectives.units import format_quantity, parse_quantity
from search.address import read_address
from search.brought import with_rehearsed
from search.buildable import check_buildable
from search.document import Document, Path_, read_document
from search.errors import nearest
from search.executors.executor import Executor
from search.lessons import check_training
from search.parts import resolve
from search.study import ConfirmSettings, Objective, Score, SearchSettings, StudySpec
from spaces.augmentation import Augmentation, unfit
from spaces.choice import members, representatives
from spaces.compression import Quantize
from spaces.part import read_part
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
    "confirm": "members trained anew at the end: {seeds: 3}; left out, none is",
    "executor": "where candidates are evaluated: NAME or {NAME: {options}}",
    "storage": "the database's URL; default sqlite:///paretune.db",
    "artifacts": "folder of checkpoints and reports; default beside the database",
}
REQUIRED = ("name", "task", "space", "objectives")


def read_study(file: str | Path, overrides: tuple[str, ...] = ()) -> StudySpec:
    """Read and check a study file.

    Raises:
        InputError: see `search.errors`.
    """
    _importable_from(Path(file))
    return _study_of(read_document(file, overrides))


def study_as_run(raw: Mapping[str, Any], file: str | Path | None) -> StudySpec:
    """The study of a run that was kept as `raw`; parts of its own may stand beside its `file`.

    Raises:
        InputError: see `search.errors`; parts are not there any more, or were changed.
    """
    if file is not None:
        _importable_from(Path(file))
    return _study_of(Document(f"study {raw.get('name')}", dict(raw), {}, frozenset()))


def _study_of(document: Document) -> StudySpec:
    data = document.data
    for key in data:
        if key not in SECTIONS:
            raise document.error((key,), f"unknown key; {nearest(key, SECTIONS)}")
    for key in REQUIRED:
        if data.get(key) is None:
            raise document.error((), f"{key} is missing: {SECTIONS[key]}")
    name, storage, artifacts = read_address(document)
    task_name, task = _read_task(document)
    space = with_rehearsed(document, _read_space(document), load(task).signature)
    check_buildable(document, space, load(task))
    _check_augmentation(document, space, task)
    executor = _read_executor(document)
    targets = _read_targets(document, here=executor.local)
    _check_precisions(document, space, targets)
    objectives = _read_objectives(document, task, targets)
    return StudySpec(
        name=name,
        seed=_read_whole(document, "seed", 0),
        task=task,
        task_name=task_name,
        task_source=read_part(task_name, resolve("task", task_name)).source,
        space=space,
        teachers=check_training(document, space, load(task)),
        targets=targets,
        objectives=objectives,
        search=_read_search(document, objectives, task.metric),
        confirm=_read_confirm(document),
        executor=executor,
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
    if not dataclasses.is_dataclass(factory):
        raise document.error(path, f"{name} is not a dataclass; its fields would be the options")
    known = [item.name for item in dataclasses.fields(factory) if item.init]
    for key in options:
        if key not in known:
            told = nearest(str(key), known) if known else "it has none"
            raise document.error((*path, key), f"{name} has no option {key!r}; {told}")
    try:
        made = TypeAdapter(factory).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "missing":
            raise document.error(path, f"{name} needs the option {first['loc'][0]!r}") from error
        place = tuple(key for key in first["loc"] if key in known or isinstance(key, int))
        same = [item for item in error.errors() if item["loc"][:1] == first["loc"][:1]]
        value = f"{first['input']!r}: " if first["loc"] else ""
        raise document.error((*path, *place), f"{value}{rule(same)}") from error
    except PydanticUserError as error:
        raise document.error(path, f"{name}: {str(error).splitlines()[0]}") from error
    for key, value in options.items():
        if _is_guessed(value, vars(made)[key]):
            raise document.error(
                (*path, key), f"{value!r} must be a number, not text, true or false"
            )
    return made


def _is_guessed(raw: object, made: object) -> bool:
    """Whether pydantic took a word for a number, or a truth value for 0 or 1."""
    if isinstance(raw, list) and isinstance(made, tuple):
        return any(map(_is_guessed, raw, made))
    is_number = isinstance(made, (bool, int, float))
    return isinstance(raw, (bool, str)) and is_number and type(raw) is not type(made)


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
        is_task = isinstance(task, Task)  # reads the metric, which may read the data
        if is_task:
            load(task)
    except TaskError as error:
        raise document.error(("task",), str(error)) from error
    except Exception as error:
        told = f"{name} cannot read its data: {type(error).__name__}: {error}"
        raise document.error(("task",), f"{told}; mend the task") from error
    if not is_task:
        raise document.error(("task",), f"{name} is not a task; it lacks metric, loss or splits")
    return name, task


def _read_space(document: Document) -> Space:
    try:
        return read_space(document.data["space"], resolve, Training, Augmentation)
    except SpaceError as error:
        raise document.error(("space", *error.path), str(error)) from error


def _check_augmentation(document: Document, space: Space, task: Task) -> None:
    """Every field that may be on must be for the task's kind of data."""
    input_shape, _, vocabulary = load(task).signature
    on = {}
    for choice in space.augmentation.choices:
        field = choice.name.removeprefix(f"{space.augmentation.prefix}.")
        off = space.augmentation.part.fields[field].default
        on[field] = any(value != off for value in representatives(choice.domain))
        path: Path_ = ("space", "augmentation", field)
        if on[field] and (reason := unfit(field, input_shape, vocabulary)):
            raise document.error(path, reason)
    for aid, main in Augmentation.AIDS.items():
        if aid in on and not on.get(main):
            raise document.error(
                ("space", "augmentation", aid), f"{aid} changes nothing without {main}; add {main}"
            )


def _read_targets(document: Document, *, here: bool) -> dict[str, Target]:
    """`here`: whether this machine is the one that measures."""
    raw = document.data.get("targets")
    if raw is None:
        return {"cpu": Target()}
    if not isinstance(raw, dict) or not raw:
        raise document.error(("targets",), f"{raw!r} names no target; write cpu: {{device: cpu}}")
    return {
        str(name): _read_target(document, name, options, here) for name, options in raw.items()
    }


def _read_target(document: Document, name: str, raw: object, here: bool) -> Target:
    path: Path_ = ("targets", name)
    options = dict(raw) if isinstance(raw, dict) else {} if raw is None else raw
    if isinstance(options, dict) and "runtime" in options:
        options["runtime"] = _make(document, "runtime", options["runtime"], (*path, "runtime"))
    target: Target = _construct(document, Target, "a target", options, path)
    if here and (reason := target.check()):
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
        objective = Objective(
            name=name, unit=metric.unit, direction=metric.direction, limit=None, cost=None
        )
        limit = _read_bound(document, score.limit, objective, metric.perfect, (*path, "limit"))
        return dataclasses.replace(objective, limit=limit)
    try:
        factory = resolve("objective", name)
    except ValueError as error:
        known = f" (this task's metric is {metric.name!r})"
        raise document.error(path, f"{error}{known}") from error
    made = _construct(document, factory, name, options, path)
    cost = _on_target(document, name, made, targets, path)
    objective = Objective(name=name, unit=cost.unit, direction="minimize", limit=None, cost=cost)
    limit = _read_bound(document, cost.limit, objective, 0.0, (*path, "limit"))
    return dataclasses.replace(objective, limit=limit)


def _on_target(
    document: Document, name: str, cost: Any, targets: Mapping[str, Target], path: Path_
) -> Cost:
    """The cost with its target filled in where there is only one."""
    made: Cost = cost
    if "target" not in {item.name for item in dataclasses.fields(cost)}:
        return made
    if cost.target is None and len(targets) > 1:
        raise document.error(path, f"{name} names no target; add target: {' or '.join(targets)}")
    target = cost.target or next(iter(targets))
    if target not in targets:
        raise document.error(
            (*path, "target"), f"{target!r} is not a target; {nearest(target, targets)}"
        )
    check = getattr(cost, "check", None)
    if check is not None and (reason := check(targets[target])):
        raise document.error(path, reason)
    made = dataclasses.replace(cost, target=target)
    return made


def _read_bound(
    document: Document, raw: Any, objective: Objective, best: float, path: Path_
) -> float | None:
    """A limit or reference; it must be worse than `best`, the best value that there is."""
    if raw is None:
        return None
    value = _read_quantity(document, raw, objective.unit, path)
    side = "above" if objective.direction == "minimize" else "below"
    worse = value > best if side == "above" else value < best
    if not worse or math.isinf(value):
        best_told = format_quantity(best, objective.unit) if best else "0"
        raise document.error(
            path, f"{raw!r} must be {side} {best_told}, the best {objective.name} there is"
        )
    return value


def _read_quantity(document: Document, raw: Any, unit: str, path: Path_) -> float:
    try:
        return parse_quantity(raw, unit)
    except ValueError as error:
        raise document.error(path, str(error)) from error


def _read_search(
    document: Document, objectives: tuple[Objective, ...], metric: Metric
) -> SearchSettings:
    """The section `search`; its references are values of the objectives."""
    path: Path_ = ("search",)
    raw = document.data.get("search")
    options = dict(raw) if isinstance(raw, dict) else {} if raw is None else raw
    if isinstance(options, dict):
        named = options.get("sampler", "ehvi")
        options["sampler"] = _make(document, "sampler", named, (*path, "sampler"))
    settings: SearchSettings = _construct(document, SearchSettings, "search", options, path)
    rungs = settings.rungs
    if not rungs or rungs[0] < 1 or any(a >= b for a, b in pairwise(rungs)):
        raise document.error(
            (*path, "rungs"), f"{list(rungs)} must rise from 1 or more, as [1, 3, 9]"
        )
    if settings.time is not None:
        time_ms = _read_quantity(document, settings.time, "ms", (*path, "time"))
        if not 0 < time_ms < math.inf:
            raise document.error((*path, "time"), f"{settings.time!r} must be above 0 s")
    named = {objective.name: objective for objective in objectives}
    for name, value in settings.reference.items():
        place = (*path, "reference", name)
        if name not in named:
            raise document.error(place, f"{name!r} is not an objective; {nearest(name, named)}")
        best = metric.perfect if named[name].cost is None else 0.0
        _read_bound(document, value, named[name], best, place)
    return settings


def _read_confirm(document: Document) -> ConfirmSettings | None:
    raw = document.data.get("confirm")
    if raw is None:
        return None
    made: ConfirmSettings = _construct(document, ConfirmSettings, "confirm", raw, ("confirm",))
    return made


def _read_executor(document: Document) -> Executor:
    raw, path = document.data.get("executor", "process"), ("executor",)
    executor: Executor = _make(document, "executor", raw, path)
    if not executor.local:
        return executor
    if reason := missing_device(executor.train_device):
        name = _named(document, raw, path)[0]
        raise document.error((*path, name, "device"), reason)
    last = devices_of(executor.train_device, executor.num_devices)[-1]
    if reason := missing_device(last):
        name = _named(document, raw, path)[0]
        raise document.error((*path, name, "devices_per_candidate"), reason)
    return executor
