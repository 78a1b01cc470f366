"""Study files: what a good one means, and what each mistake is told."""

import re
import sys
from pathlib import Path

import pytest

from objectives.costs import Flops, Latency, Size
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.target import Target
from objectives.tasks.digits import Digits
from search.errors import InputError
from search.executors.inline import Inline
from search.executors.process import Process
from search.samplers.informed import EHVI
from search.samplers.optuna_samplers import TPE
from search.spec import read_study
from search.study import StudySpec
from spaces.choice import Choice, Fixed, Range, Values

GOOD = """\
name: good
seed: 7
task: {digits: {split_seed: 3}}
space:
  architecture:
    convnet:
      depth: [1, 2]
      width: {per_stage: {low: 8, high: 32, step: 8}}
      pool: [0, 2]
      pool_kind: {values: [max, avg], when: {pool: 2}}
    lenet:
      width: {low: 0.5, high: 2.0}
  training:
    lr: {low: 1e-3, high: 1e-1, log: true}
    optimizer: sgd
  augmentation: {flip: [false, true]}
  compression:
    - prune: {ratio: [0.0, 0.5]}
    - quantize: {scheme: [none, int8]}
targets:
  small: {runtime: onnxruntime}
  big: {threads: 2, batch: 8, runtime: {onnxruntime: {exporter: dynamo}}}
objectives:
  - accuracy: {limit: 80%}
  - flops
  - latency: {target: small, limit: 0.05 ms, precision: 0.05}
  - latency: {target: big}
  - size: {target: small, limit: 50 kB}
search:
  sampler: {tpe: {startup: 4}}
  trials: 12
  time: 10 min
  rungs: [1, 3]
  reduction: 2
  reference: {flops: 2M, latency.big: 1 ms}
executor: {process: {workers: 3}}
storage: sqlite:///good.db
artifacts: files
"""
LEAST = """\
name: least
task: digits
space: {architecture: convnet}
objectives: [accuracy, latency]
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a study makes its folder importable; not beyond the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(folder: Path, text: str) -> str:
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    return "study.yaml"


@pytest.fixture
def good(folder: Path) -> StudySpec:
    return read_study(write(folder, GOOD))


def refused(folder: Path, text: str, *overrides: str) -> str:
    """The one line that a mistake gets."""
    with pytest.raises(InputError) as caught:
        read_study(write(folder, text), overrides)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


# --- a good file ---


def test_good_file_is_read_in_every_detail(good: StudySpec) -> None:
    assert (good.name, good.seed, good.task_name) == ("good", 7, "digits")
    assert good.task == Digits(split_seed=3)
    assert (good.storage, good.artifacts) == ("sqlite:///good.db", "files")
    assert good.executor == Process(workers=3)
    assert good.targets == {
        "small": Target(runtime=OnnxRuntime()),
        "big": Target(threads=2, batch=8, runtime=OnnxRuntime(exporter="dynamo")),
    }
    search = good.search
    assert search.sampler == TPE(startup=4)
    assert (search.trials, search.time, search.rungs, search.reduction) == (
        12,
        "10 min",
        (1, 3),
        2,
    )
    assert search.plan == 32
    assert search.reference == {"flops": "2M", "latency.big": "1 ms"}
    assert good.epochs == 3
    assert good.metric.name == "accuracy"


def test_objectives_have_units_directions_and_limits_in_base_units(good: StudySpec) -> None:
    told = [(o.name, o.unit, o.direction, o.limit) for o in good.objectives]
    assert told == [
        ("accuracy", "ratio", "maximize", 0.8),
        ("flops", "flops", "minimize", None),
        ("latency.small", "ms", "minimize", 0.05),
        ("latency.big", "ms", "minimize", None),
        ("size", "bytes", "minimize", 50_000.0),
    ]
    assert [o.cost for o in good.objectives] == [
        None,
        Flops(),
        Latency(target="small", limit="0.05 ms", precision=0.05),
        Latency(target="big"),
        Size(target="small", limit="50 kB"),
    ]


def test_choices_are_those_of_the_file(good: StudySpec) -> None:
    convnet, lenet = "architecture.convnet", "architecture.lenet"
    is_convnet = ("architecture", ("convnet",))
    widths = Range(8, 32, 8)
    assert good.space.choices == (
        Choice("architecture", Values(("convnet", "lenet"))),
        Choice(f"{convnet}.depth", Values((1, 2)), (is_convnet,)),
        Choice(f"{convnet}.width.1", widths, (is_convnet,)),
        Choice(f"{convnet}.width.2", widths, (is_convnet, (f"{convnet}.depth", (2,)))),
        Choice(f"{convnet}.pool", Values((0, 2)), (is_convnet,)),
        Choice(
            f"{convnet}.pool_kind",
            Values(("max", "avg")),
            (is_convnet, (f"{convnet}.pool", (2,))),
        ),
        Choice(f"{lenet}.width", Range(0.5, 2.0), (("architecture", ("lenet",)),)),
        Choice("training.lr", Range(1e-3, 1e-1, None, True)),
        Choice("training.optimizer", Fixed("sgd")),
        Choice("augmentation.flip", Values((False, True))),
        Choice("compression.prune.ratio", Values((0.0, 0.5))),
        Choice("compression.quantize.scheme", Values(("none", "int8"))),
    )


def test_least_file_gets_the_documented_defaults(folder: Path) -> None:
    study = read_study(write(folder, LEAST))
    assert study.seed == 0
    assert study.targets == {"cpu": Target()}
    assert isinstance(study.targets["cpu"].runtime, OnnxRuntime)
    assert study.search.sampler == EHVI()
    assert (study.search.trials, study.search.rungs) == (60, (1, 3, 9))
    assert study.executor == Process()
    assert (study.storage, study.artifacts) == ("sqlite:///paretune.db", "paretune.artifacts")
    assert study.objectives[1].cost == Latency(target="cpu")
    assert study.space.open_choices == ()


def test_overrides_reach_every_section(folder: Path) -> None:
    overrides = (
        "search.trials=3",
        "executor=inline",
        "objectives.accuracy.limit=90%",
        "targets.big.batch=1",
        "space.training.batch=[16, 32]",
    )
    study = read_study(write(folder, GOOD), overrides)
    assert study.search.trials == 3
    assert isinstance(study.executor, Inline)
    assert study.objectives[0].limit == 0.9
    assert study.targets["big"].batch == 1
    assert study.space.choices[-4].name == "training.batch"
    assert study.raw["search"]["trials"] == 3


# --- what must not change under one name ---


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("space.training.lr=0.01", "space"),
        ("task.digits.split_seed=4", "task"),
        ("targets.big.batch=4", "targets"),
        ("objectives.accuracy.limit=81%", "objectives"),
        ("search.rungs=[1, 2, 3]", "rungs"),
        ("seed=8", "seed"),
        ("search.trials=99", None),
        ("search.sampler=random", None),
        ("executor=inline", None),
        ("storage=sqlite:///other.db", None),
    ],
)
def test_definition_tells_another_question_from_another_budget(
    folder: Path, override: str, part: str | None
) -> None:
    file = write(folder, GOOD)
    before, after = read_study(file).definition(), read_study(file, (override,)).definition()
    assert {key for key in before if before[key] != after[key]} == ({part} if part else set())


# --- mistakes in the file: place, key, value, remedy ---

KNOWN_SECTIONS = (
    "known: artifacts, confirm, executor, name, objectives, search, seed, space, storage"
)

MISTAKES = [
    # unknown keys, with the nearest known
    ("seed: 7", "sed: 7", 2, "sed", "", "did you mean 'seed'? known: artifacts"),
    ("storage:", "weather:", 37, "weather", "", KNOWN_SECTIONS),
    ("  trials: 12", "  trails: 12", 31, "search.trails", "'trails'", "did you mean 'trials'?"),
    ("      depth:", "      dpeth:", 7, "space.architecture.convnet.dpeth", "'dpeth'", "'depth'?"),
    ("  training:", "  trainin:", 13, "space.trainin", "'trainin'", "did you mean 'training'?"),
    ("{flip:", "{flop:", 16, "space.augmentation.flop", "'flop'", "did you mean 'flip'?"),
    ("{threads: 2", "{thread: 2", 22, "targets.big.thread", "'thread'", "did you mean 'threads'?"),
    ("{exporter:", "{export:", 22, "targets.big.runtime.onnxruntime.export", "", "'exporter'?"),
    ("limit: 80%", "limt: 80%", 24, "objectives[0].accuracy.limt", "'limt'", "'limit'?"),
    ("precision: 0.05", "precison: 1", 26, "objectives[2].latency.precison", "", "'precision'?"),
    ("{workers: 3}", "{worker: 3}", 36, "executor.process.worker", "'worker'", "'workers'?"),
    ("split_seed: 3", "seed: 3", 3, "task.digits.seed", "'seed'", "known: split_seed"),
    # unknown parts, with what is known
    ("    lenet:", "    lenets:", 11, "space.architecture.lenets", "'lenets'", "mean 'lenet'?"),
    ("- prune", "- prunes", 18, "space.compression[0].prunes", "'prunes'", "mean 'prune'?"),
    ("task: {digits: {split_seed: 3}}", "task: digit", 3, "task", "'digit'", "mean 'digits'?"),
    (
        "runtime: onnxruntime",
        "runtime: onnx",
        21,
        "targets.small.runtime",
        "'onnx'",
        "onnxruntime",
    ),
    ("{tpe: {startup: 4}}", "tpee", 30, "search.sampler", "'tpee'", "did you mean 'tpe'?"),
    ("- flops", "- flop", 25, "objectives[1]", "'flop'", "did you mean 'flops'?"),
    ("- flops", "- rmse", 25, "objectives[1]", "'rmse'", "this task's metric is 'accuracy'"),
    ("{process: {workers: 3}}", "procss", 36, "executor", "'procss'", "did you mean 'process'?"),
    # wrong types
    ("seed: 7", "seed: seven", 2, "seed", "'seven'", "a whole number from 0"),
    ("seed: 7", "seed: -1", 2, "seed", "-1", "a whole number from 0"),
    ("seed: 7", "seed: true", 2, "seed", "True", "a whole number from 0"),
    ("name: good", "name: [good]", 1, "name", "['good']", "write name: my-study"),
    ("name: good", "name: ''", 1, "name", "''", "write name: my-study"),
    ("trials: 12", "trials: many", 31, "search.trials", "'many'", "must be a valid integer"),
    ("trials: 12", "trials: '12'", 31, "search.trials", "'12'", "must be a number, not text"),
    ("trials: 12", "trials: true", 31, "search.trials", "True", "must be a number, not text"),
    ("trials: 12", "trials: 0", 31, "search.trials", "0", "greater than or equal to 1"),
    ("reduction: 2", "reduction: 0.5", 34, "search.reduction", "0.5", "than or equal to 1"),
    ("time: 10 min", "time: 10", 32, "search.time", "10", "must be a valid string"),
    ("time: 10 min", "time: 10 mins", 32, "search.time", "'10 mins'", "write one of: ns, us"),
    ("time: 10 min", "time: -1 s", 32, "search.time", "'-1 s'", "must be above 0"),
    ("{workers: 3}", "{workers: 0}", 36, "executor.process.workers", "0", "or equal to 1"),
    ("{workers: 3}", "[3]", 36, "executor", "[3]", "write NAME or {NAME: {options}}"),
    ("batch: 8", "batch: 1.5", 22, "targets.big.batch", "1.5", "must be a valid integer"),
    ("[1, 2]", "[1, two]", 7, "space.architecture.convnet.depth[1]", "'two'", "a valid integer"),
    ("sgd", "lbfgs", 15, "space.training.optimizer", "'lbfgs'", "must be 'adamw', 'adam'"),
    ("{target: big}", "[big]", 27, "objectives[3]", "['big']", "write NAME or {NAME: {options}}"),
    ("[1, 3]", "3", 33, "search.rungs", "3", "must be a list"),
    ("{flops: 2M, latency.big: 1 ms}", "2M", 35, "search.reference", "'2M'", "be a mapping"),
    ("sqlite:///good.db", "good.db", 37, "storage", "'good.db'", "write sqlite:///paretune.db"),
    ("artifacts: files", "artifacts: [files]", 38, "artifacts", "['files']", "not a folder"),
    ("{runtime: onnxruntime}", "fast", 21, "targets.small", "'fast'", "not a mapping of a target"),
    # domains
    ("[0, 2]", "[]", 9, "space.architecture.convnet.pool", "empty", "name at least one"),
    ("[0.0, 0.5]", "[0.5, 0.5]", 18, "space.compression[0].prune.ratio[1]", "0.5", "remove one"),
    ("low: 1e-3, high: 1e-1", "low: 1, high: 0.1", 14, "space.training.lr.low", "1", "exchange"),
    ("low: 1e-3", "low: 0", 14, "space.training.lr.low", "0", "must be above 0"),
    (", high: 2.0", "", 12, "space.architecture.lenet.width", "lacks", "write {low: 1, high: 8"),
    (
        "step: 8",
        "step: -8",
        8,
        "space.architecture.convnet.width.per_stage.step",
        "-8",
        "positive",
    ),
    ("sgd", ".inf", 15, "space.training.optimizer", "inf", "must be a number below 1e308"),
    (
        "optimizer: sgd",
        "batch: {low: 2, high: 100000000}",
        15,
        "space.training.batch",
        "over 1,000,000 values",
        "give a larger step",
    ),
    (
        "{pool: 2}",
        "{pool: 3}",
        10,
        "space.architecture.convnet.pool_kind.when.pool",
        "3",
        "it is one of (0, 2)",
    ),
    (
        "{pool: 2}",
        "{poool: 2}",
        10,
        "space.architecture.convnet.pool_kind.when.poool",
        "'poool'",
        "did you mean 'pool'?",
    ),
    # objectives, limits and references
    (
        "0.05 ms",
        "0.05",
        26,
        "objectives[2].latency.limit",
        "'0.05' has no unit",
        "write one of: ns",
    ),
    (
        "0.05 ms",
        "50 kB",
        26,
        "objectives[2].latency.limit",
        "'kB'",
        "write one of: ns, us, µs, ms",
    ),
    ("0.05 ms", "0 ms", 26, "objectives[2].latency.limit", "'0 ms'", "must be above 0"),
    ("0.05 ms", "1e999 ms", 26, "objectives[2].latency.limit", "'1e999 ms'", "must be above 0"),
    ("80%", "80", 24, "objectives[0].accuracy.limit", "80", "must be below 100.00%"),
    (
        "limit: 80%",
        "limit: high",
        24,
        "objectives[0].accuracy.limit",
        "'high'",
        "with a unit of: %",
    ),
    (
        "{target: big}",
        "{}",
        27,
        "objectives[3].latency",
        "names no target",
        "target: small or big",
    ),
    ("{target: big}", "{target: bg}", 27, "objectives[3].latency.target", "'bg'", "mean 'big'?"),
    ("- flops", "- latency", 25, "objectives[1]", "latency names no target", "small or big"),
    ("- flops", "- accuracy", 25, "objectives[1]", "accuracy stands twice", "remove one"),
    ("{target: big}", "{target: small}", 27, "objectives[3]", "latency.small", "remove one"),
    (
        "- accuracy: {limit: 80%}",
        "- parameters",
        23,
        "objectives",
        "accuracy is missing",
        "without",
    ),
    ("flops: 2M", "flps: 2M", 35, "search.reference.flps", "'flps'", "did you mean 'flops'?"),
    ("flops: 2M", "latency: 1 ms", 35, "search.reference.latency", "'latency'", "latency.big"),
    ("flops: 2M", "flops: 0", 35, "search.reference.flops", "0", "must be above 0"),
    ("[1, 3]", "[3, 1]", 33, "search.rungs", "[3, 1]", "must rise from 1 or more, as [1, 3, 9]"),
    ("[1, 3]", "[1, 1]", 33, "search.rungs", "[1, 1]", "must rise"),
    ("[1, 3]", "[0, 3]", 33, "search.rungs", "[0, 3]", "must rise from 1"),
    ("[1, 3]", "[]", 33, "search.rungs", "[]", "must rise from 1"),
    # what the machine or the runtime lacks
    (
        "{runtime: onnxruntime}",
        "{device: 'cuda:99', runtime: eager}",
        21,
        "targets.small.device",
        "'cuda:99'",
        "this machine has",
    ),
    (
        "{runtime: onnxruntime}",
        "{device: 'cuda:99'}",
        21,
        "targets.small.device",
        "'cuda:99'",
        "use runtime eager",
    ),
    ("{threads: 2", "{device: tpu", 22, "targets.big.device", "'tpu'", "cpu"),
    ("{workers: 3}", "{device: gpu}", 36, "executor.process.device", "'gpu'", "known: cpu, cuda"),
    (
        "[none, int8]",
        "[none, bf16]",
        19,
        "space.compression[1].quantize.scheme",
        "'bf16'",
        "remove the scheme or give the target another runtime",
    ),
    (
        "{onnxruntime: {exporter: dynamo}}",
        "eager",
        19,
        "space.compression[1].quantize.scheme",
        "'int8'",
        "remove the scheme or give the target another runtime",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "key", "value", "remedy"), MISTAKES)
def test_mistake_is_told_in_one_line_with_place_key_value_and_remedy(
    folder: Path, old: str, new: str, line: int, key: str, value: str, remedy: str
) -> None:
    assert old in GOOD
    message = refused(folder, GOOD.replace(old, new, 1))
    place = f"study.yaml:{line}: {key}: "
    assert message.startswith(place)
    assert value in message.removeprefix(place)
    assert remedy in message.removeprefix(place)


@pytest.mark.parametrize("section", ["name", "task", "space", "objectives"])
def test_missing_section_is_named_with_what_it_is_for(folder: Path, section: str) -> None:
    lines = LEAST.splitlines(keepends=True)
    rest = "".join(line for line in lines if not line.startswith(section))
    assert f"study.yaml: {section} is missing: " in refused(folder, rest)
    assert f"study.yaml: {section} is missing: " in refused(folder, rest + f"{section}:\n")


@pytest.mark.parametrize("raw", ["[]", "{}", "accuracy", "~x", "3"])
def test_objectives_are_a_list_of_at_least_one(folder: Path, raw: str) -> None:
    message = refused(folder, LEAST, f"objectives={raw}")
    assert message.startswith("command line: objectives: ")
    assert "name at least one objective" in message


@pytest.mark.parametrize("raw", ["0", "[]", "false", "fast"])
@pytest.mark.parametrize("key", ["search", "targets", "targets.cpu", "space"])
def test_section_of_another_kind_is_refused_and_not_taken_for_an_empty_one(
    folder: Path, key: str, raw: str
) -> None:
    assert refused(folder, LEAST, f"{key}={raw}").startswith(f"command line: {key}: ")


@pytest.mark.parametrize("key", ["search", "targets", "targets.cpu"])
def test_section_left_empty_means_its_defaults(folder: Path, key: str) -> None:
    study = read_study(write(folder, LEAST), (f"{key}=",))
    assert study.definition() == read_study("study.yaml").definition()


def test_two_mistakes_in_one_section_are_not_mixed_up(folder: Path) -> None:
    message = refused(folder, GOOD, "search.trials=0", "search.plan=1")
    assert message == "command line: search.trials: 0: must be greater than or equal to 1"


def test_limit_of_an_objective_on_the_only_target_needs_no_target(folder: Path) -> None:
    study = read_study(write(folder, LEAST), ("objectives.latency.limit=2ms",))
    assert study.objectives[1].limit == 2.0


def test_bf16_is_accepted_where_every_runtime_runs_it(folder: Path) -> None:
    overrides = ("targets.cpu.runtime=eager", "space.compression.quantize.scheme=bf16")
    assert read_study(write(folder, LEAST), overrides).space.open_choices == ()


# --- parts of the user's own ---

OWN = """
from dataclasses import dataclass

from torch import nn


class Net(nn.Module):
    def __init__(self, input_shape, outputs, width: int = 8, deep: bool = False):
        super().__init__()


def build(input_shape, outputs, width: int = 8) -> nn.Module:
    return nn.Flatten()


def needy(input_shape, outputs, width: int) -> nn.Module:
    return nn.Flatten()


def unreadable(input_shape, outputs, width: "Tensor" = 8) -> nn.Module:
    return nn.Flatten()


class NoStep:
    pass


@dataclass(frozen=True)
class NoTask:
    folder: str = "."


@dataclass(frozen=True)
class Picky:
    size: int = 3

    def __post_init__(self):
        if self.size % 2 == 0:
            raise ValueError("size must be odd")


not_callable = 3
"""


@pytest.fixture
def own(folder: Path) -> str:
    """The name of a module of the user's that no other test has imported."""
    name = f"own_{folder.name}"
    (folder / f"{name}.py").write_text(OWN)
    return name


@pytest.mark.parametrize("part", ["Net", "build"])
def test_own_network_is_named_by_its_import_path(folder: Path, own: str, part: str) -> None:
    override = f"space.architecture={{'{own}:{part}': {{width: [4, 8]}}}}"
    study = read_study(write(folder, LEAST), (override,))
    assert study.space.open_choices == (
        Choice(f"architecture.{own}:{part}.width", Values((4, 8))),
    )
    assert study.space.source()


def test_own_part_may_stand_beside_the_study_file(
    folder: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep").mkdir()
    (folder / f"{own}.py").rename(folder / "deep" / f"{own}.py")
    (folder / "deep" / "study.yaml").write_text(LEAST.replace("convnet", f"'{own}:Net'"))
    assert read_study("deep/study.yaml").space.families[0].part.name == f"{own}:Net"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space.architecture=OWN:Nett", "has no class or function 'Nett'; did you mean 'Net'?"),
        ("space.architecture=OWN:not_callable", "no class or function 'not_callable'; known:"),
        ("space.architecture=OWN:needy", "needs the option 'width'"),
        ("space.architecture=OWN:unreadable", "its signature cannot be read: name 'Tensor'"),
        ("space.architecture={'OWN:Net': {widht: 3}}", "did you mean 'width'?"),
        ("space.architecture={'OWN:Net': {width: wide}}", "'wide': must be a valid integer"),
        ("space.architecture=OWN:NoTask", "is not a family: it lacks check(), canonical()"),
        ("space.architecture=absent_module:Net", "does not import (ModuleNotFoundError"),
        ("space.architecture=math:sin", "is not written in Python; wrap it in a function"),
        ("space.compression=OWN:NoStep", "is not a step: it lacks idle() or apply()"),
        ("task=OWN:NoTask", "is not a task; it lacks metric, loss or splits"),
        ("task=OWN:build", "is not a dataclass; its fields would be the options"),
        ("task={'OWN:Picky': {size: 4}}", "size must be odd"),
        ("task={'OWN:Picky': {size: '5'}}", "'5' must be a number, not text"),
        (
            "targets.cpu.runtime=OWN:Net",
            "is not a runtime; known: compile, cuda_graph, eager, onnxruntime",
        ),
        ("executor=OWN:Net", "is not an executor; known:"),
        ("search.sampler=OWN:Net", "is not a sampler; known:"),
        ("objectives=[accuracy, 'OWN:Net']", "is not an objective; known:"),
    ],
)
def test_mistake_about_an_own_part_is_told_in_one_line(
    folder: Path, own: str, override: str, told: str
) -> None:
    message = refused(folder, LEAST, override.replace("OWN", own))
    assert message.startswith("command line: ")
    assert told in message


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import absent_of_all\n", "ModuleNotFoundError: No module named 'absent_of_all'"),
        ("def broken(:\n", "SyntaxError: "),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two"),
    ],
)
def test_module_that_does_not_import_is_told_with_its_reason(
    folder: Path, source: str, reason: str
) -> None:
    name = f"broken_{folder.name}"
    (folder / f"{name}.py").write_text(source)
    message = refused(folder, LEAST.replace("convnet", f"'{name}:Net'"))
    assert message.startswith(f"study.yaml:3: space.architecture: module '{name}' does not import")
    assert reason in message
    assert "must stand beside the study file, in the current folder, or be installed" in message


# --- the data of a task ---


def test_image_folder_that_is_missing_is_found_before_anything_starts(folder: Path) -> None:
    message = refused(folder, LEAST, "task={image_folder: {path: nowhere}}")
    assert message.startswith("command line: task: ")
    assert "nowhere" in message


@pytest.mark.parametrize(
    ("architecture", "told"),
    [
        (
            "{convnet: {depth: 1, kernel: 9, pool: 0}}",
            "nothing can be built: convnet kernel 9 is larger",
        ),
        ("{vit: {heads: [5, 7]}}", "none of 200 random candidates can be built, most often"),
    ],
    ids=str,
)
def test_space_where_nothing_can_be_built_is_refused_with_the_reason(
    small: Path, architecture: str, told: str
) -> None:
    steps = "space.compression=[quantize: {scheme: int8}]"
    with pytest.raises(InputError, match=re.escape(told)) as error:
        read_study(str(small), (f"space.architecture={architecture}", steps))
    assert "; choose " in str(error.value)
    assert "space.architecture" in str(error.value)
