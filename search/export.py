"""Hand over a member: python -m search.export study.yaml MEMBER [--to DIR]."""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives import agent
from search.commands import DONE, guarded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from objectives.measurement import Measurement
    from objectives.runtimes import Deployment
    from search.store.view import StudyView, TrialView
    from search.study import StudySpec

PARITY_INPUTS, KEPT_INPUTS = 256, 64
"""Real inputs of the test split on which file and module are compared; those kept beside it."""


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
    view = view_of(study.name, study.storage, whole=False)
    member = find_member(view, options.member)
    folder = options.to or Path("exports") / f"{as_file_name(study.name)}-{member.number}"
    certificate = export_member(study, view, member, folder)
    _print(certificate, folder)
    return DONE


def export_member(
    study: "StudySpec", view: "StudyView", member: "TrialView", folder: Path
) -> dict[str, Any]:
    """Write model, certificate and what checks it into `folder`; returns the certificate.

    `model.onnx` (or `model.pt2`, a torch.export program, for the torch runtimes) is what a
    customer loads. For ONNX it is made by the shipping exporter, so it is compared, scored and
    timed here once more. `parity.npz` and `verify.py` repeat that without us.

    Raises:
        InputError: the weights are gone, or the folder cannot be written.
        RunFailedError: the shipping exporter fails where the search's own did not.
    """
    from search.applying import rebuild
    from search.errors import InputError

    network, precision = rebuild(member.candidate, study, _weights(study, member))
    deployment, model = _shipped(study, network, precision)
    files = {
        deployment.file: model,
        "parity.npz": _parity_set(study, deployment),
        "verify.py": Path(agent.__file__).read_bytes(),
    }
    costs = _costs(study, member, network, deployment)
    certificate = {
        "file": deployment.file,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "study": study.name,
        "trial": member.number,
        "candidate": member.candidate.as_dict(),
        "precision": precision,
        "input": _input(study),
        "output": _output(study),
        "parity": _parity(study, network, deployment),
        "score": _scores(study, member, deployment),
        "costs": costs,
        "target": _target(study),
        "latency": _latency(study, costs, deployment),
    }
    files["certificate.json"] = (json.dumps(certificate, indent=2) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise InputError(f"--to: {folder} cannot be written: {error.strerror}") from error
    return certificate


def _weights(study: "StudySpec", member: "TrialView") -> "dict[str, Tensor]":
    import torch

    from search.artifacts import store_at
    from search.checkpoints import weights_id
    from search.errors import InputError

    artifact = weights_id(member.candidate, study)
    try:
        with store_at(study.artifacts).open_reader(artifact) as file:
            state: dict[str, Tensor] = torch.load(io.BytesIO(file.read()), weights_only=True)
            return state
    except FileNotFoundError as error:
        raise InputError(
            f"artifacts: {study.artifacts} lacks the weights of trial {member.number} "
            f"({artifact}); give the folder, and the study file and overrides, of the run"
        ) from error


def _shipped(
    study: "StudySpec", network: "nn.Module", precision: str
) -> "tuple[Deployment, bytes]":
    """(the first target's deployment by the exporter whose files are shipped, that file)."""
    import dataclasses

    from objectives.runtimes import DeploymentError
    from objectives.runtimes.onnxruntime import OnnxRuntime
    from search.applying import CALIBRATION_SCORE, real_inputs
    from search.errors import RunFailedError
    from search.evaluate import deploy

    name, target = next(iter(study.targets.items()))
    if isinstance(target.runtime, OnnxRuntime):
        runtime = dataclasses.replace(target.runtime, exporter="dynamo")
        target = dataclasses.replace(target, runtime=runtime)
        study = dataclasses.replace(study, targets={**study.targets, name: target})
    try:
        deployment = deploy(network, study, name, real_inputs(study, CALIBRATION_SCORE), precision)
        return deployment, deployment.ship()
    except DeploymentError as error:
        raise RunFailedError(f"this member cannot be shipped: {error}") from error


def _target(study: "StudySpec") -> dict[str, Any]:
    """Where the file is meant to run: the study's first target."""
    name, target = next(iter(study.targets.items()))
    return {
        "name": name,
        "device": target.device,
        "threads": target.threads,
        "cores": list(target.cores),
        "batch": target.batch,
        "runtime": type(target.runtime).__name__,
    }


def _parity_set(study: "StudySpec", deployment: "Deployment") -> bytes:
    """Real inputs and what the file answers to them here, as .npz."""
    import numpy as np

    from objectives.tasks import load

    splits = load(study.task)
    inputs = splits.prepare(splits.test.inputs[:KEPT_INPUTS])
    buffer = io.BytesIO()
    np.savez(buffer, inputs=inputs.numpy(), outputs=deployment.run(inputs).numpy())
    return buffer.getvalue()


def _latency(
    study: "StudySpec", costs: dict[str, Any], deployment: "Deployment"
) -> dict[str, Any] | None:
    """The file's latency on the first target: of the costs, else measured for the certificate."""
    from objectives.costs import Latency

    first = next(iter(study.targets))
    for objective in study.objectives:
        if isinstance(objective.cost, Latency) and objective.cost.target == first:
            found: dict[str, Any] = costs[objective.name]["file"]
            return found
    from objectives.device import MACHINE, Turnstile
    from search.applying import CALIBRATION_PRICE, real_inputs

    target = study.targets[first]
    inputs = real_inputs(study, CALIBRATION_PRICE)
    timed = deployment.time(inputs, target.batch, target.timing(), Turnstile(MACHINE))
    return {**_plain(timed), "conditions": {**deployment.conditions, **timed.conditions}}


def _input(study: "StudySpec") -> dict[str, Any]:
    """What the file expects: shape, and how stored values become inputs."""
    from objectives.tasks import load

    splits = load(study.task)
    return {
        "name": "input",
        "shape": ["batch", *splits.input_shape],
        "dtype": "int64" if splits.vocabulary else "float32",
        "prepare": "ids as they are" if splits.vocabulary else "(value - mean) / std",
        "mean": splits.mean,
        "std": splits.std,
        "classes": list(splits.classes),
    }


def _output(study: "StudySpec") -> dict[str, Any]:
    """What the file's outputs mean: scores of classes, or standardised values."""
    from objectives.tasks import load

    splits = load(study.task)
    if not splits.has_values:
        return {"name": "output", "kind": "classes"}
    return {
        "name": "output",
        "kind": "values",
        "restore": "output * std + mean",
        "mean": splits.target_mean or 0.0,
        "std": splits.target_std or 1.0,
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
    found = {
        "inputs": len(inputs),
        "largest_difference": float((actual - expected).abs().max()),
        "largest_output": float(expected.abs().max()),
    }
    if not splits.has_values:
        found["same_answer"] = float((actual.argmax(1) == expected.argmax(1)).double().mean())
    return found


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
    from search.applying import CALIBRATION_PRICE, real_inputs

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
    digest = certificate["sha256"][certificate["file"]]
    print(f"{folder / certificate['file']}  sha256 {digest[:16]}")
    same = f", same answer {100 * parity['same_answer']:.1f}%" if "same_answer" in parity else ""
    print(
        f"parity   {parity['inputs']} real inputs: largest difference "
        f"{parity['largest_difference']:.1e} (largest output {parity['largest_output']:.1f}){same}"
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
    print(f"check    python {folder / 'verify.py'}  (needs numpy and onnxruntime only)")


if __name__ == "__main__":
    sys.exit(main())
