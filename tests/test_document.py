"""Study files as data: scalars, lines, overrides, environment variables, unreadable files."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.document import Document, Path_, dotted, read_document
from search.errors import InputError, nearest

TEXT = """# a comment
name: toy
search: {trials: 20, rungs: [1, 3]}
objectives:
  - accuracy
  - latency: {target: cpu,
              limit: 1 ms}
  - flops:
executor: process
"""


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "toy.yaml"
    path.write_text(TEXT)
    return path


def read(file: Path, *overrides: str) -> dict[str, Any]:
    return read_document(file, overrides).data


def refused(file: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        read_document(file, overrides)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


# --- scalars and lines ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("20", 20),
        ("0x1F", 31),
        ("0o17", 15),
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("none", "none"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'20'", "20"),
        ("1 ms", "1 ms"),
        ("12:30", "12:30"),
        ("2024-05-01", "2024-05-01"),
        ("&anchor true", True),
        ("&anchor 3", 3),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
        ("нейросеть", "нейросеть"),
    ],
    ids=repr,
)
def test_scalar_is_read_as_yaml_1_2_says(folder: Path, text: str, value: object) -> None:
    path = folder / "one.yaml"
    path.write_text(f"key: {text}\n", encoding="utf-8")
    found = read(path)["key"]
    assert found == value
    assert type(found) is type(value)


def test_every_key_and_item_remembers_its_line(file: Path) -> None:
    lines = read_document(file).lines
    expected: dict[Path_, int] = {
        ("name",): 2,
        ("search",): 3,
        ("search", "rungs", 1): 3,
        ("objectives",): 4,
        ("objectives", 0): 5,
        ("objectives", 1): 6,
        ("objectives", 1, "latency", "target"): 6,
        ("objectives", 1, "latency", "limit"): 7,
        ("objectives", 2): 8,
        ("executor",): 9,
    }
    assert {path: lines.get(path) for path in expected} == expected


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("search", "rungs", 1), "toy.yaml:3: search.rungs[1]: no"),
        (("objectives", 1, "latency", "limit"), "toy.yaml:7: objectives[1].latency.limit: no"),
        (("objectives", 2, "flops", "limit"), "toy.yaml:8: objectives[2].flops.limit: no"),
        (("executor", "process", "workers"), "toy.yaml:9: executor.process.workers: no"),
        ((), "toy.yaml: no"),
    ],
)
def test_error_names_the_line_of_the_key_or_of_what_it_lies_in(
    file: Path, path: Path_, place: str
) -> None:
    assert str(read_document(file.name).error(path, "no")) == place


def test_merged_mapping_is_read_with_its_own_keys_first(folder: Path) -> None:
    path = folder / "merged.yaml"
    path.write_text("one: &one {threads: 1, batch: 1}\ntwo:\n  <<: *one\n  batch: 2\n")
    document = read_document(path)
    assert document.data["two"] == {"threads": 1, "batch": 2}
    assert document.lines["two", "batch"] == 4
    assert str(document.error(("two", "threads"), "no")) == f"{path}:2: two.threads: no"


# --- files that are none ---


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name: [1, 2\nseed: 0\n", ":2: not YAML"),
        (b"name: x\n  seed: 0\n", ":2: not YAML"),
        (b"name: 'x\n", "not YAML"),
        (b"name: x\nseed: 0\nname: y\n", ':3: not YAML: found duplicate key "name"'),
        (b"search: {trials: 1, trials: 2}\n", ':1: not YAML: found duplicate key "trials"'),
        (b"name: *nobody\n", ":1: not YAML: found undefined alias"),
        (b"name: x\n---\nname: y\n", ":2: not YAML: but found another document"),
        (b"name: x\x00\n", "not YAML: unacceptable character"),
        (b"seed: 2020-13-45\n", "a value cannot be read: month must be in 1..12"),
        (b"seed: " + b"9" * 5000, "a value cannot be read: Exceeds the limit"),
        pytest.param(
            b"[" * 20_000, "a value cannot be read: maximum recursion depth", id="nested too deep"
        ),
        (b"", ":1: a study file is a mapping (name: ..., task: ..., space: ...)"),
        (b"- name\n", ":1: a study file is a mapping"),
        (b"just words\n", ":1: a study file is a mapping"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", "cannot be read: not a text file"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_file_that_is_no_study_is_refused_in_one_line(
    folder: Path, content: bytes, told: str
) -> None:
    path = folder / "bad.yaml"
    path.write_bytes(content)
    message = refused(path)
    assert message.startswith(str(path))
    assert told in message


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"a: [1\n", "check indentation, brackets and quotes"),
        (b"a: 1\na: 2\n", "remove one of the two"),
        (b"a: 2020-13-45\n", "put it in quotes"),
        (b"\xff\xfe\x00", "give a study file"),
    ],
)
def test_refused_file_comes_with_a_remedy(folder: Path, content: bytes, remedy: str) -> None:
    path = folder / "bad.yaml"
    path.write_bytes(content)
    assert refused(path).endswith(remedy)


def test_missing_file_and_folder_are_told_apart(folder: Path) -> None:
    assert "No such file or directory; give a study file" in refused(folder / "absent.yaml")
    assert "Is a directory" in refused(folder)


# --- overrides ---


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("search.trials=5", ("search", "trials"), 5),
        ("search.time=30 min", ("search", "time"), "30 min"),
        ("search.reduction=1e1", ("search", "reduction"), 10.0),
        ("search.sampler.tpe.startup=3", ("search", "sampler"), {"tpe": {"startup": 3}}),
        ("search.rungs=[1, 2, 4]", ("search", "rungs"), [1, 2, 4]),
        ("search.rungs.1=9", ("search", "rungs"), [1, 9]),
        ("name=", ("name",), None),
        ("name=a=b", ("name",), "a=b"),
        ("storage=sqlite:///x.db", ("storage",), "sqlite:///x.db"),
        ("executor.process.workers=1", ("executor",), {"process": {"workers": 1}}),
        ("executor=inline", ("executor",), "inline"),
        ("objectives.latency.limit=2 ms", ("objectives", 1, "latency", "limit"), "2 ms"),
        ("objectives.1.latency.limit=2 ms", ("objectives", 1, "latency", "limit"), "2 ms"),
        ("objectives.flops.limit=1M", ("objectives", 2), {"flops": {"limit": "1M"}}),
        ("objectives.accuracy.limit=.9", ("objectives", 0), {"accuracy": {"limit": 0.9}}),
        ("objectives.0=rmse", ("objectives", 0), "rmse"),
        ("objectives.accuracy={limit: 90%}", ("objectives", 0), {"accuracy": {"limit": "90%"}}),
        ("targets.gpu.device=cuda", ("targets",), {"gpu": {"device": "cuda"}}),
    ],
)
def test_override_changes_one_place_and_nothing_else(
    file: Path, override: str, path: Path_, value: object
) -> None:
    before, after = read(file), read(file, override)
    node: Any = after
    for key in path:
        node = node[key]
    assert node == value
    changed = {key for key in after if after[key] != before.get(key)}
    assert changed <= {path[0]}


def test_later_override_wins(file: Path) -> None:
    assert read(file, "search.trials=5", "search.trials=6")["search"]["trials"] == 6


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("search.trials", "'search.trials' is not KEY=VALUE, such as search.trials=20"),
        ("=5", "'=5' is not KEY=VALUE"),
        ("search.trials=[1", "search.trials: '[1' is not YAML"),
        ("name=a: b: c", "name: 'a: b: c' is not YAML"),
        ("seed=2020-13-45", "seed: '2020-13-45' cannot be read"),
        (
            "objectives.latencyy.limit=1 ms",
            "'latencyy' is not in the list; did you mean 'latency'?",
        ),
        ("objectives.7=flops", "'7' is not in the list; known: accuracy, flops, latency"),
        ("objectives.².limit=1", "'²' is not in the list"),
        ("search.rungs.a.b=1", "'a' is not in the list"),
    ],
)
def test_override_that_cannot_be_is_told_with_the_command_line(
    file: Path, override: str, told: str
) -> None:
    message = refused(file, override)
    assert message.startswith("command line: ")
    assert told in message


@pytest.mark.parametrize(
    ("override", "path", "place"),
    [
        ("search.trials=0", ("search", "trials"), "command line"),
        ("search={trials: 0}", ("search", "trials"), "command line"),
        ("objectives=[accuracy, foo]", ("objectives", 1), "command line"),
        ("objectives.latency.limit=x", ("objectives", 1, "latency", "limit"), "command line"),
        ("serach.trials=0", ("serach",), "command line"),
        ("search.trials=0", ("search", "rungs"), "toy.yaml:3"),
        ("search.plan=0", ("search",), "toy.yaml:3"),
        ("search.trials=0", ("name",), "toy.yaml:2"),
    ],
)
def test_error_names_the_command_line_where_that_set_the_value(
    file: Path, override: str, path: Path_, place: str
) -> None:
    error = read_document(file.name, (override,)).error(path, "no")
    assert str(error) == f"{place}: {dotted(path)}: no"


# --- environment variables ---


def test_variables_are_filled_in_wherever_text_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_TEST_PASSWORD", "s3cret: [x")
    path = folder / "env.yaml"
    path.write_text(
        "storage: 'postgresql://me:${PARETUNE_TEST_PASSWORD}@host/db'\n"
        "list: [{deep: '${PARETUNE_TEST_PASSWORD}${PARETUNE_TEST_PASSWORD}'}]\n"
        "price: 5 $ {a} $$ ${1}\n"
    )
    data = read(path, "name=${PARETUNE_TEST_PASSWORD}")
    assert data["storage"] == "postgresql://me:s3cret: [x@host/db"
    assert data["list"] == [{"deep": "s3cret: [xs3cret: [x"}]
    assert data["price"] == "5 $ {a} $$ ${1}"
    assert data["name"] == "s3cret: [x"


def test_variable_that_is_not_set_is_named_with_its_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARETUNE_TEST_ABSENT", raising=False)
    file.write_text("name: toy\nsearch:\n  time: ${PARETUNE_TEST_ABSENT}\n")
    told = "environment variable PARETUNE_TEST_ABSENT is not set; export it"
    assert refused(file) == f"{file}:3: search.time: {told}"
    changed = refused(file, "search.time=1 h", "name=${PARETUNE_TEST_ABSENT}")
    assert changed == f"command line: name: {told}"


# --- messages ---


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("name",), "name"),
        (("objectives", 1, "latency"), "objectives[1].latency"),
        (("a", "b", 0, 2), "a.b[0][2]"),
    ],
)
def test_path_is_written_with_dots_and_brackets(path: Path_, text: str) -> None:
    assert dotted(path) == text


line_ends = st.sampled_from(["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "x", " "])


@given(st.lists(line_ends).map("".join))
def test_message_is_one_line_whatever_the_key_holds(key: str) -> None:
    error = Document("f.yaml", {}, {(key,): 1}, frozenset()).error((key,), f"{key} is odd")
    assert len(str(error).splitlines()) == 1


def test_nearest_lists_everything_and_hints_at_likely_spellings_only() -> None:
    assert nearest("latensy", {"latency": 1, "flops": 2}) == (
        "did you mean 'latency'? known: flops, latency"
    )
    assert nearest("watts", ["latency", "flops"]) == "known: flops, latency"
