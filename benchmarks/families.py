"""What each family finds on its task: python -m benchmarks.families [CASE ...] [KEY=VALUE ...].

Each shipped study is run as it is, in an empty folder, and one member of its front is exported:
the one of fewest FLOPs whose validation score is at least the sanity model's and whose 95%
interval leaves it out; where there is none, the one with the best score.
Told are the score of the exported *file* on the test split, which the search never saw, its FLOPs
and latency, the minutes of the run, the sanity model's score (one run of a simple model, as the
README of the data states it, some on easier splits), that of the same model on our splits, and
the FLOPs of a network that one would write down by hand.

`KEY=VALUE` changes the study: another attempt at it, which is kept beside those before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from benchmarks.conditions import keep
from benchmarks.sanity import sanity_of
from objectives.complexity import count_flops
from objectives.tasks import load
from search.applying import CALIBRATION_PRICE, real_inputs
from search.spec import read_study
from search.store.view import StudyView, TrialView, view_of
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.families import FAMILIES

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study with what it is compared to."""

    study: str
    """Name of a file in `studies/`."""
    sanity: float
    """Score of the sanity model on test data, in the unit of the study's metric."""
    model: str
    """What the sanity model is."""
    family: str
    """Family of the network written down by hand ..."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """... and its choices."""
    only: str = ""
    """The one family of the study's that is searched; empty for all."""
    overrides: tuple[str, ...] = ()
    """Budget of this run, where it is less than the study's."""


PICTURES = {
    "convnet": (20, "[2, 5]", "0.15 ms"),
    "mobilenet": (24, "[3, 9]", "0.15 ms"),
    "resnet": (24, "[3, 9]", "0.15 ms"),
    "squeezenet": (16, "[2, 5]", "0.15 ms"),
    "vit": (14, "[4, 12, 36]", "0.5 ms"),
}
"""Family -> (candidates, rungs, limit of latency) on the subset of CIFAR-10."""
SMALL_CNN = {"depth": 3, "width": (32, 64, 64), "kernel": 3, "pool": 2}
CASES: dict[str, Case] = {
    "sms_spam": Case(
        study="sms_spam",
        sanity=0.955,
        model="TF-IDF(1,2) + logistic regression",
        family="text",
        options={"body": "conv", "embedding": 64, "width": 64},
    ),
    "trec6": Case(
        study="trec6",
        sanity=0.890,
        model="TF-IDF(1,2) + logistic regression",
        family="text",
        options={"body": "conv", "embedding": 64, "width": 64},
    ),
    "movielens": Case(
        study="movielens",
        sanity=0.853,
        model="user and item bias",
        family="recommender",
        options={"body": "two_towers", "factors": 16, "width": 32},
    ),
    "wall_following": Case(
        study="wall_following",
        sanity=0.894,
        model="MLP-64",
        family="control",
        options={"depth": 1, "width": 64},
    ),
    "sarcos": Case(
        study="sarcos",
        sanity=0.032,
        model="MLP 64 x 64",
        family="mlp",
        options={"depth": 2, "width": 64},
    ),
    "kin8nm": Case(
        study="kin8nm",
        sanity=0.090,
        model="MLP 50 x 50",
        family="mlp",
        options={"depth": 2, "width": 50},
    ),
    "spoken_digits": Case(
        study="spoken_digits",
        sanity=0.970,
        model="log-mel 24 x 32 + logistic regression",
        family="speech",
        options={"body": "conv2d"},
    ),
    "mnist": Case(
        study="mnist",
        sanity=0.989,
        model="LeNet-5, 2 epochs of 60,000",
        family="lenet",
        overrides=("search.trials=14",),
    ),
    "fashion_mnist": Case(
        study="fashion_mnist",
        sanity=0.877,
        model="LeNet-5, 2 epochs of 60,000",
        family="lenet",
        overrides=("search.trials=24",),
    ),
    **{
        f"cifar10_{family}": Case(
            study="cifar10",
            only=family,
            sanity=0.561,
            model="CNN of 3 convolutions, 54,000 parameters, 2 epochs",
            family="convnet",
            options=SMALL_CNN,
            overrides=(
                "task.cifar10.images=subset",
                f"search.trials={trials}",
                f"search.rungs={rungs}",
                f"objectives=[accuracy, size, {{latency: {{target: cpu, limit: {limit}}}}}]",
            ),
        )
        for family, (trials, rungs, limit) in PICTURES.items()
    },
}


def main() -> None:
    """Run, export, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="CASE or KEY=VALUE", help=", ".join(CASES))
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    changes = tuple(word for word in options.words if "=" in word)
    names = [word for word in options.words if "=" not in word] or list(CASES)
    rows = []
    for name in names:
        case = CASES[name]
        rows.append(row := found(name, replace(case, overrides=(*case.overrides, *changes))))
        print(told(row), flush=True)
        keep(options.to, "families", {"rows": merged(options.to, rows)})


def found(name: str, case: Case) -> dict[str, Any]:
    """Run a study; what its file of choice is worth."""
    file = ROOT / "studies" / f"{case.study}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        overrides = (
            f"storage=sqlite:///{folder}/study.db",
            f"artifacts={folder}/artifacts",
            *narrowed(file, case.only),
            *case.overrides,
        )
        start = time.perf_counter()
        command(["search.run", str(file), *overrides], folder)
        minutes = (time.perf_counter() - start) / 60
        study = read_study(str(file), overrides)
        view = view_of(study.name, study.storage)
        sign = -1 if study.metric.direction == "maximize" else 1
        flops = {m.number: flops_of(study, m.candidate) for m in view.members}
        member = chosen(view, flops, study.metric.name, sign, case.sanity)
        exported = ["search.export", str(file), str(member.number), "--to", "file", *overrides]
        command(exported, folder)
        certificate = json.loads((Path(folder) / "file" / "certificate.json").read_text())
    reference = FAMILIES[case.family](**case.options).build(*load(study.task).signature)
    return {
        "case": name,
        "overrides": [*case.overrides, *([f"only {case.only}"] if case.only else [])],
        "metric": study.metric.name,
        "sanity_model": case.model,
        "sanity": case.sanity,
        "sanity_here": sanity_of(case.study),
        "reference": f"{case.family} {dict(case.options)}",
        "reference_flops": counted(reference, study),
        "minutes": minutes,
        "candidates": len(view.trials),
        "trained": sum(bool(trial.curve) for trial in view.trials),
        "members": len(view.members),
        "front": [
            {
                "trial": member.number,
                "flops": flops[member.number],
                **{name: m.value for name, m in member.measurements.items()},
            }
            for member in view.members
        ],
        "trial": member.number,
        "candidate": member.candidate.as_dict(),
        "validation": certificate["score"]["validation"]["value"],
        "test": certificate["score"]["test"]["value"],
        "test_interval": [certificate["score"]["test"][end] for end in ("low", "high")],
        "flops": flops[member.number],
        "latency_ms": certificate["latency"]["value"],
    }


def narrowed(file: Path, family: str) -> tuple[str, ...]:
    """Overrides that leave one family of the study's and the steps for it; none for all."""
    if not family:
        return ()
    space = yaml.safe_load(file.read_text())["space"]
    steps = [_only(step, family) for step in space["compression"]]
    return (
        f"space.architecture={json.dumps({family: space['architecture'][family]})}",
        f"space.compression={json.dumps([step for step in steps if step])}",
    )


def _only(step: Mapping[str, Any], family: str) -> Mapping[str, Any]:
    """A step without its conditions on the family; empty if one of them does not hold."""
    [(name, options)] = step.items()
    kept = {}
    for key, choice in options.items():
        families = choice.get("when", {}).get("architecture") if isinstance(choice, dict) else None
        if families is not None and family not in families:
            return {}
        kept[key] = choice if families is None else choice["values"]
    return {name: kept}


def flops_of(study: StudySpec, candidate: Candidate) -> int:
    """Of a candidate after pruning, whether or not the study asks for them."""
    network = study.space.build(candidate, *load(study.task).signature).eval()
    example = real_inputs(study, CALIBRATION_PRICE)
    for _, step in study.space.pipeline(candidate):
        step.apply(network, example)
    return counted(network, study)


def counted(network: nn.Module, study: StudySpec) -> int:
    """FLOPs of one input of the study's task."""
    example = real_inputs(study, 2)
    return count_flops(network.eval(), tuple(example.shape[1:]), dtype=example.dtype).total


def chosen(
    view: StudyView, flops: Mapping[int, int], metric: str, sign: int, sanity: float
) -> TrialView:
    """The cheapest member that is surely as good as `sanity` on validation data, or the best."""

    def pessimistic(member: TrialView) -> float:
        measured = member.measurements[metric]
        return max(sign * measured.low, sign * measured.high)

    good = [m for m in view.members if pessimistic(m) <= sign * sanity]
    if good:
        return min(good, key=lambda m: flops[m.number])
    return min(view.members, key=lambda m: sign * m.measurements[metric].value)


def command(module: list[str], folder: str) -> None:
    """`python -m MODULE ...` in `folder`."""
    subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def merged(path: Path | None, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` with those of other studies and attempts that `path` holds already."""
    old = json.loads(path.read_text())["rows"] if path is not None and path.exists() else []
    kept = {(row["case"], *row["overrides"]): row for row in [*old, *rows]}
    return [kept[attempt] for attempt in sorted(kept)]


def told(row: dict[str, Any]) -> str:
    """One line of the table."""
    here = f" ({row['sanity_here']:.4g} here)" if row["sanity_here"] is not None else ""
    return (
        f"{row['case']:18} {row['minutes']:4.1f} min  {row['metric']} test {row['test']:.4g}, "
        f"validation {row['validation']:.4g}, sanity {row['sanity']:.4g}{here}; "
        f"{row['flops']:.3g} FLOPs against {row['reference_flops']:.3g}; "
        f"{1e3 * row['latency_ms']:.0f} us; {row['trained']} of {row['candidates']} trained"
    )


if __name__ == "__main__":
    main()
