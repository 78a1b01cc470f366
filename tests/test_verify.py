"""`verify.py` and `search.verify`: what holds is said to hold, every change is found."""

import ast
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished import finished_small

from objectives import agent
from objectives.tasks import load
from search import export, verify
from search.commands import BAD_INPUT, DONE, FAILED
from search.spec import read_study


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best member of the study `small`, exported; nobody changes it."""
    finished, folder = finished_small(tmp_path_factory), tmp_path_factory.mktemp("original")
    with contextlib.chdir(finished), contextlib.redirect_stdout(io.StringIO()):
        assert export.main(["small.yaml", "best", "--to", str(folder)]) == DONE
    return folder


@pytest.fixture
def delivered(original: Path, tmp_path: Path) -> Path:
    """A copy of it that may be broken."""
    return Path(shutil.copytree(original, tmp_path / "delivered"))


def alone(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """verify.py in the exported folder, in a process that does not find our packages."""
    return subprocess.run(
        [sys.executable, "-P", str(folder / "verify.py"), *options],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_script_alone_repeats_hashes_answers_and_latency(delivered: Path) -> None:
    done = alone(delivered, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["hashes"] == {"holds": True, "files": 3, "changed": []}
    assert report["parity"]["holds"]
    assert report["parity"]["inputs"] == 64
    assert report["parity"]["largest_difference"] < 1e-5
    latency = report["latency"]
    assert latency["differing"] == {}
    assert 0 < latency["low"] <= latency["value"] <= latency["high"]
    certificate = json.loads((delivered / "certificate.json").read_text())
    assert latency["claimed"] == certificate["costs"]["latency"]["file"]["value"]


def test_script_needs_nothing_of_ours_and_only_old_python() -> None:
    source = Path(agent.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_command_says_what_holds_and_that_the_score_was_not_repeated(
    delivered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(delivered / "model.onnx")]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "hashes   hold: 3 files are as certified"
    assert lines[1].startswith("parity   holds: ")
    assert lines[2].startswith("latency  ")
    assert lines[-1] == "score    not repeated: give the test data with --data"


def test_score_is_repeated_on_the_test_split_of_a_study(
    delivered: Path, original: Path, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    study = original.parent / "finished" / "small.yaml"
    assert verify.main([str(delivered), "--data", str(study), "--json"]) == DONE
    report = json.loads(capsys.readouterr().out)
    certificate = json.loads((delivered / "certificate.json").read_text())
    assert report["score"]["holds"]
    assert report["score"]["value"] == certificate["score"]["test"]["value"]
    assert report["score"]["inputs"] == 359


def test_score_is_repeated_on_arrays_of_the_users_own(
    delivered: Path, original: Path, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    test = load(read_study(original.parent / "finished" / "small.yaml").task).test
    np.savez("mine.npz", inputs=test.inputs.numpy(), targets=test.targets.numpy())
    assert verify.main([str(delivered), "--data", "mine.npz"]) == DONE
    assert "score    holds: accuracy " in capsys.readouterr().out
    shuffled = np.roll(test.targets.numpy(), 7)
    np.savez("wrong.npz", inputs=test.inputs.numpy(), targets=shuffled)
    assert verify.main([str(delivered), "--data", "wrong.npz"]) == FAILED
    assert "score    DOES NOT HOLD: accuracy " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.onnx", "parity.npz", "verify.py"])
def test_every_file_that_was_changed_is_named(
    delivered: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray((delivered / name).read_bytes())
    data[len(data) // 2] ^= 1
    (delivered / name).write_bytes(data)
    assert verify.main([str(delivered)]) == FAILED
    [line] = capsys.readouterr().out.splitlines()
    assert line == (f"hashes   CHANGED: {name}; this is not what was certified, export it again")


def test_file_that_is_missing_counts_as_changed(
    delivered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (delivered / "model.onnx").unlink()
    assert verify.main([str(delivered)]) == FAILED
    assert "CHANGED: model.onnx" in capsys.readouterr().out


def recertified(folder: Path, **changes: Any) -> None:
    """Certify what lies in the folder now: what a forger would do."""
    file = folder / "certificate.json"
    certificate = json.loads(file.read_text())
    for name in certificate["sha256"]:
        certificate["sha256"][name] = agent.sha256(folder / name)
    file.write_text(json.dumps({**certificate, **changes}))


def test_damaged_model_with_a_fitting_hash_is_one_line(
    delivered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (delivered / "model.onnx").write_bytes(b"no model at all")
    recertified(delivered)
    assert verify.main([str(delivered)]) == BAD_INPUT
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"paretune: {delivered}: model.onnx cannot be run here: ")
    assert told.err.count("\n") == 1
    done = alone(delivered)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_answers_that_differ_do_not_hold(
    delivered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(delivered / "parity.npz") as stored:
        np.savez(delivered / "parity.npz", inputs=stored["inputs"], outputs=-stored["outputs"])
    recertified(delivered)
    assert verify.main([str(delivered)]) == FAILED
    assert "parity   DOES NOT HOLD: " in capsys.readouterr().out


def test_other_machine_is_told_and_not_judged(
    delivered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = json.loads((delivered / "certificate.json").read_text())
    latency = certificate["latency"]
    latency["conditions"]["device"] = "Abacus 3000"
    recertified(delivered, latency=latency)
    assert verify.main([str(delivered)]) == DONE
    out = capsys.readouterr().out
    assert "latency  other conditions: " in out
    assert "device: Abacus 3000 there, " in out


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "certificate.json: damaged"), ("{}", "certificate.json: damaged ('file')")],
)
def test_damaged_certificate_is_one_line(
    delivered: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (delivered / "certificate.json").write_text(text)
    assert verify.main([str(delivered)]) == BAD_INPUT
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_folder_without_certificate_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(folder)]) == BAD_INPUT
    err = capsys.readouterr().err
    assert (
        err == f"paretune: {folder}: there is no certificate.json; give what search.export wrote\n"
    )


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"inputs": np.zeros((2, 1, 8, 8))}, "it needs arrays inputs and targets"),
        ({"inputs": np.zeros((2, 3, 8, 8)), "targets": np.zeros(2)}, "the file takes"),
        ({"inputs": np.zeros((0, 1, 8, 8)), "targets": np.zeros(0)}, "the file takes"),
    ],
)
def test_data_that_does_not_fit_is_told(
    delivered: Path,
    folder: Path,
    arrays: dict[str, Any],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.savez("mine.npz", **arrays)
    assert verify.main([str(delivered), "--data", "mine.npz"]) == BAD_INPUT
    assert told in capsys.readouterr().err
