"""From a name in the study file to the part it stands for."""

from collections.abc import Callable, Mapping
from typing import Any

from objectives.costs import COSTS
from objectives.runtimes import RUNTIMES
from objectives.tasks import TASKS
from search.errors import nearest
from search.executors.table import EXECUTORS
from search.samplers import SAMPLERS
from spaces.compression import STEPS
from spaces.families import FAMILIES
from spaces.importing import import_path

TABLES: dict[str, Mapping[str, Callable[..., Any]]] = {
    "family": FAMILIES,
    "step": STEPS,
    "task": TASKS,
    "runtime": RUNTIMES,
    "objective": COSTS,
    "sampler": SAMPLERS,
    "executor": EXECUTORS,
}
"""Kind of part -> name -> class. A new part is one entry in its own package's table."""

IMPORTABLE = ("family", "step", "task")
"""Kinds of which a study may name its own by import path, `package.module:name`."""


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """The class or function that `name` stands for.

    Raises:
        ValueError: no such part, or its module does not import.
    """
    table = TABLES[kind]
    if name in table:
        return table[name]
    if kind in IMPORTABLE and ":" in name:
        return import_path(name)
    own = ", or 'package.module:name' of your own" if kind in IMPORTABLE else ""
    article = "an" if kind[0] in "aeiou" else "a"
    raise ValueError(f"{name!r} is not {article} {kind}; {nearest(name, table)}{own}")
