"""The reference of the study file in Markdown, made from the same types that check it.

`make schema` writes it to `docs/study_file.md`: python -m search.reference.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from objectives.target import Target
from objectives.training import Training
from search.parts import IMPORTABLE, TABLES
from search.schema import Schema, value_schema
from search.spec import REQUIRED, SECTIONS
from search.study import ConfirmSettings, Score, SearchSettings
from spaces.augmentation import Augmentation
from spaces.part import Field, read_part

INTRODUCTION = """\
# The study file

*This page is made from the types that check a study file (`make schema`).*

One YAML file says what is asked and where it is looked for. Any key can be changed for one run:
`python -m search.run study.yaml search.trials=20`, also deep inside
(`objectives.latency.limit=1ms`), and `${NAME}` is read from the environment. A mistake is told
with its line and the remedy before anything is written.

A **part** is `NAME`, or `{NAME: {options}}`; some kinds take one of your own,
`package.module:name` ([how to write one](extending.md)). In `space` every option is a **choice**:

| written | means |
|---|---|
| `16` | always this value |
| `[8, 16, 32]` | one of these |
| `{low: 8, high: 64, step: 8}` | a range, both ends included |
| `{low: 0.001, high: 0.1, log: true}` | a range that is searched by its logarithm |
| `{per_stage: [8, 16]}` | one choice for each stage of the network |
| `{values: [max, avg], when: {pool: [2, 3]}}` | only where `pool` is 2 or 3, else the default |

An option that is left out has its default. Quantities carry units: `0.05 ms`, `2 MB`,
`10 MFLOPs`, `95%`. Editors complete and check the file through `studies/study.schema.json`.
"""

KINDS = {
    "task": ("task", "The data and the metric."),
    "family": ("space: architecture", "The network. A list of parts lets the search choose."),
    "step": (
        "space: compression",
        "A list: applied one after the other to a copy of the trained network.",
    ),
    "runtime": ("targets: runtime", "How the network is deployed on a target."),
    "objective": (
        "objectives: costs",
        "What is minimised beside the task's metric, which is named alone (`accuracy`).",
    ),
    "sampler": ("search: sampler", "How candidates are proposed."),
    "executor": ("executor", "Where candidates are evaluated."),
}
"""Kind of part -> (heading, what it is)."""


def main() -> None:
    """Print the page."""
    print(reference(), end="")


def reference() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_sections()])


def _sections() -> Iterator[str]:
    yield "## Sections\n"
    rows = [(f"`{key}`", "yes" if key in REQUIRED else "", SECTIONS[key]) for key in SECTIONS]
    yield _table(("key", "required", "what"), rows)
    yield from _kind("task")
    yield from _kind("family")
    yield from _plain("space: training", Training)
    yield from _plain("space: augmentation", Augmentation)
    yield from _kind("step")
    yield from _plain("targets", Target, "`NAME: {options}`, as many as there are devices.")
    yield from _kind("runtime")
    yield "## objectives\n"
    yield "A list. The task's metric, with these options:\n"
    yield _options(Score)
    yield from _kind("objective")
    yield from _plain("search", SearchSettings)
    yield from _kind("sampler")
    yield from _plain("confirm", ConfirmSettings)
    yield from _kind("executor")


def _kind(kind: str) -> Iterator[str]:
    """All parts of a kind."""
    heading, what = KINDS[kind]
    yield f"## {heading}\n"
    own = " One of your own by `package.module:name`." if kind in IMPORTABLE else ""
    yield f"{what}{own}\n"
    for name, part in TABLES[kind].items():
        yield f"### `{name}`\n"
        yield f"{_first_paragraph(part)}\n"
        yield _options(part)


def _plain(heading: str, thing: Any, what: str = "") -> Iterator[str]:
    yield f"## {heading}\n"
    yield f"{what or _first_paragraph(thing)}\n"
    yield _options(thing)


def _first_paragraph(thing: Callable[..., Any]) -> str:
    told = inspect.getdoc(thing) or ""
    return " ".join(told.partition("\n\n")[0].split())


def _options(thing: Any) -> str:
    """A table of the fields; nothing where there are none."""
    told = attribute_docs(thing)
    rows = [
        (f"`{name}`", _type(item), _default(item), told.get(name, ""))
        for name, item in read_part("", thing).fields.items()
    ]
    return _table(("option", "value", "default", "what"), rows) if rows else ""


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _default(item: Field) -> str:
    if item.required:
        return "required"
    if item.default is None:
        return "none"
    try:
        return f"`{json.dumps(item.default, ensure_ascii=False)}`"
    except TypeError:  # a part: its class's name is its name in the file, nearly
        return f"`{type(item.default).__name__.lower()}`"


def _type(item: Field) -> str:
    try:
        words = _words(value_schema(item))
    except Exception:  # a type of Python's that JSON Schema has no word for: a part
        return "a part"
    return f"{words}, `per_stage` too" if item.per_stage else words


def _words(schema: Schema) -> str:
    """A JSON Schema of one value in words."""
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " or ".join(f"`{value}`" for value in values)
    if "anyOf" in schema:
        options = [s for s in schema["anyOf"] if s.get("type") != "null"]
        return " or ".join(dict.fromkeys(_words(option) for option in options))
    kind = schema.get("type")
    if kind == "array":
        inside = schema.get("items") or next(iter(schema.get("prefixItems", [])), None)
        return f"list of {_words(inside)}" if inside else "list"
    names = {"string": "text", "boolean": "true or false", "object": "mapping"}
    return f"{names.get(str(kind), str(kind or 'anything'))}{_bounds(schema)}"


def _bounds(schema: Schema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    told = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f", {', '.join(told)}" if told else ""


def attribute_docs(thing: Any) -> Mapping[str, str]:
    """Field -> the string that stands below it in the source, its first paragraph."""
    told: dict[str, str] = {}
    for base in reversed(getattr(thing, "__mro__", ())):
        if base.__module__ == "builtins":
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):
            continue
        body = tree.body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = inspect.cleandoc(str(below.value.value)).partition("\n\n")[0]
                told[field.target.id] = " ".join(text.split())
    return told


if __name__ == "__main__":
    main()
