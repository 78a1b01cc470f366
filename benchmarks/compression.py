"""What each step gives: python -m benchmarks.compression [TABLE ...] [--seeds 3] [--to FILE].

LeNet on MNIST and MobileNet on the CIFAR-10 subset: as they are, with one thing at a time, and
with all together. Each row is one candidate's whole life by the code of the search (train,
compress, fine-tune, deploy, score, price) with one thread, `--seeds` times. Told are accuracy on
the test split, FLOPs, size of the file, latency, and the seconds that applying the steps takes
(without fine-tuning); medians over the seeds, of the accuracy also least and most.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.conditions import keep
from objectives.tasks import load
from search.compressing import CALIBRATION_PRICE, real_inputs
from search.evaluate import evaluate
from search.evaluation import Confirm
from search.spec import read_study
from search.study import StudySpec
from spaces.candidate import Candidate

Options = dict[str, Any]

STUDY: Options = {
    "name": "compression",
    "targets": {"cpu": {"device": "cpu", "threads": 1, "batch": 1, "runtime": "onnxruntime"}},
    "objectives": [
        "accuracy",
        "flops",
        {"size": {"target": "cpu"}},
        {"latency": {"target": "cpu"}},
    ],
    "storage": "sqlite:///unused.db",
}
MEASURED = ("accuracy", "flops", "size", "latency")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A network on a task, and what is done to it."""

    task: Options
    epochs: int
    training: Options
    plain: Options
    """Architecture as one would write it down."""
    rows: Mapping[str, Options]
    """Row -> sections of the space that differ from the plain network."""


PRUNE, INT8 = {"prune": {"ratio": 0.5}}, {"quantize": {"scheme": "int8"}}
TABLES: dict[str, Table] = {
    "lenet": Table(
        task={"mnist": {"train_images": 12000}},
        epochs=6,
        training={"lr": 3e-3, "batch": 128},
        plain={"lenet": {"activation": "relu", "pool_kind": "max"}},
        rows={
            "no compression": {},
            "structure": {
                "architecture": {"lenet": {"activation": "relu", "pool_kind": "max", "kernel": 3}}
            },
            "augmentation": {"augmentation": {"rotate_deg": 10, "shift": 0.1}},
            "prune half": {"compression": [PRUNE]},
            "int8": {"compression": [INT8]},
            "prune, int8": {"compression": [PRUNE, INT8]},
            "all together": {
                "architecture": {"lenet": {"activation": "relu", "pool_kind": "max", "kernel": 3}},
                "augmentation": {"rotate_deg": 10, "shift": 0.1},
                "compression": [PRUNE, INT8],
            },
        },
    ),
}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=", ".join(TABLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in options.tables:
        print(name)
        found[name] = {}
        for row, changes in TABLES[name].rows.items():
            found[name][row] = result = lives(TABLES[name], changes, options.seeds)
            print(told(row, result), flush=True)
            keep(options.to, "compression", {"tables": found})


def lives(table: Table, changes: Options, seeds: int) -> Options:
    """Measured values of one row, one a seed."""
    study, candidate = read(table, changes)
    rows = []
    for seed in range(1, seeds + 1):
        job = Confirm(trial=0, candidate=candidate, seed=seed, rung=table.epochs)
        done = evaluate(job, study, "cpu", 1)
        assert done.status == "confirmed", done.reason
        row = {name: done.measurements[name].value for name in MEASURED}
        rows.append({**row, "steps_s": steps_s(study, candidate)})
    return {name: [row[name] for row in rows] for name in rows[0]}


def steps_s(study: StudySpec, candidate: Candidate) -> float:
    """Seconds that the candidate's steps take on an untrained network."""
    network = study.space.build(candidate, *load(study.task).signature).eval()
    example = real_inputs(study, CALIBRATION_PRICE)
    start = time.perf_counter()
    for _, step in study.space.pipeline(candidate):
        step.apply(network, example)
    return time.perf_counter() - start


def read(table: Table, changes: Options) -> tuple[StudySpec, Candidate]:
    """A study of fixed values alone, and its one candidate."""
    space = {"architecture": table.plain, "training": table.training, **changes}
    search = {"trials": 1, "rungs": [table.epochs]}
    data = {**STUDY, "task": table.task, "space": space, "search": search}
    file = Path("compression-study.yaml")
    try:
        file.write_text(yaml.safe_dump(data))
        study = read_study(str(file))
    finally:
        file.unlink(missing_ok=True)
    return study, study.space.decode({}, load(study.task).input_shape)


def told(row: str, result: Options) -> str:
    """One line of the table."""
    accuracy = result["accuracy"]
    middle = {name: statistics.median(values) for name, values in result.items()}
    low, high = 100 * min(accuracy), 100 * max(accuracy)
    share = f"{100 * middle['accuracy']:6.2f}% ({low:.2f} - {high:.2f})"
    return (
        f"  {row:18} {share}  {middle['flops']:9.3g} FLOPs  {middle['size'] / 1e3:7.1f} kB  "
        f"{1e3 * middle['latency']:7.1f} us  steps {middle['steps_s']:.3f} s"
    )


if __name__ == "__main__":
    main()
