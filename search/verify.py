"""Check an exported model: python -m search.verify FOLDER [--data study.yaml|FILE.npz]."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from objectives import agent
from search.commands import DONE, FAILED, guarded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EPILOG = """examples:
  python -m search.verify exports/digits-14
  python -m search.verify exports/digits-14 --data studies/digits.yaml
  python exports/digits-14/verify.py        (the same, with numpy and ONNX Runtime alone)

exit codes: 0 hashes, answers and score hold, 1 they do not, 2 the input is wrong"""
CHUNK = 512


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and check; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.verify",
        description="Repeat what the certificate of an exported model claims.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="what search.export wrote, or a file in it")
    parser.add_argument(
        "--data", type=Path, help="a study file, or an .npz with `inputs` as stored and `targets`"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    return guarded(lambda: _verify(parser.parse_args(arguments)))


def _verify(options: argparse.Namespace) -> int:
    folder = options.folder if options.folder.is_dir() else options.folder.parent
    report, certificate = verify(folder, options.data)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(agent.lines(report)))
        if report["hashes"]["holds"]:
            print(_score_line(report["score"], certificate["score"]))
    held = [report[part]["holds"] for part in ("hashes", "parity", "score") if part in report]
    return FAILED if False in held else DONE


def verify(folder: Path, data: Path | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what holds here, the certificate) of an exported folder.

    Raises:
        InputError: no certificate, a damaged one, or a model file that cannot be loaded.
    """
    from search.errors import InputError

    try:
        certificate = json.loads((folder / "certificate.json").read_text())
        report = agent.check(folder, _loader(certificate["file"]))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: there is no {Path(error.filename).name}; give what search.export wrote"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'certificate.json'}: damaged ({error}); export the member again"
        ) from error
    except Exception as error:
        told = str(error).strip().splitlines()[0][:200]
        raise InputError(f"{folder}: {certificate['file']} cannot be run here: {told}") from error
    if report["hashes"]["holds"]:
        report["score"] = _score(folder, certificate, data)
    return report, certificate


class _Program:
    """A torch.export program behind the two methods of an ONNX Runtime session."""

    def __init__(self, file: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.module = torch.export.load(file).module()
        parameter = next(self.module.parameters(), torch.zeros(()))
        self.device, self.dtype = parameter.device, parameter.dtype

    def get_inputs(self) -> "list[Any]":
        """One input, named as in an ONNX file of ours."""
        return [argparse.Namespace(name=agent.INPUT)]

    def run(self, _: None, feed: "dict[str, NDArray[np.float32]]") -> "list[NDArray[np.float32]]":
        """As `InferenceSession.run`."""
        import torch

        with torch.inference_mode():
            inputs = torch.from_numpy(feed[agent.INPUT])
            dtype = self.dtype if inputs.is_floating_point() else inputs.dtype
            output = self.module(inputs.to(self.device, dtype))
        return [output.float().cpu().numpy()]


def _loader(file: str) -> Callable[[str, int], Any]:
    """What loads a model file: (path, threads) -> session."""
    return _Program if file.endswith(".pt2") else agent.open_session


def _score(folder: Path, certificate: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """The file's score on the test split, if somebody has it."""
    if data is None:
        return {"holds": None, "reason": "give the test data with --data"}
    from search.errors import InputError

    file, threads = str(folder / certificate["file"]), certificate["target"]["threads"]
    session = _loader(file)(file, threads)
    if data.suffix == ".npz":
        return _score_of_arrays(session, certificate, data)
    import torch

    from objectives.tasks import load as load_task
    from objectives.training import answers
    from search.spec import read_study

    study = read_study(data)
    splits, metric = load_task(study.task), study.metric
    if metric.name != certificate["score"]["metric"]:
        raise InputError(
            f"--data: {data} is judged by {metric.name}, the file by "
            f"{certificate['score']['metric']}; give the study that it came from"
        )

    def run(inputs: Any) -> Any:
        return torch.from_numpy(session.run(None, {agent.INPUT: inputs.numpy()})[0])

    found = metric.score(answers(run, splits.test.inputs, splits), splits.test.targets)
    claimed = certificate["score"]["test"]
    return {
        "holds": claimed["low"] <= found.value <= claimed["high"],
        "metric": metric.name,
        "unit": found.unit,
        "value": found.value,
        "inputs": len(splits.test),
    }


def _score_of_arrays(session: Any, certificate: dict[str, Any], data: Path) -> dict[str, Any]:
    """The score on arrays of the user's own, targets in the unit of the table."""
    import numpy as np
    import torch

    from objectives.tasks.metrics import METRICS
    from search.errors import InputError

    told, metric = certificate["input"], certificate["score"]["metric"]
    if metric not in METRICS:
        raise InputError(f"--data: arrays cannot be judged by {metric}; give a study file")
    try:
        with np.load(data) as arrays:
            inputs, targets = arrays["inputs"], arrays["targets"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"--data: {data}: {error}; it needs arrays inputs and targets") from error
    if not len(targets) or list(inputs.shape) != [len(targets), *told["shape"][1:]]:
        raise InputError(
            f"--data: {data} holds inputs of shape {inputs.shape} and {len(targets)} targets; "
            f"the file takes {told['shape']}"
        )
    if told["dtype"] == "int64":
        prepared = inputs.astype(np.int64)
    else:
        prepared = ((inputs - told["mean"]) / told["std"]).astype(np.float32)
    outputs = np.concatenate(
        [
            session.run(
                None, {agent.INPUT: np.ascontiguousarray(prepared[start : start + CHUNK])}
            )[0]
            for start in range(0, len(prepared), CHUNK)
        ]
    )
    scale = certificate.get("output", {})
    restored = outputs * scale.get("std", 1.0) + scale.get("mean", 0.0)
    wanted = targets.reshape(restored.shape) if scale.get("kind") == "values" else targets
    found = METRICS[metric].score(torch.from_numpy(restored), torch.from_numpy(wanted))
    claimed = certificate["score"]["test"]
    return {
        "holds": claimed["low"] <= found.value <= claimed["high"],
        "metric": metric,
        "unit": claimed["unit"],
        "value": found.value,
        "inputs": len(targets),
    }


def _score_line(score: dict[str, Any], claimed: dict[str, Any]) -> str:
    from objectives.units import format_quantity

    if score["holds"] is None:
        return f"score    not repeated: {score['reason']}"
    test = claimed["test"]
    value, told = (format_quantity(v, score["unit"]) for v in (score["value"], test["value"]))
    verdict = "holds" if score["holds"] else "DOES NOT HOLD"
    return (
        f"score    {verdict}: {score['metric']} {value} on {score['inputs']} test inputs, "
        f"{told} certified"
    )


if __name__ == "__main__":
    sys.exit(main())
