"""The JSON Schema of study files: valid itself, current, and of one mind with the reader."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from jsonschema import Draft202012Validator

from search.document import read_document
from search.errors import InputError
from search.parts import TABLES
from search.schema import study_schema
from search.spec import SECTIONS, read_study

STUDIES = Path(__file__).parent.parent / "studies"
DIGITS = STUDIES / "digits.yaml"


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    return Draft202012Validator(study_schema())


def test_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(study_schema())


def test_committed_schema_is_what_the_command_prints(command: Command) -> None:
    done = command("run", "--schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (STUDIES / "study.schema.json").read_text()


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_study_is_valid(
    schema: Draft202012Validator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PICTURES", "IMAGENET", "WEIGHTS"):  # what some studies ask their user for
        monkeypatch.setenv(name, "pictures")
    assert [error.message for error in schema.iter_errors(read_document(path).data)] == []


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_study_names_the_schema_for_editors(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=study.schema.json"


def test_every_section_is_described() -> None:
    properties = study_schema()["properties"]
    assert {key: part["description"] for key, part in properties.items()} == SECTIONS


@pytest.mark.parametrize("kind", TABLES)
def test_every_part_of_every_table_is_named(kind: str) -> None:
    told = json.dumps(study_schema())
    assert [name for name in TABLES[kind] if f'"{name}"' not in told] == []


def change(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of `data` with one place set, or deleted where `value` is DELETE."""
    node: Any = (changed := copy.deepcopy(data))
    *parents, last = (int(key) if key.isdecimal() else key for key in path.split("/"))
    for key in parents:
        node = node[key]
    if value is DELETE:
        del node[last]
    else:
        node[last] = value
    return changed


DELETE = object()
CONVNET = "space/architecture/convnet"

ACCEPTED = [
    ("name", "another name"),
    ("seed", 3),
    ("seed", DELETE),
    ("task", {"digits": None}),
    ("task", {"digits": {"split_seed": 1}}),
    ("targets", DELETE),
    ("targets/cpu", {}),
    ("targets/cpu/runtime", {"onnxruntime": {"exporter": "dynamo"}}),
    ("objectives", ["accuracy"]),
    ("objectives/0", {"accuracy": {"limit": "90%"}}),
    ("objectives/0", {"accuracy": {"limit": 0.9}}),
    ("objectives/1", {"flops": {"limit": "1M"}}),
    ("objectives/2/latency/max_s", 1),
    ("search", DELETE),
    ("search/sampler", "random"),
    ("search/sampler", {"tpe": {"startup": 3}}),
    ("search/reference", {"flops": "1M"}),
    ("search/time", "1 h"),
    ("search/rungs", [5]),
    ("executor", "inline"),
    ("executor", DELETE),
    ("artifacts", "files"),
    ("space/architecture", "convnet"),
    ("space/architecture", ["convnet", {"lenet": None}]),
    ("space/architecture/lenet", {"width": {"low": 0.5, "high": 2.0}}),
    (f"{CONVNET}/depth", 2),
    (f"{CONVNET}/depth", {"low": 1, "high": 3}),
    (f"{CONVNET}/width", [8, 16]),
    (f"{CONVNET}/width", {"per_stage": [8, 16]}),
    (f"{CONVNET}/blocks", {"values": [1, 2], "when": {"depth": 2}}),
    ("space/training", DELETE),
    ("space/training", None),
    ("space/training/optimizer", ["adamw", "sgd"]),
    ("space/augmentation/flip", [True, False]),
    ("space/compression", "prune"),
    ("space/compression", {"prune": None, "quantize": None}),
    ("space/compression", []),
    ("space/compression/0/prune/round_to", [1, 4]),
]

REJECTED = [
    # sections
    ("name", DELETE),
    ("name", 3),
    ("name", ""),
    ("task", DELETE),
    ("space", DELETE),
    ("objectives", DELETE),
    ("weather", "fine"),
    ("seed", -1),
    ("seed", "0"),
    ("seed", 0.5),
    ("storage", 3),
    ("artifacts", ["files"]),
    # parts
    ("task", "digit"),
    ("task", {"digits": {"seed": 1}}),
    ("task", {"digits": None, "mnist": None}),
    ("executor", "threads"),
    ("executor", {"process": {"workers": 0}}),
    ("executor", {"process": {"workers": "two"}}),
    ("executor", []),
    ("search/sampler", "tpee"),
    ("search/sampler", {"tpe": {"startups": 1}}),
    ("search/sampler", {"random": {"startup": 1}}),
    ("targets", {}),
    ("targets", []),
    ("targets/cpu", 0),
    ("targets/cpu", "fast"),
    ("targets/cpu/threads", 0),
    ("targets/cpu/thread", 1),
    ("targets/cpu/runtime", "onnx"),
    ("targets/cpu/runtime", {"onnxruntime": {"exporter": "fast"}}),
    # objectives
    ("objectives", []),
    ("objectives", "accuracy"),
    ("objectives/1", {"flops": {"limit": ["1M"]}}),
    ("objectives/1", {"flops": {"target": "cpu"}}),
    ("objectives/2/latency/limt", "1 ms"),
    ("objectives/2/latency/precision", 0),
    ("objectives/2/latency/precision", "2%"),
    ("objectives/0", {"accuracy": {"limits": 1}}),
    ("objectives/0", {"accuracy": None, "flops": None}),
    ("objectives/0", 3),
    # search
    ("search", []),
    ("search/trials", 0),
    ("search/trials", "many"),
    ("search/trials", True),
    ("search/trials", "20"),
    ("search/rungs", 9),
    ("search/rungs", ["1"]),
    ("search/reduction", 0.5),
    ("search/plan", 1),
    ("search/time", 30),
    ("search/reference", []),
    ("search/trails", 20),
    # space
    ("space", []),
    ("space/architecture", DELETE),
    ("space/architecture", {}),
    ("space/architecture", []),
    ("space/architecture", 3),
    ("space/trainin", {}),
    (CONVNET, {"dpeth": 2}),
    (CONVNET, []),
    (f"{CONVNET}/depth", []),
    (f"{CONVNET}/depth", "two"),
    (f"{CONVNET}/depth", [1, "two"]),
    (f"{CONVNET}/depth", 0),
    (f"{CONVNET}/depth", True),
    (f"{CONVNET}/depth", None),
    (f"{CONVNET}/depth", {"low": 1}),
    (f"{CONVNET}/depth", {"low": 1, "high": 3, "steps": 1}),
    (f"{CONVNET}/depth", {"low": 1, "high": 3, "step": 0}),
    (f"{CONVNET}/depth", {"low": "1", "high": 3}),
    (f"{CONVNET}/depth", {"low": 1, "high": 3, "log": "yes"}),
    (f"{CONVNET}/depth", {"per_stage": [1, 2]}),
    (f"{CONVNET}/kernel", {"per_stage": [2, 4]}),
    (f"{CONVNET}/kernel", {"values": [3, 5], "when": "pool"}),
    (f"{CONVNET}/activation", ["relu", "gelu2"]),
    ("space/training/lr", {"low": 1e-3, "high": 0.1, "log": 1}),
    ("space/training/lr", "fast"),
    ("space/training/momentum", 1.0),
    ("space/augmentation/flip", "yes"),
    ("space/augmentation/shift", 1.5),
    ("space/compression", [3]),
    ("space/compression", 3),
    ("space/compression/0/prune/ratio", [0.0, 1.0]),
    ("space/compression/0/prune/round_to", 3),
    ("space/compression/1/quantize/scheme", ["none", "int3"]),
    ("space/compression/1/quantize/bits", 8),
]


def accepted_by_reader(folder: Path, data: dict[str, Any]) -> bool:
    path = folder / "study.yaml"
    path.write_text(json.dumps(data))  # JSON is YAML
    try:
        read_study(path)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_schema_and_reader_accept(
    schema: Draft202012Validator, folder: Path, path: str, value: object
) -> None:
    data = change(read_document(DIGITS).data, path, value)
    assert accepted_by_reader(folder, data)
    assert [error.message for error in schema.iter_errors(data)] == []


@pytest.mark.parametrize(("path", "value"), REJECTED)
def test_schema_and_reader_reject(
    schema: Draft202012Validator, folder: Path, path: str, value: object
) -> None:
    data = read_document(DIGITS).data
    data = change(data, path, value)
    assert not schema.is_valid(data)
    assert not accepted_by_reader(folder, data)


@pytest.mark.parametrize(
    "architecture",
    ["my_nets:Net", {"my_nets:Net": {"anything": [1, 2]}}, ["convnet", "my_nets:build"]],
    ids=str,
)
def test_schema_accepts_parts_of_the_users_own(
    schema: Draft202012Validator, architecture: object
) -> None:
    data = change(read_document(DIGITS).data, "space/architecture", architecture)
    assert schema.is_valid(data)
    assert schema.is_valid(change(data, "task", {"my_tasks:Mine": {"folder": "here"}}))
