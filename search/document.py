"""A YAML file that remembers the line of every key, with overrides and environment variables."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.errors import InputError, nearest

Path_ = tuple[str | int, ...]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Document:
    """Plain data read from `file`, and where each part of it came from."""

    file: str
    data: dict[str, Any]
    lines: dict[Path_, int]
    overridden: frozenset[Path_]

    def error(self, path: Path_, message: str) -> InputError:
        """An error at `path`, with file and line, or the command line where that set it."""
        key = dotted(path)
        if self._is_overridden(path):
            return InputError(f"command line: {key}: {message}")
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        line = self.lines.get(known)
        place = f"{self.file}:{line}" if line else self.file
        return InputError(f"{place}: {key}: {message}" if key else f"{place}: {message}")

    def _is_overridden(self, path: Path_) -> bool:
        """Whether the command line gave `path`: it, what it lies in, or what made it."""
        if any(path[:end] in self.overridden for end in range(1, len(path) + 1)):
            return True
        made = path and path not in self.lines
        return bool(made) and any(other[: len(path)] == path for other in self.overridden)


def dotted(path: Path_) -> str:
    """`objectives[1].latency` for ("objectives", 1, "latency")."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def read_document(file: str | Path, overrides: tuple[str, ...] = ()) -> Document:
    """Read a YAML 1.2 file; apply `key.path=value` overrides; fill in `${NAME}`.

    Raises:
        InputError: the file is missing or not YAML, a variable is not set, an override is not
            `key=value`.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    try:
        tree = yaml.load(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{file}: cannot be read: {reason}; give a study file") from error
    except YAMLError as error:
        raise InputError(f"{file}{_mark(error)}: not YAML: {_problem(error)}") from error
    except Exception as error:
        # ruamel.yaml 0.19 raises anything for the date 2020-13-45, `!!set 3`, endless nesting, ...
        raise InputError(f"{file}: a value cannot be read: {error}; put it in quotes") from error
    lines: dict[Path_, int] = {}
    data = _plain(tree, (), lines)
    if not isinstance(data, dict):
        raise InputError(f"{file}:1: a study file is a mapping (name: ..., task: ..., space: ...)")
    changed = frozenset(_override(data, text) for text in overrides)
    document = Document(str(file), data, lines, changed)
    return Document(str(file), _expanded(document, data, ()), lines, changed)


def _mark(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: Any) -> str:
    first = str(getattr(error, "problem", None) or error).strip().splitlines()[0]
    if "duplicate key" in first:
        return f"{first.split(' with value')[0]}; remove one of the two"
    return f"{first}; check indentation, brackets and quotes"


def _plain(node: Any, path: Path_, lines: dict[Path_, int]) -> Any:
    """Ruamel's tree as dicts, lists and scalars; records the line of each key."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(node, CommentedMap):
        for key in node.lc.data or {}:  # not in it: keys merged from elsewhere by `<<`
            lines[(*path, key)] = node.lc.key(key)[0] + 1
        return {key: _plain(value, (*path, key), lines) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*path, index)] = node.lc.item(index)[0] + 1
        return [_plain(value, (*path, index), lines) for index, value in enumerate(node)]
    return _scalar(node)


def _scalar(node: Any) -> Any:
    """Ruamel's scalar subclasses (which remember notation) as Python's own types."""
    from ruamel.yaml.scalarbool import ScalarBoolean

    if isinstance(node, ScalarBoolean):  # one with an anchor
        return bool(node)
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return None if node is None else str(node)


def _override(data: dict[str, Any], text: str) -> Path_:
    """Set `a.b.1.c=value` in `data`; returns the path."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise InputError(f"command line: {text!r} is not KEY=VALUE, such as search.trials=20")
    try:
        value = _plain(YAML().load(raw) if raw.strip() else None, (), {})
    except YAMLError as error:
        raise InputError(f"command line: {key}: {raw!r} is not YAML: {_problem(error)}") from error
    except Exception as error:  # as for the file
        raise InputError(f"command line: {key}: {raw!r} cannot be read: {error}") from error
    node: Any = data
    path: Path_ = ()
    *parents, last = key.split(".")
    for part in parents:
        node, path = _descend(node, part, path, key)
    if isinstance(node, list):
        index, named = _item(node, last, key)
        node[index] = {last: value} if named else value
        return (*path, index)
    node[last] = value
    return (*path, last)


def _descend(node: Any, part: str, path: Path_, key: str) -> tuple[Any, Path_]:
    """The child `part` of `node`, made a mapping: `executor: process` becomes {process: {}}."""
    if isinstance(node, dict):
        child = node.get(part)
        if not isinstance(child, (dict, list)):
            node[part] = {} if child is None else {child: {}}
        return node[part], (*path, part)
    index, named = _item(node, part, key)
    item = node[index]
    if not isinstance(item, (dict, list)):
        item = node[index] = {item: {}}
    if not named:
        return item, (*path, index)
    if not isinstance(item[part], (dict, list)):
        item[part] = {}
    return item[part], (*path, index, part)


def _item(node: list[Any], part: str, key: str) -> tuple[int, bool]:
    """(index, whether found by name) of a list's item: `1`, or the name of a part in it."""
    names = [next(iter(item), "") if isinstance(item, dict) else item for item in node]
    if part in names:
        return names.index(part), True
    if part.isdecimal() and int(part) < len(node):
        return int(part), False
    raise InputError(
        f"command line: {key}: {part!r} is not in the list; {nearest(part, map(str, names))}"
    )


def _expanded(document: Document, node: Any, path: Path_) -> Any:
    """`node` with `${NAME}` replaced in every string."""
    if isinstance(node, dict):
        return {key: _expanded(document, value, (*path, key)) for key, value in node.items()}
    if isinstance(node, list):
        return [_expanded(document, value, (*path, i)) for i, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    for name in _VARIABLE.findall(node):
        if name not in os.environ:
            raise document.error(path, f"environment variable {name} is not set; export it")
    return _VARIABLE.sub(lambda match: os.environ[match[1]], node)
