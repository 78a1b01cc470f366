"""Whatever is done to a study file: it is accepted, or refused in one line."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from objectives.tasks import load
from search.document import read_document
from search.errors import InputError
from search.spec import read_study
from search.study import StudySpec

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"

quickly = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = """convnet lenet prune int8 bf16 cpu cuda:9 eager random inline accuracy size latency 1ms
2kB 95% per_stage values when low high step log pool width.1 a:b json:dumps math:sin ${HOME}"""
words = st.sampled_from(["", *WORDS.split()])
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
numbers = st.one_of(
    st.integers(-3, 100),
    st.sampled_from([0, 10**9, 10**30, 10**400, -1, 1e-3, 0.5, 1e308, -0.0, float("inf")]),
    st.floats(allow_nan=False, width=32),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, words, text)
ranges = st.fixed_dictionaries(
    {"low": numbers, "high": numbers}, optional={"step": numbers, "log": scalars}
)
values = st.recursive(
    st.one_of(scalars, ranges),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(words, text), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of everything below `node`."""
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from places(node[key])


def delete(container: Any, key: Any, draw: st.DrawFn) -> None:
    del container[key]


def replace(container: Any, key: Any, draw: st.DrawFn) -> None:
    container[key] = draw(values)


def rename(container: Any, key: Any, draw: st.DrawFn) -> None:
    if isinstance(container, dict):
        container[draw(st.one_of(words, text))] = container.pop(key)
    else:
        container.append(copy.deepcopy(container[key]))


def insert(container: Any, key: Any, draw: st.DrawFn) -> None:
    if isinstance(container, dict):
        container[draw(st.one_of(words, text))] = draw(values)
    else:
        container.insert(key, draw(values))


def swap(container: Any, key: Any, draw: st.DrawFn) -> None:
    """The value goes elsewhere, and what was there comes here."""
    other, place = draw(st.sampled_from(list(places(container))))
    container[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(container[key])


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The study as data with one to three changes."""
    data = copy.deepcopy(read_document(STUDY).data)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if found:
            container, key = draw(st.sampled_from(found))
            draw(st.sampled_from([delete, replace, replace, rename, insert, swap]))(
                container, key, draw
            )
    return data


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = list(sys.path)  # reading a study makes its folder importable
    yield tmp_path_factory.mktemp("mutated") / "mutant.yaml"
    sys.path[:] = before


def check_accepted_or_refused(file: Path, *overrides: str) -> None:
    try:
        study = read_study(file, overrides)
    except InputError as error:
        message = str(error)
        assert message.splitlines() == [message]
        assert message.startswith((str(file), "command line: "))
    else:
        check_usable(study)


def check_usable(study: StudySpec) -> None:
    """An accepted study can be named, drawn from, and its candidates known by a key."""
    assert study.definition() == study.definition()
    splits, rng = load(study.task), np.random.default_rng(0)
    for _ in range(3):
        candidate = study.space.decode(study.space.draw(rng), splits.input_shape)
        assert candidate.key(study.context())
        reason = study.space.check(candidate, *splits.signature)
        assert reason is None or reason.splitlines() == [reason]


def test_study_as_it_is_would_be_accepted() -> None:
    check_usable(read_study(STUDY))


@quickly
@given(data=mutated())
def test_changed_study_is_accepted_or_refused_in_one_line(
    file: Path, data: dict[str, Any]
) -> None:
    file.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    check_accepted_or_refused(file)


pieces = st.one_of(
    st.sampled_from(list("\n\t :{}[],&*!|>'\"%@`#-?~<=.0159aé\u2028"))
    | st.sampled_from(["<<: ", "- ", "---\n", "...\n", "!!int ", ".nan", "1e", "0x", "2001-1-1 "]),
    text,
)


@quickly
@given(data=st.data())
def test_garbled_text_is_accepted_or_refused_in_one_line(file: Path, data: st.DataObject) -> None:
    garbled = STUDY.read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(garbled)))
        end = start + data.draw(st.integers(0, 10))
        garbled = garbled[:start] + data.draw(pieces) + garbled[end:]
    file.write_text(garbled, encoding="utf-8")
    check_accepted_or_refused(file)


@quickly
@given(data=st.data())
def test_any_override_is_accepted_or_refused_in_one_line(file: Path, data: st.DataObject) -> None:
    file.write_text(STUDY.read_text())
    known = ["name", "seed", "space", "architecture", "convnet", "depth", "compression", "prune"]
    known += ["targets", "cpu", "objectives", "latency", "limit", "search", "rungs", "0", "1", "9"]
    keys = st.lists(st.sampled_from(known) | text, min_size=1, max_size=4).map(".".join)
    value = st.one_of(values.map(lambda v: json.dumps(v, ensure_ascii=False)), text)
    override = f"{data.draw(keys)}={data.draw(value)}"
    check_accepted_or_refused(file, override)
