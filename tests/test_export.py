"""`search.export`: a file that runs without us, a certificate that is true, and each mistake."""

import contextlib
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from finished import finished_small
from numpy.typing import NDArray
from torch import Tensor

from objectives.tasks import load
from search import export, run, verify
from search.applying import rebuild
from search.artifacts import Folder
from search.checkpoints import weights_id
from search.commands import BAD_INPUT, DONE, FAILED
from search.spec import read_study
from search.store.view import StudyView, TrialView, view_of
from search.study import StudySpec

CUSTOMER = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
[wanted] = session.get_inputs()
inputs = numpy.load("inputs.npy")
sizes = [1, 7, len(inputs) - 8]
parts = numpy.split(inputs, numpy.cumsum(sizes)[:-1])
outputs = [session.run(None, {wanted.name: part})[0] for part in parts]
numpy.save("outputs.npy", numpy.concatenate(outputs))
ours = {"torch", "search", "spaces", "objectives"} & {m.split(".")[0] for m in sys.modules}
print(wanted.name, wanted.type, wanted.shape[1:], sorted(ours))
"""
"""What a customer does with the file: no torch, none of our packages, batches of any size."""

PLAIN = """
name: plain
task: digits
space:
  architecture: {convnet: {depth: [1, 2], width: 8}}
  compression: [{prune: {ratio: [0.0, 0.5]}}]
objectives: [accuracy, flops, size]
search: {sampler: random, trials: 2, rungs: [1], plan: 8}
executor: inline
storage: sqlite:///plain.db
"""


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands in this process leave neither their folders nor their signal handler behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_small(tmp_path_factory)


@pytest.fixture(scope="module")
def delivered(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The knee in a folder of its own, as the command delivered it, and what it said."""
    folder, said = tmp_path_factory.mktemp("delivered"), io.StringIO()
    with contextlib.chdir(finished), contextlib.redirect_stdout(said):
        assert export.main(["small.yaml", "knee", "--to", str(folder)]) == DONE
    return folder, said.getvalue()


@pytest.fixture
def certificate(delivered: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((delivered[0] / "certificate.json").read_text())
    return found


@pytest.fixture
def here(finished: Path, monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    """The study, in its folder."""
    monkeypatch.chdir(finished)
    return read_study("small.yaml")


def view(study: StudySpec) -> StudyView:
    return view_of(study.name, study.storage)


def module_of(study: StudySpec, member: TrialView) -> Callable[[Tensor], Tensor]:
    """The member's network with its stored weights."""
    with Folder(study.artifacts).open_reader(weights_id(member.candidate, study)) as file:
        weights = torch.load(file, weights_only=True)
    return rebuild(member.candidate, study, weights)[0]


def outputs_of_customer(folder: Path, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the file answers in a process that knows nothing of us."""
    np.save(folder / "inputs.npy", inputs)
    done = subprocess.run(
        [sys.executable, "-P", "-c", CUSTOMER],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "input tensor(float) [1, 8, 8] []\n"
    outputs: NDArray[np.float32] = np.load(folder / "outputs.npy")
    return outputs


def prepared(certificate: dict[str, Any], stored: Tensor) -> NDArray[np.float32]:
    """Stored inputs as the certificate says to prepare them."""
    told = certificate["input"]
    assert told["prepare"] == "(value - mean) / std"
    return ((stored.numpy() - told["mean"]) / told["std"]).astype(np.float32)


# --- the file ---


def test_file_alone_gives_the_answers_that_the_certificate_tells(
    delivered: tuple[Path, str], certificate: dict[str, Any], here: StudySpec
) -> None:
    test = load(here.task).test
    outputs = outputs_of_customer(delivered[0], prepared(certificate, test.inputs))
    right = (outputs.argmax(1) == test.targets.numpy()).mean()
    assert right == pytest.approx(certificate["score"]["test"]["value"])


def test_parity_is_that_of_file_and_module_on_the_same_inputs(
    delivered: tuple[Path, str], certificate: dict[str, Any], here: StudySpec
) -> None:
    parity, [member] = certificate["parity"], _members(here, certificate["trial"])
    inputs = prepared(certificate, load(here.task).test.inputs[: parity["inputs"]])
    assert len(inputs) == parity["inputs"] == 256
    file = outputs_of_customer(delivered[0], inputs)
    with torch.no_grad():
        module = module_of(here, member)(torch.from_numpy(inputs)).numpy()
    assert np.abs(file - module).max() == pytest.approx(parity["largest_difference"], abs=1e-5)
    assert np.abs(module).max() == pytest.approx(parity["largest_output"], rel=1e-5)
    same = (file.argmax(1) == module.argmax(1)).mean()
    assert same == pytest.approx(parity["same_answer"])


def _members(study: StudySpec, number: int) -> list[TrialView]:
    return [member for member in view(study).members if member.number == number]


def test_certificate_says_what_the_file_is(
    delivered: tuple[Path, str], certificate: dict[str, Any], here: StudySpec
) -> None:
    folder = delivered[0]
    [member] = _members(here, certificate["trial"])
    assert set(certificate["sha256"]) == {"model.onnx", "parity.npz", "verify.py"}
    for name, digest in certificate["sha256"].items():
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert (certificate["file"], certificate["study"]) == ("model.onnx", "small")
    assert certificate["candidate"] == member.candidate.as_dict()
    quantized = "quantize" in dict(member.candidate.compression)
    assert certificate["precision"] == ("int8" if quantized else "fp32")
    assert certificate["target"] == {
        "name": "cpu",
        "device": "cpu",
        "threads": 1,
        "cores": [],
        "batch": 1,
        "runtime": "OnnxRuntime",
    }
    assert certificate["latency"] == certificate["costs"]["latency"]["file"]


def test_certificate_says_what_the_file_expects(
    certificate: dict[str, Any], here: StudySpec
) -> None:
    train = load(here.task).train.inputs.numpy().astype(np.float64)
    told = certificate["input"]
    assert (told["name"], told["shape"], told["dtype"]) == ("input", ["batch", 1, 8, 8], "float32")
    assert told["mean"] == pytest.approx(train.mean())
    assert told["std"] == pytest.approx(train.std(ddof=1))
    assert told["classes"] == list("0123456789")


def test_certificate_holds_scores_and_costs_as_found_and_of_the_file(
    certificate: dict[str, Any], here: StudySpec
) -> None:
    [member] = _members(here, certificate["trial"])
    score, costs = certificate["score"], certificate["costs"]
    assert score["metric"] == "accuracy"
    assert score["found"]["value"] == member.measurements["accuracy"].value
    assert score["validation"]["value"] == pytest.approx(score["found"]["value"], abs=0.03)
    assert set(costs) == {"flops", "latency"}
    for name, cost in costs.items():
        assert cost["found"]["value"] == member.measurements[name].value
        assert cost["file"]["unit"] == cost["found"]["unit"]
        assert cost["file"]["low"] <= cost["file"]["value"] <= cost["file"]["high"]
    assert costs["flops"]["file"]["value"] == costs["flops"]["found"]["value"]
    assert costs["latency"]["file"]["samples"] > 0
    assert costs["latency"]["file"]["conditions"]["exporter"] == "dynamo"


def test_command_says_where_the_file_is_and_what_it_is_worth(
    delivered: tuple[Path, str], certificate: dict[str, Any]
) -> None:
    lines, digest = delivered[1].splitlines(), certificate["sha256"]["model.onnx"]
    assert lines[0] == f"{delivered[0] / 'model.onnx'}  sha256 {digest[:16]}"
    firsts = [line.split()[0] for line in lines[1:]]
    assert firsts == ["parity", "accuracy", "flops", "latency", "check"]
    assert "256 real inputs" in lines[1]


# --- other precisions and runtimes ---


@pytest.fixture
def plain(folder: Path) -> Path:
    (folder / "plain.yaml").write_text(PLAIN)
    return folder


def exported(folder: Path, *overrides: str) -> tuple[StudySpec, TrialView, dict[str, Any]]:
    """The best member of the study `plain`, searched and exported in this process."""
    assert run.main(["plain.yaml", *overrides, "--quiet"]) == DONE
    assert export.main(["plain.yaml", "best", *overrides]) == DONE
    study = read_study("plain.yaml", overrides)
    [file] = Path("exports").glob("*/certificate.json")
    certificate = json.loads(file.read_text())
    [member] = _members(study, certificate["trial"])
    return study, member, certificate


def test_unquantized_file_answers_like_the_module_to_rounding(plain: Path) -> None:
    study, member, certificate = exported(plain)
    inputs = prepared(certificate, load(study.task).test.inputs)
    file = outputs_of_customer(plain / "exports" / f"plain-{member.number}", inputs)
    with torch.no_grad():
        module = module_of(study, member)(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(file, module, atol=1e-5, rtol=1e-4)
    assert certificate["precision"] == "fp32"
    assert certificate["parity"]["largest_difference"] < 1e-5
    assert certificate["parity"]["same_answer"] == 1.0
    size = (plain / "exports" / f"plain-{member.number}" / "model.onnx").stat().st_size
    assert certificate["costs"]["size"]["file"]["value"] == size


def test_file_says_nothing_of_the_machine_that_made_it(plain: Path) -> None:
    _, member, _ = exported(plain)
    file = plain / "exports" / f"plain-{member.number}" / "model.onnx"
    told = [entry.key for node in onnx.load(file).graph.node for entry in node.metadata_props]
    assert {key.rpartition(".")[2] for key in told} <= {"name_scopes"}
    assert str(ROOT).encode() not in file.read_bytes()
    assert b"site-packages" not in file.read_bytes()


def test_eager_runtime_ships_the_module_as_a_program(plain: Path) -> None:
    study, member, certificate = exported(plain, "targets.cpu.runtime=eager", "name=../a b")
    assert (certificate["file"], certificate["study"]) == ("model.pt2", "../a b")
    folder = plain / "exports" / f".._a_b-{member.number}"
    network = torch.export.load(folder / "model.pt2").module()
    inputs = torch.from_numpy(prepared(certificate, load(study.task).test.inputs))
    with torch.no_grad():
        torch.testing.assert_close(network(inputs), module_of(study, member)(inputs))
    assert certificate["parity"]["largest_difference"] < 1e-5
    assert certificate["latency"]["conditions"]["runtime"] == "eager"
    assert verify.main([str(folder), "--data", "plain.yaml"]) == DONE


# --- mistakes ---


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an export that exit code 2 ends."""
    assert export.main(list(arguments)) == BAD_INPUT
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("paretune: ")
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("which", ["77", "nee", "worst"])
def test_member_that_does_not_exist_is_told_with_those_that_do(
    here: StudySpec, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = ", ".join(str(member.number) for member in view(here).members)
    told = f"{which!r} is not a member of the front; choose knee, best, or one of {numbers}\n"
    assert refused(capsys, "small.yaml", which).endswith(told)


def test_missing_weights_are_told_with_where_they_should_be(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("small.yaml", "small.db"):
        shutil.copy(finished / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, "small.yaml", "best")
    assert "artifacts: small.artifacts lacks the weights of trial" in message
    assert "give the folder, and the study file and overrides, of the run" in message
    assert not (tmp_path / "exports").exists()
    artifacts = finished / "small.artifacts"
    assert export.main(["small.yaml", "best", f"artifacts={artifacts}"]) == DONE


def test_study_without_a_database_is_told_to_be_run_first(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no database small.db yet; run the study first" in refused(
        capsys, "small.yaml", "knee"
    )
    assert sorted(path.name for path in small.parent.iterdir()) == ["small.yaml"]


def test_folder_that_cannot_be_written_is_told(
    here: StudySpec, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, "small.yaml", "best", "--to", "small.yaml/deep")
    assert message.startswith("paretune: --to: small.yaml/deep cannot be written: ")


FICKLE = """
from torch import nn


class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))

    def forward(self, x):
        if float(x.sum()) > 1e9:
            x = -x
        return self.layers(x)
"""
"""What it does depends on its input: a trace holds one way, torch.export refuses."""


@pytest.mark.filterwarnings("ignore")  # what torch says about such a network
def test_network_that_only_the_fast_exporter_takes_is_refused_in_one_line(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain / "fickle.py").write_text(FICKLE)
    own = ("space.architecture=fickle:Net", "space.compression=", "objectives=[accuracy, size]")
    assert run.main(["plain.yaml", *own, "--quiet"]) == DONE
    assert export.main(["plain.yaml", "best", *own]) == FAILED
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("paretune: this member cannot be shipped: ONNX export failed: ")
    assert not (plain / "exports").exists()
