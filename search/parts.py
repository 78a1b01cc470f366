"""From a name in the study file to the part it stands for."""

import importlib
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


def import_path(path: str) -> Callable[..., Any]:
    """The object at `package.module:name`.

    Raises:
        ValueError: the module does not import, or has no such name.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(
            f"module {module_name!r} does not import ({reason}); "
            "it must stand beside the study file, in the current folder, or be installed"
        ) from error
    found = vars(module).get(name)
    if not callable(found):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise ValueError(
            f"module {module_name!r} has no class or function {name!r}; {nearest(name, names)}"
        )
    return found  # type: ignore[no-any-return]  # checked to be callable
