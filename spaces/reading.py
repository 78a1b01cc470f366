"""From the `space` section of a study file to a `Space`."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spaces.choice import (
    Choice,
    ChoiceError,
    Domain,
    Fixed,
    Scalar,
    members,
    read_domain,
    representatives,
)
from spaces.compression import Step
from spaces.families import Family
from spaces.importing import known
from spaces.part import Part, read_part
from spaces.space import FAMILY, Group, Space

Resolve = Callable[[str, str], Callable[..., Any]]
"""(kind, name) -> the part; raises ValueError with a sentence if there is none."""

SECTIONS = ("architecture", "training", "augmentation", "compression")


class SpaceError(ValueError):
    """What is wrong, and `path`: the keys below `space` that lead to it."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def read_space(raw: object, resolve: Resolve, training: type, augmentation: type) -> Space:
    """The space that the raw section describes.

    Raises:
        SpaceError: an unknown part or field, an illegal value, an impossible condition.
    """
    if not isinstance(raw, dict):
        raise SpaceError((), f"space is {raw!r}; it has the sections {', '.join(SECTIONS)}")
    for key in raw:
        if key not in SECTIONS:
            raise SpaceError((key,), f"{key!r} is not a section of space; {known(key, SECTIONS)}")
    if "architecture" not in raw:
        raise SpaceError(
            (), "architecture is missing; name a family, such as {convnet: {depth: [1, 2]}}"
        )
    space = Space(
        families=_read_families(raw["architecture"], resolve),
        training=_read_group(
            "training", read_part("training", training), raw.get("training"), ("training",)
        ),
        augmentation=_read_group(
            "augmentation",
            read_part("augmentation", augmentation),
            raw.get("augmentation"),
            ("augmentation",),
        ),
        compression=_read_steps(raw.get("compression"), resolve),
    )
    return _with_conditions(space, raw)


def _read_families(raw: object, resolve: Resolve) -> tuple[Group, ...]:
    path: tuple[str | int, ...] = (FAMILY,)
    named = _named(raw, path)
    groups = tuple(
        _read_group(
            f"{FAMILY}.{name}",
            _resolve(resolve, "family", name, (*path, *place)),
            options,
            (*path, *place),
        )
        for name, options, place in named
    )
    _no_doubles(groups, path)
    return groups


def _read_steps(raw: object, resolve: Resolve) -> tuple[Group, ...]:
    if raw in (None, [], {}):
        return ()
    path: tuple[str | int, ...] = ("compression",)
    groups = tuple(
        _read_group(
            f"compression.{name}",
            _resolve(resolve, "step", name, (*path, *place)),
            options,
            (*path, *place),
        )
        for name, options, place in _named(raw, path)
    )
    _no_doubles(groups, path)
    return groups


def _named(
    raw: object, path: tuple[str | int, ...]
) -> list[tuple[str, object, tuple[str | int, ...]]]:
    """(name, options, place) of `NAME`, `{NAME: {options}, ...}` or a list of these."""
    if isinstance(raw, str):
        return [(raw, None, ())]
    if isinstance(raw, dict) and raw:
        return [(str(name), options, (name,)) for name, options in raw.items()]
    if isinstance(raw, list) and raw:
        found = [(index, _named(item, (*path, index))) for index, item in enumerate(raw)]
        return [(name, options, (i, *place)) for i, item in found for name, options, place in item]
    raise SpaceError(path, f"{raw!r} names nothing; write NAME or {{NAME: {{options}}}}")


def _no_doubles(groups: tuple[Group, ...], path: tuple[str | int, ...]) -> None:
    names = [group.part.name for group in groups]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise SpaceError(path, f"{double} stands twice; name it once")


def _resolve(resolve: Resolve, kind: str, name: str, path: tuple[str | int, ...]) -> Part:
    try:
        factory = resolve(kind, name)
        part = read_part(name, factory)
        _check_methods(kind, name, factory)
        return part
    except ValueError as error:
        raise SpaceError(path, str(error)) from error
    except (NameError, TypeError) as error:  # annotations that do not resolve
        raise SpaceError(path, f"{name}: its signature cannot be read: {error}") from error


def _check_methods(kind: str, name: str, factory: Callable[..., Any]) -> None:
    """A class of the user's own must be of its kind; any other callable may make a network.

    Raises:
        ValueError: it lacks a method or a parameter.
    """
    if kind == "family" and not dataclasses.is_dataclass(factory):
        _check_parameters(name, factory)
    if not isinstance(factory, type):
        return
    if kind == "step" and not issubclass(factory, Step):
        raise ValueError(f"{name} is not a step: it lacks idle() or apply()")
    if kind == "family" and dataclasses.is_dataclass(factory) and not issubclass(factory, Family):
        raise ValueError(f"{name} is not a family: it lacks check(), canonical() or build()")


def _check_parameters(name: str, factory: Callable[..., Any]) -> None:
    """A network is told for what it is built.

    Raises:
        ValueError: the factory does not take that.
    """
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    missing = [each for each in ("input_shape", "outputs") if each not in parameters]
    if missing and not takes_all:
        raise ValueError(
            f"{name} takes no {' and no '.join(missing)}; it is called with input_shape, outputs "
            "and its options by name, and returns a torch.nn.Module"
        )


def _read_group(prefix: str, part: Part, raw: object, path: tuple[str | int, ...]) -> Group:
    options = {} if raw is None else raw
    if not isinstance(options, dict):
        raise SpaceError(path, f"{raw!r} is not a mapping of {part.name}'s options")
    for key in options:
        if key not in part.fields:
            told = known(key, part.fields)
            raise SpaceError((*path, key), f"{part.name} has no option {key!r}; {told}")
    missing = [n for n, field in part.fields.items() if field.required and n not in options]
    if missing:
        raise SpaceError(path, f"{part.name} needs the option {missing[0]!r}")
    stages = _most_stages(part, options, path)
    choices = (
        choice
        for name, value in options.items()
        for choice in _read_choices(prefix, part, name, value, stages, (*path, name))
    )
    return Group(prefix=prefix, part=part, choices=tuple(choices))


def _most_stages(part: Part, options: Mapping[str, object], path: tuple[str | int, ...]) -> int:
    """The largest number of stages; 0 for a part that has none."""
    name = _stage_field(part)
    if name is None:
        return 0
    default = part.fields[name].default
    raw, condition = _split_condition(options.get(name, default))
    try:
        values = members(read_domain(raw)) or ()
    except ChoiceError:
        return 1  # reported where the field itself is read
    if condition is not None:
        values = (*values, default)  # what holds where the condition does not
    return max((value for value in values if isinstance(value, int)), default=1)


def _stage_field(part: Part) -> str | None:
    """The field that says how many stages a network of the part has."""
    name = vars(part.factory).get("stages") if isinstance(part.factory, type) else None
    return name if isinstance(name, str) else None


def _read_choices(
    prefix: str, part: Part, name: str, raw: object, stages: int, path: tuple[str | int, ...]
) -> list[Choice]:
    """One choice, or one for each stage; conditions are filled in later."""
    field = part.fields[name]
    if field.whole:
        return [Choice(f"{prefix}.{name}", _legal_whole(part, name, raw, path))]
    raw, _ = _split_condition(raw)
    if isinstance(raw, dict) and "per_stage" in raw:
        if not field.per_stage or len(raw) > 1:
            raise SpaceError(
                path, f"{name} cannot be chosen per stage; give a value, a list or a range"
            )
        domain = _legal_domain(part, name, raw["per_stage"], (*path, "per_stage"))
        return [Choice(f"{prefix}.{name}.{stage}", domain) for stage in range(1, stages + 1)]
    return [Choice(f"{prefix}.{name}", _legal_domain(part, name, raw, path))]


def _legal_domain(part: Part, name: str, raw: object, path: tuple[str | int, ...]) -> Domain:
    try:
        domain = read_domain(raw)
    except ChoiceError as error:
        raise SpaceError((*path, *error.path), f"{name}: {error}") from error
    for value in representatives(domain):
        try:
            part.fields[name].check(value)
        except ValidationError as error:
            place = (*path, raw.index(value)) if isinstance(raw, list) else path
            raise SpaceError(
                place, f"{part.name} {name} {value!r}: {rule(error.errors())}"
            ) from error
    return domain


def _legal_whole(part: Part, name: str, raw: object, path: tuple[str | int, ...]) -> Fixed:
    value = tuple(raw) if isinstance(raw, list) else raw
    try:
        part.fields[name].check(value)
    except ValidationError as error:
        told = rule(error.errors())
        raise SpaceError(path, f"{part.name} {name} {raw!r}: {told}") from error
    return Fixed(value)


def rule(errors: Sequence[ErrorDetails]) -> str:
    """What pydantic asks for, in a few words; of a union, the branches joined.

    >>> from pydantic import TypeAdapter
    >>> try: TypeAdapter(int).validate_python("x", strict=True)
    ... except ValidationError as error: print(rule(error.errors()))
    must be a valid integer
    """
    told = {
        item["msg"]
        .replace("Input should be", "must be")
        .replace("valid dictionary", "mapping")
        .removeprefix("Value error, ")
        for item in errors
        if item["type"] != "tuple_type"
    }
    return " or ".join(sorted(told)) or "must be a list"


def _split_condition(raw: object) -> tuple[object, object]:
    """(domain, condition) of `{values: DOMAIN, when: ...}` or `{low, high, when: ...}`."""
    if not isinstance(raw, dict) or not ("when" in raw or "values" in raw):
        return raw, None
    rest = {key: value for key, value in raw.items() if key != "when"}
    domain = rest["values"] if set(rest) == {"values"} else rest
    return domain, raw.get("when")


def _with_conditions(space: Space, raw: Mapping[str, Any]) -> Space:
    """The space with every `when` resolved to names of earlier choices."""
    domains = {choice.name: choice.domain for choice in space.choices}

    def conditioned(group: Group, path: tuple[str | int, ...], options: object) -> Group:
        choices = []
        implicit = _family_condition(space, group)
        for choice in group.choices:
            field = choice.name.removeprefix(f"{group.prefix}.").partition(".")[0]
            _, when = (
                _split_condition(options.get(field))
                if isinstance(options, dict) and not group.part.fields[field].whole
                else (None, None)
            )
            own = _read_when(when, group.prefix, choice.name, domains, (*path, field, "when"))
            stage = _stage_condition(group, choice, options)
            choices.append(Choice(choice.name, choice.domain, (*implicit, *stage, *own)))
        return Group(group.prefix, group.part, tuple(choices))

    def all_of(groups: tuple[Group, ...], key: str) -> tuple[Group, ...]:
        named = _named(raw[key], (key,)) if groups else []
        return tuple(
            conditioned(group, (key, *place), options)
            for group, (_, options, place) in zip(groups, named, strict=True)
        )

    return Space(
        families=all_of(space.families, FAMILY),
        training=conditioned(space.training, ("training",), raw.get("training")),
        augmentation=conditioned(space.augmentation, ("augmentation",), raw.get("augmentation")),
        compression=all_of(space.compression, "compression"),
    )


def _stage_condition(
    group: Group, choice: Choice, options: object
) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    """A stage's choice needs the stage to exist; nothing where that is always so.

    Only where the number of stages is decided before it, and always.
    """
    stage = choice.name.removeprefix(f"{group.prefix}.").partition(".")[2]
    field = _stage_field(group.part)
    earlier = {c.name: c for c in group.choices[: group.choices.index(choice)]}
    depth = earlier.get(f"{group.prefix}.{field}")
    if not stage or depth is None or not isinstance(options, dict):
        return ()
    if _split_condition(options.get(field))[1] is not None:
        return ()
    counts = members(depth.domain) or ()
    enough = tuple(n for n in counts if isinstance(n, int) and n >= int(stage))
    return () if len(enough) == len(counts) else ((depth.name, enough),)


def _family_condition(space: Space, group: Group) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    return (
        ((FAMILY, (group.part.name,)),)
        if group in space.families and len(space.families) > 1
        else ()
    )


def _read_when(
    raw: object,
    prefix: str,
    name: str,
    domains: Mapping[str, Domain],
    path: tuple[str | int, ...],
) -> list[tuple[str, tuple[Scalar, ...]]]:
    if raw is None:
        return []
    if not isinstance(raw, dict):
        raise SpaceError(path, f"when is {raw!r}; write {{OTHER_CHOICE: VALUE}}")
    earlier = list(domains)[: list(domains).index(name)]
    conditions = []
    for other, wanted in raw.items():
        full = f"{prefix}.{other}" if f"{prefix}.{other}" in domains else str(other)
        if full not in earlier:
            told = known(other, (choice.removeprefix(f"{prefix}.") for choice in earlier))
            problem = (
                "stands after it; move it before"
                if full in domains
                else f"is not a choice of this space; {told}"
            )
            raise SpaceError((*path, other), f"when: {other!r} {problem}")
        values = tuple(wanted) if isinstance(wanted, list) else (wanted,)
        possible = members(domains[full])
        absent = [value for value in values if possible is not None and value not in possible]
        if absent:
            raise SpaceError(
                (*path, other), f"when: {other} is never {absent[0]!r}; it is one of {possible}"
            )
        conditions.append((full, values))
    return conditions
