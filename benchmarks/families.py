"""What each family finds on its task: python -m benchmarks.families [STUDY ...] [--to FILE].

Each shipped study is run as it is, in an empty folder, and one member of its front is exported:
the one of fewest FLOPs whose validation score is at least the sanity model's, or else the best.
Told are the score of the exported *file* on the test split, which the search never saw, its FLOPs
and latency, the minutes of the run, the sanity model's score (one run of a simple model, as the
README of the data states it) and the FLOPs of a network that one would write down by hand.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.conditions import keep
from objectives.complexity import count_flops
from objectives.tasks import load
from search.spec import read_study
from search.store.view import StudyView, TrialView, view_of
from spaces.families import FAMILIES

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Case:
    """A study with what it is compared to."""

    sanity: float
    """Score of the sanity model on test data, in the unit of the study's metric."""
    model: str
    """What the sanity model is."""
    family: str
    """Family of the network written down by hand ..."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """... and its choices."""


CASES: dict[str, Case] = {}


def main() -> None:
    """Run, export, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", default=list(CASES), help=", ".join(CASES))
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.studies:
        rows.append(row := found(name, CASES[name]))
        print(told(row), flush=True)
        keep(options.to, "families", {"rows": merged(options.to, rows)})


def found(name: str, case: Case) -> dict[str, Any]:
    """Run a study; what its file of choice is worth."""
    file = ROOT / "studies" / f"{name}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        storage = f"storage=sqlite:///{folder}/study.db"
        start = time.perf_counter()
        command(["search.run", str(file), storage], folder)
        minutes = (time.perf_counter() - start) / 60
        study = read_study(str(file), (storage, f"artifacts={folder}/artifacts"))
        view = view_of(study.name, study.storage)
        metric = study.metric
        sign = -1 if metric.direction == "maximize" else 1
        member = chosen(view, metric.name, sign, case.sanity)
        command(["search.export", str(file), str(member.number), "--to", "file", storage], folder)
        certificate = json.loads((Path(folder) / "file" / "certificate.json").read_text())
    splits = load(study.task)
    reference = FAMILIES[case.family](**case.options).build(*splits.signature)
    return {
        "study": name,
        "metric": metric.name,
        "sanity_model": case.model,
        "sanity": case.sanity,
        "reference": f"{case.family} {dict(case.options)}",
        "reference_flops": count_flops(reference.eval(), splits.input_shape).total,
        "minutes": minutes,
        "candidates": len(view.trials),
        "trained": sum(bool(trial.curve) for trial in view.trials),
        "members": len(view.members),
        "trial": member.number,
        "candidate": member.candidate.as_dict(),
        "validation": member.measurements[metric.name].value,
        "test": certificate["score"]["test"],
        "flops": member.measurements["flops"].value,
        "latency_ms": certificate["latency"]["value"],
    }


def chosen(view: StudyView, metric: str, sign: int, sanity: float) -> TrialView:
    """The cheapest member that is no worse than `sanity` on validation data, or the best."""
    good = [m for m in view.members if sign * m.measurements[metric].value <= sign * sanity]
    if good:
        return min(good, key=lambda m: m.measurements["flops"].value)
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
    """`rows` with those of other studies that `path` holds already."""
    old = json.loads(path.read_text())["rows"] if path is not None and path.exists() else []
    names = {row["study"] for row in rows}
    return sorted([*(r for r in old if r["study"] not in names), *rows], key=lambda r: r["study"])


def told(row: dict[str, Any]) -> str:
    """One line of the table."""
    return (
        f"{row['study']:16} {row['minutes']:4.1f} min  {row['metric']} test {row['test']:.4g}, "
        f"validation {row['validation']:.4g}, sanity {row['sanity']:.4g}; "
        f"{row['flops']:.3g} FLOPs against {row['reference_flops']:.3g}; "
        f"{1e3 * row['latency_ms']:.0f} us; {row['trained']} of {row['candidates']} trained"
    )


if __name__ == "__main__":
    main()
