"""The digits study against the same study by hand: python -m benchmarks.by_hand [--seconds 60].

Same space, training, fine-tuning, limit, machine, two workers and wall time from the start of the
command. By hand: `by_hand_script.py` with NSGA-II and with TPE, each candidate trained in full.
Ours: `search.run` with the same two samplers, and with `ehvi` as it is shipped. Compared: trials,
hypervolume of the front, lines that the user writes. One judge for all: FLOPs and latency of every
front are priced anew, in one process, by our pricer, for both sides; accuracy is what each side
found on its own validation part (20% of the same data, another random split). The scale is that of
our first run.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.conditions import keep, spread
from objectives.tasks import load
from search.evaluate import evaluate
from search.evaluation import Price
from search.pareto import Scale, hypervolume, losses, non_dominated
from search.spec import read_study
from search.store.view import view_of
from search.study import StudySpec
from spaces.candidate import Candidate

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "studies" / "digits.yaml"
SCRIPT = Path(__file__).parent / "by_hand_script.py"
Front = list[tuple[float, Candidate]]
"""(accuracy found, candidate) of each member."""


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    study = read_study(STUDY)
    rows: dict[str, list[dict[str, Any]]] = {}
    scale: Scale | None = None
    for seed in range(options.seeds):
        for sampler in ("ehvi", "tpe", "nsga2"):
            trials, front, own_scale = ours(sampler, seed, options.seconds)
            scale = scale or own_scale
            rows.setdefault(f"paretune {sampler}", []).append(judged(study, trials, front, scale))
            if sampler == "ehvi":
                continue
            trials, front = by_hand(study, sampler, seed, options.seconds)
            rows.setdefault(f"by hand {sampler}", []).append(judged(study, trials, front, scale))
    lines = {"paretune": lines_of(STUDY), "by hand": lines_of(SCRIPT)}
    print(f"{options.seconds} s each, {options.seeds} seeds; median (least - most)")
    for name, found in rows.items():
        trials, volume = ([row[key] for row in found] for key in ("trials", "hypervolume"))
        written = lines[name.rpartition(" ")[0]]
        print(f"{name:16} trials {spread(trials)}  hypervolume {spread(volume)}  lines {written}")
    keep(options.to, "by_hand", {"seconds": options.seconds, "rows": rows, "lines": lines})


def lines_of(path: Path) -> int:
    """Lines that are neither blank nor comment."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def ours(sampler: str, seed: int, seconds: int) -> tuple[int, Front, Scale]:
    """(trials, front, scale) of `search.run`, stopped after `seconds` of wall time in all."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            str(STUDY),
            f"search.sampler={sampler}",
            f"seed={seed}",
            "search.trials=100000",
        ]
        with subprocess.Popen(
            [sys.executable, "-m", "search.run", "--quiet", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        ) as process:
            time.sleep(seconds)
            process.terminate()
        view = view_of("digits", f"sqlite:///{folder}/paretune.db")
        ended = sum(trial.status not in ("priced", "trained") for trial in view.trials)
        front = [(m.measurements["accuracy"].value, m.candidate) for m in view.members]
        assert view.scale is not None
        return ended, front, view.scale


def by_hand(study: StudySpec, sampler: str, seed: int, seconds: int) -> tuple[int, Front]:
    """(trials, front) of two processes of the plain script on one SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "hand.db"
        command = [sys.executable, str(SCRIPT), str(database), sampler]
        started = time.monotonic()
        workers = []
        for worker in range(2):
            workers.append(
                subprocess.Popen([*command, str(seed * 2 + worker), str(seconds)], cwd=folder)
            )
            time.sleep(0.5)  # both would create the tables at once
        time.sleep(max(0.0, seconds - (time.monotonic() - started)))
        for process in workers:
            process.terminate()
            process.wait()
        with sqlite3.connect(database) as connection:
            connection.execute("PRAGMA journal_mode")
        loaded = optuna.load_study(study_name="digits", storage=f"sqlite:///{database}")
        complete = [t for t in loaded.trials if t.state.name == "COMPLETE"]
        shape = load(study.task).input_shape
        front = [
            (t.values[0], study.space.decode(renamed(t.params), shape)) for t in loaded.best_trials
        ]
        return len(complete), front


def renamed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The script's parameters under the names of the study file."""
    names = {
        "depth": "architecture.convnet.depth",
        "pool": "architecture.convnet.pool",
        "pool_kind": "architecture.convnet.pool_kind",
        "activation": "architecture.convnet.activation",
        "lr": "training.lr",
        "rotate": "augmentation.rotate_deg",
        "shift": "augmentation.shift",
        "noise": "augmentation.noise",
        "mixup": "augmentation.mixup",
        "ratio": "compression.prune.ratio",
        "scheme": "compression.quantize.scheme",
    }
    for stage in (1, 2, 3):
        for field in ("width", "kernel"):
            names[f"{field}{stage}"] = f"architecture.convnet.{field}.{stage}"
    return {names[key]: value for key, value in parameters.items()}


def judged(study: StudySpec, trials: int, front: Front, scale: Scale) -> dict[str, Any]:
    """Trials and hypervolume, costs of the members priced here and now."""
    values = []
    for accuracy, candidate in front:
        price = evaluate(Price(trial=None, candidate=candidate), study, "cpu", 1)
        assert price.status == "priced", price
        costs = [price.measurements[name].value for name in ("flops", "latency")]
        if costs[1] <= 0.1:
            values.append([accuracy, *costs])
    points = np.array(values).reshape(-1, 3)
    kept = non_dominated(losses(points, ("maximize", "minimize", "minimize")))
    volume = hypervolume(scale.unit_losses(points[kept], ("accuracy", "flops", "latency")))
    return {"trials": trials, "members": int(kept.sum()), "hypervolume": volume}


if __name__ == "__main__":
    main()
