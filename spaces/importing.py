"""What a study file names by import path, `package.module:name`."""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_OWN: set[str] = set()
"""Top-level names of modules that studies have named."""


def own_modules() -> list[Path]:
    """Files and packages of the user's own that were named so far, without installed ones.

    With them those of the same folders that are loaded: what a named one imports from beside it.
    """
    modules = list(sys.modules.items())  # another thread may be importing
    loaded = {name: _place(module) for name, module in modules if "." not in name}
    own = {name: place for name, place in loaded.items() if place and not _installed(place)}
    folders = {own[name].parent for name in _OWN if name in own}
    return sorted({place for place in own.values() if place.parent in folders})


def _place(module: object) -> Path | None:
    """The file of a module, the folder of a package."""
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    return Path(file).parent if Path(file).name == "__init__.py" else Path(file)


def _installed(file: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or (
        file.is_relative_to(Path(__file__).parent.parent)
    )


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
    _OWN.add(module_name.partition(".")[0])
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
