"""The documentation: it builds, its links lead somewhere, its studies and commands are true."""

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import SMALL
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from search.parts import TABLES
from search.reference import attribute_docs, reference
from search.schema import study_schema
from search.spec import SECTIONS
from search.study import SearchSettings
from tests.conftest import ROOT

DOCS = ROOT / "docs"
OPTIONS = ("-q", "-W", "--keep-going", "-n")
"""As `make docs` has them: warnings are errors, all of them are told, every reference counts."""
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("howto/*.md")])
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language; "" for those without."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="sphinx is not installed")
def test_site_builds_and_every_link_within_it_leads_somewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *OPTIONS, DOCS, tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (built.returncode, built.stderr) == (0, "")
    for page in NAMES:
        made = (tmp_path / "site" / page).with_suffix(".html").read_text()
        title = (DOCS / page).read_text().partition("\n")[0].removeprefix("# ")
        assert f"<title>{title.replace(chr(39), '&#39;')}" in made  # not a page of Sphinx's own


@pytest.mark.parametrize("page", NAMES)
def test_links_of_a_page_lead_to_files_where_the_sources_are_read(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (DOCS / page).read_text()):
        if link.startswith("http"):
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/[\w./-]*)?", link)
        else:
            assert ((DOCS / page).parent / link).exists(), link


def test_reference_is_what_the_types_say() -> None:
    assert (DOCS / "study_file.md").read_text() == reference(), "make schema"


def test_reference_has_every_section_part_and_option() -> None:
    page = reference()
    assert [key for key in SECTIONS if f"| `{key}` |" not in page] == []
    assert [n for table in TABLES.values() for n in table if f"### `{n}`\n" not in page] == []
    assert [name for name in attribute_docs(SearchSettings) if f"| `{name}` |" not in page] == []
    assert "a part" not in page.partition("## executor")[2]


def studies() -> Iterator[tuple[str, str]]:
    for page, name in zip(PAGES, NAMES, strict=True):
        for block in blocks(page, "yaml"):
            if re.search(r"^name:", block, re.MULTILINE):
                yield name, block


@pytest.mark.parametrize(("page", "block"), list(studies()))
def test_study_on_a_page_is_one_that_the_schema_knows(page: str, block: str) -> None:
    data = YAML(typ="safe", pure=True).load(block)
    assert [e.message for e in Draft202012Validator(study_schema()).iter_errors(data)] == []


@pytest.mark.parametrize("page", NAMES)
def test_options_in_the_text_of_a_page_are_ones_that_the_schema_knows(page: str) -> None:
    sections = study_schema()["properties"]
    keys = "|".join(sections)
    for key, value in re.findall(rf"`({keys}): (\{{.*?\}})`", (DOCS / page).read_text()):
        data = YAML(typ="safe", pure=True).load(value)
        wrong = [e.message for e in Draft202012Validator(sections[key]).iter_errors(data)]
        assert wrong == [], f"{key}: {value}"


def test_every_row_of_readmes_tasks_has_a_page_with_a_study() -> None:
    told = " ".join(page.read_text() for page in PAGES if page.parent.name == "howto")
    assert [name for name in TABLES["task"] if f"`{name}`" not in told and name not in told] == []
    assert {page for page, _ in studies()} >= {n for n in NAMES if n.startswith("howto/")}


@cache
def help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"search.{command}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", NAMES)
def test_commands_on_a_page_have_the_options_that_they_use(page: str) -> None:
    for line in (DOCS / page).read_text().splitlines():
        found = re.search(r"(?:python -m search\.|(?<![\w/])paretune )(\w+)([^`#|]*)", line)
        if found is None or found[1] == "samplers":
            continue
        words = shlex.split(found[2].partition("  ")[0], comments=True)
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in help_of(found[1]), line


@pytest.mark.parametrize("page", NAMES)
def test_python_on_a_page_is_python(page: str) -> None:
    for block in blocks(DOCS / page, "python"):
        compile(block, page, "exec")


def test_parts_of_ones_own_on_the_page_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from search.run import main

    (code,) = blocks(DOCS / "extending.md", "python")
    (study,) = blocks(DOCS / "extending.md", "yaml")
    (folder / "my_parts.py").write_text(code)
    (folder / "own.yaml").write_text(study)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    settings = ["executor=inline", "search.trials=4", "search.plan=8", "search.rungs=[1]"]
    assert main(["own.yaml", *settings, "--quiet"]) == 0, capsys.readouterr().err


def test_examples_of_the_python_interface_are_true(folder: Path) -> None:
    (folder / "small.yaml").write_text(SMALL)
    examples = "\n".join(blocks(DOCS / "python.md", "pycon"))
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told = runner.run(parser.get_doctest(examples, {}, "python.md", "python.md", 0))
    assert told.attempted >= 10
    assert told.failed == 0
