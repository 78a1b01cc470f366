"""The examples in docstrings run and print what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("search", "spaces", "objectives")
    for path in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in path.read_text()
]
EXAMPLES = {
    test.name: test
    for module in MODULES
    for test in doctest.DocTestFinder().find(importlib.import_module(module))
    if test.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_prints_what_it_says(name: str) -> None:
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(EXAMPLES[name], out=told.append)
    assert "".join(told) == ""


def test_examples_are_found() -> None:
    assert {"search.errors.nearest", "objectives.units.parse_quantity"} <= EXAMPLES.keys()
