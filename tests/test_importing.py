"""Modules of the user's own: which of them travel to other machines."""

import sys
from pathlib import Path

import pytest

from spaces import importing


def test_what_a_named_module_imports_from_beside_it_travels_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets, other = tmp_path / "nets", tmp_path / "other"
    for folder in (nets / "beside", other):
        folder.mkdir(parents=True)
    (nets / "named_one.py").write_text(
        "import beside.deep, json, unrelated\nfrom beside_too import layer\nNet = layer\n"
    )
    (nets / "beside_too.py").write_text("def layer(): ...\n")
    (nets / "beside" / "__init__.py").write_text("")
    (nets / "beside" / "deep.py").write_text("")
    (nets / "not_imported.py").write_text("")
    (other / "unrelated.py").write_text("")
    monkeypatch.setattr(importing, "_OWN", set())
    monkeypatch.setattr(sys, "path", [str(nets), str(other), *sys.path])
    before = set(sys.modules)
    try:
        importing.import_path("named_one:Net")
        assert importing.own_modules() == [
            nets / "beside",
            nets / "beside_too.py",
            nets / "named_one.py",
        ]
    finally:
        for name in set(sys.modules) - before:
            del sys.modules[name]


def test_installed_modules_do_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_OWN", set())
    importing.import_path("torch.nn:Linear")
    importing.import_path("spaces.importing:import_path")
    assert importing.own_modules() == []
