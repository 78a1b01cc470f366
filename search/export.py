"""Hand over a member: python -m search.export study.yaml MEMBER [--to DIR]."""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.commands import DONE, guarded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from objectives.measurement import Measurement
    from objectives.runtimes import Deployment
    from search.store.view import StudyView, TrialView
    from search.study import StudySpec

PARITY_INPUTS = 256
"""Real inputs of the test split on which file and module are compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and export; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.export",
        description="Write a member of the front as a model file, proven to answer alike.",
    )
    parser.add_argument("study", help="study file")
    parser.add_argument("member", help="a trial number of the front, `knee`, or `best`")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to search.run")
    parser.add_argument("--to", type=Path, help="folder; default exports/NAME-TRIAL")
    return guarded(lambda: _export(parser.parse_intermixed_args(arguments)))


def _export(options: argparse.Namespace) -> int:
    from search.address import as_file_name
    from search.members import find_member
    from search.spec import read_study
    from search.store.view import view_of

    study = read_study(options.study, tuple(options.overrides))
    view = view_of(study.name, study.storage)
    member = find_member(view, options.member)
    folder = options.to or Path("exports") / f"{as_file_name(study.name)}-{member.number}"
    certificate = export_member(study, view, member, folder)
    _print(certificate, folder)
    return DONE


def export_member(
    study: "StudySpec", view: "StudyView", member: "TrialView", folder: Path
) -> dict[str, Any]:
    """Write model, module and certificate of a member into `folder`; returns the certificate.

    `model.onnx` (or `model.pt`, a state dict, for the eager runtime) is what a customer loads. For
    ONNX it is made by the shipping exporter, so it is compared, scored and timed here once more.

    Raises:
        InputError: the weights are gone, or the folder cannot be written.
        RunFailedError: the shipping exporter fails where the search's own did not.
    """
    from search.errors import InputError
    from search.evaluate import CALIBRATION_SCORE, real_inputs, rebuild

    network, precision = rebuild(member.candidate, study, _weights(study, member))
    name, target = next(iter(study.targets.items()))
    deployment = _shipping_deployment(
        study, network, real_inputs(study, CALIBRATION_SCORE), precision
    )
    file = "model.onnx" if deployment.conditions["runtime"] == "onnxruntime" else "model.pt"
    certificate = {
        "file": file,
        "sha256": hashlib.sha256(deployment.artefact).hexdigest(),
        "study": study.name,
        "trial": member.number,
        "candidate": member.candidate.as_dict(),
        "precision": precision,
        "input": _input(study),
        "parity": _parity(study, network, deployment),
        "score": _scores(study, member, deployment),
        "costs": _costs(study, member, network, deployment),
        "target": {"name": name, "device": target.device, "batch": target.batch},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(deployment.artefact)
        (folder / "certificate.json").write_text(json.dumps(certificate, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"--to: {folder} cannot be written: {error.strerror}") from error
    return certificate


def _weights(study: "StudySpec", member: "TrialView") -> "dict[str, Tensor]":
    import torch

    from search.artifacts import Folder
    from search.errors import InputError
    from search.evaluate import weights_id

    artifact = weights_id(member.candidate, study)
    try:
        with Folder(study.artifacts).open_reader(artifact) as file:
            state: dict[str, Tensor] = torch.load(io.BytesIO(file.read()), weights_only=True)
            return state
    except FileNotFoundError as error:
        raise InputError(
            f"artifacts: {study.artifacts} lacks the weights of trial {member.number} "
            f"({artifact}); give the folder, and the study file and overrides, of the run"
        ) from error


def _shipping_deployment(
    study: "StudySpec", network: "nn.Module", inputs: "Tensor", precision: str
) -> "Deployment":
    """The first target's deployment, by the exporter whose files are shipped."""
    import dataclasses

    from objectives.runtimes import DeploymentError
    from objectives.runtimes.onnxruntime import OnnxRuntime
    from search.errors import RunFailedError

    target = next(iter(study.targets.values()))
    runtime = target.runtime
    if isinstance(runtime, OnnxRuntime):
        runtime = dataclasses.replace(runtime, exporter="dynamo")
    try:
        return runtime.deploy(
            network,
            calibration=inputs,
            precision=precision,
            device=target.device,
            threads=target.threads,
        )
    except DeploymentError as error:
        raise RunFailedError(f"this member cannot be shipped: {error}") from error


def _input(study: "StudySpec") -> dict[str, Any]:
    """What the file expects: shape, and how stored values become inputs."""
    from objectives.tasks import load

    splits = load(study.task)
    return {
        "name": "input",
        "shape": ["batch", *splits.input_shape],
        "dtype": "float32",
        "prepare": "(value - mean) / std",
        "mean": splits.mean,
        "std": splits.std,
        "classes": list(splits.classes),
    }


def _parity(study: "StudySpec", network: "nn.Module", deployment: "Deployment") -> dict[str, Any]:
    """File against module on real inputs: largest difference, share of equal answers."""
    import torch

    from objectives.tasks import load

    splits = load(study.task)
    inputs = splits.prepare(splits.test.inputs[:PARITY_INPUTS])
    with torch.no_grad():
        expected = network(inputs)
    actual = deployment.run(inputs)
    return {
        "inputs": len(inputs),
        "largest_difference": float((actual - expected).abs().max()),
        "largest_output": float(expected.abs().max()),
        "same_answer": float((actual.argmax(1) == expected.argmax(1)).double().mean()),
    }


def _scores(study: "StudySpec", member: "TrialView", deployment: "Deployment") -> dict[str, Any]:
    """The file's score on both splits that training never saw."""
    from objectives.tasks import load
    from objectives.training import answers

    splits, metric = load(study.task), study.metric
    scores = {
        name: _plain(metric.score(answers(deployment.run, split.inputs, splits), split.targets))
        for name, split in (("validation", splits.validation), ("test", splits.test))
    }
    return {"metric": metric.name, "found": _plain(member.measurements[metric.name]), **scores}


def _costs(
    study: "StudySpec", member: "TrialView", network: "nn.Module", deployment: "Deployment"
) -> dict[str, Any]:
    """Every cost as the search measured it, and of this file where the first target has it."""
    from objectives.costs import Subject
    from objectives.device import MACHINE, Turnstile
    from search.evaluate import CALIBRATION_PRICE, real_inputs

    first = next(iter(study.targets))
    subject = Subject(
        network=network,
        inputs=real_inputs(study, CALIBRATION_PRICE),
        targets=study.targets,
        deployments={first: deployment},
        turnstile=Turnstile(MACHINE),
    )
    costs: dict[str, Any] = {}
    for objective in study.objectives:
        if objective.cost is None:
            continue
        costs[objective.name] = {"found": _plain(member.measurements[objective.name])}
        if objective.cost.target in (None, first):
            costs[objective.name]["file"] = _plain(objective.cost.measure(subject))
    return costs


def _plain(measurement: "Measurement") -> dict[str, Any]:
    import dataclasses

    data = dataclasses.asdict(measurement)
    data["samples"] = len(measurement.samples)
    return data


def _print(certificate: dict[str, Any], folder: Path) -> None:
    from objectives.units import format_quantity

    parity, score = certificate["parity"], certificate["score"]
    print(f"{folder / certificate['file']}  sha256 {certificate['sha256'][:16]}")
    print(
        f"parity   {parity['inputs']} real inputs: largest difference "
        f"{parity['largest_difference']:.1e} (largest output {parity['largest_output']:.1f}), "
        f"same answer {100 * parity['same_answer']:.1f}%"
    )
    found, *files = (score[k] for k in ("found", "validation", "test"))
    told = [format_quantity(m["value"], m["unit"]) for m in (found, *files)]
    print(f"{score['metric']:8} search {told[0]}, this file: validation {told[1]}, test {told[2]}")
    for name, cost in certificate["costs"].items():
        search, file = cost["found"], cost.get("file")
        text = f"{name:8} search {format_quantity(search['value'], search['unit'])}"
        print(
            text + (f", this file {format_quantity(file['value'], file['unit'])}" if file else "")
        )


if __name__ == "__main__":
    sys.exit(main())
