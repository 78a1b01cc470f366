"""Who may import whom, read from the source; what a command loads, seen in a fresh process."""

import ast
import graphlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("search", "spaces", "objectives")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}

FENCES = {
    "optuna": (
        "search.samplers.",
        "search.store.failures",
        "search.store.optuna_study",
    ),
    "sqlalchemy": ("search.store.",),
    "alembic": ("search.store.",),
    "plotly": ("search.api", "search.analysis.figure", "search.desk.figures", "search.desk.page"),
    "ray": ("search.executors.ray_tune.",),
    "boto3": ("search.bucket",),
    "moocore": ("search.pareto", "search.samplers.ehvi.box"),
    "rich": ("search.tables",),
    "ruamel": ("search.document",),
    "torchvision": (
        "objectives.tasks.cifar10",
        "objectives.tasks.mnist",
        "spaces.families.pretrained",
    ),
    "torch_pruning": ("search.executors.warm", "spaces.compression.channels"),
}
"""Library -> the only modules that may import it, at any level; a dot at the end: all below."""


def _imported(nodes: Iterator[ast.AST], module: str) -> Iterator[str]:
    """Absolute names that the import statements among `nodes` ask for, most exact first."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the layering"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _all_imports(module: str) -> set[str]:
    return set(_imported(ast.walk(ast.parse(FILES[module].read_text())), module))


def _outer(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements that run on import: not those of functions, nor under `if TYPE_CHECKING`."""
    for node in body:
        if isinstance(node, ast.If):
            if ast.unparse(node.test) != "TYPE_CHECKING":
                yield from _outer(node.body)
            yield from _outer(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _outer([*node.body, *node.orelse, *node.finalbody])
        else:
            yield node


def _module_of(name: str) -> str | None:
    """The module of ours that importing `name` runs."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name or None


def _graph() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports while it is itself imported."""
    found = {}
    for module, path in FILES.items():
        names = _imported(_outer(ast.parse(path.read_text()).body), module)
        found[module] = {other for name in names if (other := _module_of(name))} - {module}
    return found


def test_source_files_are_found() -> None:
    assert {"search.run", "spaces.families", "objectives.runtimes.eager"} <= FILES.keys()


@pytest.mark.parametrize("package", ["spaces", "objectives"])
def test_package_imports_neither_search_nor_the_other(package: str) -> None:
    others = set(PACKAGES) - {package}
    wrong = {
        (module, name)
        for module in FILES
        if module.split(".")[0] == package
        for name in _all_imports(module)
        if name.split(".")[0] in others
    }
    assert not wrong


@pytest.mark.parametrize("library", FENCES)
def test_library_is_imported_only_behind_its_fence(library: str) -> None:
    allowed = FENCES[library]
    users = {
        module
        for module in FILES
        if any(name.split(".")[0] == library for name in _all_imports(module))
    }
    assert {user for user in users if not f"{user}.".startswith(allowed)} == set()


def test_every_fence_but_rays_guards_something() -> None:
    used = {name.split(".")[0] for module in FILES for name in _all_imports(module)}
    assert FENCES.keys() - used <= {"ray"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    order = tuple(graphlib.TopologicalSorter(_graph()).static_order())
    assert order.index("search.pareto") < order.index("search.loop")


def test_a_circle_would_be_found() -> None:
    graph = _graph()
    graph["search.pareto"].add("search.loop")
    with pytest.raises(graphlib.CycleError):
        tuple(graphlib.TopologicalSorter(graph).static_order())


def test_every_module_says_what_it_is_for() -> None:
    trees = {module: ast.parse(path.read_text()) for module, path in FILES.items()}
    assert [module for module, tree in trees.items() if not ast.get_docstring(tree)] == []


HEAVY = {"torch", "optuna", "sqlalchemy", "plotly", "pydantic", "numpy", "ray", "onnxruntime"}


def _loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    tail = "import sys, json; print('\\n' + json.dumps([m.split('.')[0] for m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tail}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_commands_loads_nothing_heavy() -> None:
    loaded = _loaded_by("import search.run, search.front, search.export, search.report")
    assert loaded & HEAVY == set()
    assert "search" in loaded


def test_help_of_every_command_loads_nothing_heavy() -> None:
    ask = """
import contextlib, importlib
from search.cli import COMMANDS
for name in COMMANDS:
    with contextlib.suppress(SystemExit):
        importlib.import_module(f"search.{name}").main(["--help"])
"""
    loaded = _loaded_by(ask)
    assert loaded & HEAVY == set()
    assert "argparse" in loaded
