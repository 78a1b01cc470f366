"""A part of a space: something whose fields are choices, whoever wrote it.

Built-in parts are frozen dataclasses. A user's own network may also be any callable
`(input_shape, outputs, **choices) -> nn.Module`, which an `nn.Module` class is.
"""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

PER_STAGE = "per_stage"
"""Marker in `Annotated[int | tuple[int, ...], PER_STAGE]`: one value, or one for each stage."""

WHOLE = "whole"
"""Marker in `Annotated[tuple[str, ...], WHOLE]`: a list or mapping is one value, not a choice."""


@dataclass(frozen=True)
class Field:
    """One field of a part: its type, and its default in a study file that leaves it out."""

    annotation: Any
    default: Any
    required: bool = False
    doc: str = ""

    @property
    def per_stage(self) -> bool:
        """Whether a study may choose it for each stage apart."""
        return PER_STAGE in get_args(self.annotation)

    @property
    def whole(self) -> bool:
        """Whether a list or mapping of the study file is its value."""
        return WHOLE in get_args(self.annotation)

    def check(self, value: object) -> None:
        """Accept `value` for this field.

        Raises:
            pydantic.ValidationError: it is of another type or outside the bounds.
        """
        _adapter(self.annotation).validate_python(value, strict=True)


@dataclass(frozen=True)
class Part:
    """A name of the study file with what it stands for."""

    name: str
    factory: Callable[..., Any]
    fields: Mapping[str, Field]
    source: str = field(default="", compare=False)
    """Hash of the source of a user's own part, else empty: keys include it."""

    @property
    def defaults(self) -> dict[str, Any]:
        """Field -> value in a study file that leaves it out."""
        return {name: item.default for name, item in self.fields.items() if not item.required}

    def make(self, options: Mapping[str, Any]) -> Any:
        """The part with these options; lists become tuples."""
        frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        return self.factory(**frozen)


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    """Building one takes a millisecond; annotations are few (a cache, not state)."""
    key = repr(annotation)
    if key not in _ADAPTERS:
        _ADAPTERS[key] = TypeAdapter(annotation)
    return _ADAPTERS[key]


def read_part(name: str, thing: Callable[..., Any]) -> Part:
    """The part that `thing` (a dataclass, a class or a function) is, under `name`."""
    own = ":" in name
    if dataclasses.is_dataclass(thing):
        fields = _dataclass_fields(thing)
    else:
        fields = _signature_fields(thing)
    return Part(name=name, factory=thing, fields=fields, source=source_hash(thing) if own else "")


def _dataclass_fields(thing: Any) -> dict[str, Field]:
    hints = get_type_hints(thing, include_extras=True)
    return {
        item.name: _dataclass_field(item, hints[item.name])
        for item in dataclasses.fields(thing)
        if item.init
    }


def _dataclass_field(item: "dataclasses.Field[Any]", annotation: Any) -> Field:
    """Type with pydantic's bounds, and default, of one field."""
    default = item.default
    if isinstance(default, FieldInfo):
        if default.metadata:
            annotation = Annotated[annotation, *default.metadata]
        required = default.is_required()
        value = None if required else default.get_default(call_default_factory=True)
        return Field(annotation, value, required)
    if item.default_factory is not dataclasses.MISSING:
        return Field(annotation, item.default_factory())
    required = default is dataclasses.MISSING
    return Field(annotation, None if required else default, required)


def _signature_fields(thing: Callable[..., Any]) -> dict[str, Field]:
    """Keyword arguments of a callable besides those that say what it is built for."""
    annotated = vars(thing).get("__init__", thing) if isinstance(thing, type) else thing
    hints = get_type_hints(annotated, include_extras=True)
    fields = {}
    for name, parameter in inspect.signature(thing).parameters.items():
        if name in ("input_shape", "outputs", "vocabulary") or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            continue
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        annotation = hints.get(name, type(default) if default is not None else Any)
        fields[name] = Field(annotation, default, required)
    return fields


def source_hash(thing: Callable[..., Any]) -> str:
    """Hash of the whole file, since a class may use what stands beside it.

    Raises:
        ValueError: it is not written in Python.
    """
    try:
        path = inspect.getsourcefile(inspect.unwrap(thing))
    except TypeError:
        path = None
    if path is None:
        raise ValueError(f"{thing!r} is not written in Python; wrap it in a function of your own")
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:16]
