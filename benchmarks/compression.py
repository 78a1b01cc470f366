"""What each step gives: python -m benchmarks.compression [TABLE ...] [--seeds 3] [--to FILE].

LeNet on MNIST and MobileNet on the CIFAR-10 subset: as they are, with one thing at a time, and
with all together. Each row is one candidate's whole life by the code of the search (train,
compress, fine-tune, deploy, score, price) with one thread, `--seeds` times; rows that differ in
their steps alone start from the same trained weights. Told are accuracy on the test split, FLOPs,
size of the file, latency, the seconds that applying the steps takes and those with their
fine-tuning; medians over the seeds, of the accuracy also least and most.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from benchmarks.conditions import keep
from objectives.device import MACHINE, Turnstile
from objectives.tasks import load
from objectives.training import Training
from search.applying import CALIBRATION_PRICE, real_inputs
from search.bench import Bench
from search.evaluate import judge
from search.evaluation import Confirm
from search.learning import begin_training, seed_of, train_until
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


def rows(structure: Options, augmentation: Options) -> dict[str, Options]:
    """Each thing alone, then together."""
    steps: dict[str, list[Options]] = {
        "fuse": [{"fuse": {"batch_norm": True}}],
        "fine-tune": [{"finetune": {"epochs": 1}}],
        "prune half": [PRUNE],
        "prune half, by rounds": [{"prune": {"ratio": 0.5, "schedule": "iterative"}}],
        "prune half, distil": [PRUNE, {"distil": {"epochs": 1}}],
        "sparsify 80%": [{"sparsify": {"pattern": "unstructured", "share": 0.8}}],
        "sparsify 2:4": [{"sparsify": {"pattern": "2:4"}}],
        "factorise to a quarter": [{"factorise": {"rank": 0.25}}],
        "int8": [INT8],
        "int8, aware": [{"quantize": {"scheme": "int8_aware"}}],
        "fp16": [{"quantize": {"scheme": "fp16"}}],
        "prune half, int8": [PRUNE, INT8],
    }
    return {
        "no compression": {},
        "structure": {"architecture": structure},
        "augmentation": {"augmentation": augmentation},
        **{name: {"compression": pipeline} for name, pipeline in steps.items()},
        "structure, int8": {"architecture": structure, "compression": [INT8]},
        "all together": {
            "architecture": structure,
            "augmentation": augmentation,
            "compression": [{"prune": {"ratio": 0.25}}, INT8],
        },
    }


LENET = {"activation": "relu", "pool_kind": "max"}
MOBILENET = {"depth": 3, "width": 0.5, "expansion": 4, "kernel": 3, "activation": "relu6"}
TABLES: dict[str, Table] = {
    "lenet": Table(
        task={"mnist": {"train_images": 12000}},
        epochs=6,
        training={"lr": 3e-3, "batch": 128},
        plain={"lenet": LENET},
        rows=rows({"lenet": {**LENET, "kernel": 3}}, {"rotate_deg": 10, "shift": 0.1}),
    ),
    "mobilenet": Table(
        task={"cifar10": {"images": "subset", "train_images": 6000}},
        epochs=6,
        training={"lr": 3e-3, "batch": 64},
        plain={"mobilenet": MOBILENET},
        rows=rows(
            {"mobilenet": {**MOBILENET, "expansion": 3, "resolution": 24}},
            {"flip": True, "shift": 0.1},
        ),
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
    if options.to is not None and options.to.exists():
        found = json.loads(options.to.read_text())["tables"]
    for name in options.tables:
        print(name)
        found[name] = {}
        trained: dict[tuple[str, int], nn.Module] = {}
        for row, changes in TABLES[name].rows.items():
            result = lives(TABLES[name], changes, options.seeds, trained)
            found[name][row] = result
            print(told(row, result), flush=True)
            keep(options.to, "compression", {"tables": found})


def lives(
    table: Table, changes: Options, seeds: int, trained: dict[tuple[str, int], nn.Module]
) -> Options:
    """Measured values of one row, one a seed; `trained` keeps networks for other rows."""
    study, candidate = read(table, changes)
    bench = Bench("cpu", 1, Turnstile(MACHINE), 1)
    values = []
    for seed in range(1, seeds + 1):
        key = (candidate.train_key(study.context()), seed)
        if key not in trained:
            progress = begin_training(candidate, study, seed_of(candidate, study, seed))
            settings = Training(**candidate.training)
            train_until(progress, settings, candidate, study, bench, table.epochs, table.epochs)
            trained[key] = progress.result().cpu()
        job = Confirm(trial=0, candidate=candidate, seed=seed, rung=table.epochs)
        done = judge(job, copy.deepcopy(trained[key]), study, bench)
        row = {name: done.measurements[name].value for name in MEASURED}
        row["compress_s"] = bench.seconds.pop("compress")
        values.append({**row, "steps_s": steps_s(study, candidate)})
    return {name: [row[name] for row in values] for name in values[0]}


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
        f"  {row:24} {share}  {middle['flops']:9.3g} FLOPs  {middle['size'] / 1e3:7.1f} kB  "
        f"{1e3 * middle['latency']:7.1f} us  steps {middle['steps_s']:.3f} s, "
        f"with training {middle['compress_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
