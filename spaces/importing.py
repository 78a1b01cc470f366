"""What a study file names by import path, `package.module:name`."""

import difflib
import importlib
from collections.abc import Callable, Iterable
from typing import Any


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
        names = sorted(n for n, value in vars(module).items() if callable(value) and n[0] != "_")
        raise ValueError(
            f"module {module_name!r} has no class or function {name!r}; {known(name, names)}"
        )
    return found  # type: ignore[no-any-return]  # checked to be callable


def known(name: object, names: Iterable[str]) -> str:
    """What is known, the likeliest spelling first."""
    listed = list(names)
    close = difflib.get_close_matches(str(name), listed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(listed) or 'none'}"
