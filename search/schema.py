"""The JSON Schema of a study file, made from the same types that check it."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from objectives.target import Target
from objectives.training import Training
from search.parts import IMPORTABLE, TABLES
from search.spec import REQUIRED, SECTIONS
from search.study import ConfirmSettings, Score, SearchSettings
from spaces.augmentation import Augmentation
from spaces.part import Field, read_part

Schema = dict[str, Any]

QUANTITY: Schema = {
    "anyOf": [{"type": "string"}, {"type": "number"}],
    "description": "a number with its unit, such as '0.05 ms'",
}
WHEN: Schema = {
    "type": "object",
    "description": "condition: another choice and the value, or values, that it must have",
}
OWN: Schema = {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "package.module:name"}


def study_schema() -> Schema:
    """JSON Schema (draft 2020-12) of study.yaml."""
    sections = {
        "name": {"type": "string", "minLength": 1},
        "seed": {"type": "integer", "minimum": 0},
        "task": _part("task", _plain_options),
        "space": _space(),
        "targets": {"type": "object", "minProperties": 1, "additionalProperties": _target()},
        "objectives": {"type": "array", "minItems": 1, "items": _objective()},
        "search": _search(),
        "confirm": _plain_options(ConfirmSettings),
        "executor": _part("executor", _plain_options),
        "storage": {"type": "string"},
        "artifacts": {"type": "string"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Paretune study",
        "type": "object",
        "required": list(REQUIRED),
        "additionalProperties": False,
        "properties": {key: {**sections[key], "description": SECTIONS[key]} for key in SECTIONS},
    }


def _part(kind: str, options: Callable[[Any], Schema]) -> Schema:
    """`NAME`, `{NAME: {options}}`, or a part of the user's own by import path."""
    table = TABLES[kind]
    branches: list[Schema] = [
        {"type": "string", "enum": sorted(table)},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {name: options(part) for name, part in table.items()},
            "additionalProperties": kind in IMPORTABLE,
        },
    ]
    return {"anyOf": [*branches, *([OWN] if kind in IMPORTABLE else [])]}


def _plain_options(part: Any) -> Schema:
    """A part's fields, each with one value."""
    schema = _inlined(TypeAdapter(part).json_schema())
    schema.pop("title", None)
    return {"anyOf": [schema, {"type": "null"}]}


def _target() -> Schema:
    fields = read_part("target", Target).fields
    properties = {name: value_schema(item) for name, item in fields.items() if name != "runtime"}
    properties["runtime"] = _part("runtime", _plain_options)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _objective() -> Schema:
    """A cost of the table, or the task's metric, whose name the task decides."""
    costs = _part("objective", _plain_options)
    score = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "propertyNames": {"not": {"enum": sorted(TABLES["objective"])}},
        "additionalProperties": _plain_options(Score),
    }
    return {"anyOf": [*costs["anyOf"], {"type": "string"}, score]}


def _search() -> Schema:
    fields = read_part("search", SearchSettings).fields
    properties = {name: value_schema(item) for name, item in fields.items() if name != "sampler"}
    properties["sampler"] = _part("sampler", _plain_options)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _space() -> Schema:
    named = {
        kind: {
            "type": "object",
            "minProperties": 1,
            "properties": {name: _choices(part) for name, part in TABLES[kind].items()},
            "additionalProperties": True,
        }
        for kind in ("family", "step")
    }
    step: Schema = {"anyOf": [{"type": "string"}, named["step"]]}
    nothing: list[Schema] = [{"type": "null"}, {"type": "object", "maxProperties": 0}]
    return {
        "type": "object",
        "required": ["architecture"],
        "additionalProperties": False,
        "properties": {
            "architecture": {
                "anyOf": [{"type": "string"}, named["family"], {"type": "array", "minItems": 1}]
            },
            "training": _choices(Training),
            "augmentation": _choices(Augmentation),
            "compression": {"anyOf": [step, {"type": "array", "items": step}, *nothing]},
        },
    }


def _choices(part: Any) -> Schema:
    """A part's fields, each with a domain."""
    fields = read_part("", part).fields
    properties = {name: _domain(item) for name, item in fields.items()}
    options = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"anyOf": [options, {"type": "null"}]}


def _domain(item: Field) -> Schema:
    """A value, a list of values, a range, with or without a condition, perhaps one a stage."""
    value = value_schema(item)
    default = {} if item.required else {"default": item.default}
    if item.whole:
        return {**value, **default}
    bounds: dict[str, Schema] = {
        "low": {"type": "number"},
        "high": {"type": "number"},
        "step": {"type": "number", "exclusiveMinimum": 0},
        "log": {"type": "boolean"},
    }
    values = {"type": "array", "minItems": 1, "items": value}
    span = _object(bounds, ("low", "high"))
    simple: Schema = {"anyOf": [value, values, span]}
    branches = [
        value,
        values,
        span,
        _object({**bounds, "when": WHEN}, ("low", "high", "when")),
        _object({"values": simple, "when": WHEN}, ("values",)),
    ]
    if item.per_stage:
        branches.append(_object({"per_stage": simple, "when": WHEN}, ("per_stage",)))
    return {"anyOf": branches, **default}


def _object(properties: Mapping[str, Schema], required: tuple[str, ...]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def value_schema(item: Field) -> Schema:
    """Of one value of a field."""
    return _inlined(TypeAdapter(item.annotation).json_schema())


def _inlined(schema: Schema) -> Schema:
    """A schema without `$defs`: parts are small, and editors show inlined ones better."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rsplit("/", 1)[1]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(value) for value in node] if isinstance(node, list) else node

    resolved: Schema = resolve(schema)
    return resolved
