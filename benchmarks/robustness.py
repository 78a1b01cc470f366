"""What goes wrong in practice, and what it costs a search: python -m benchmarks.robustness.

NAS-Bench-201 (CIFAR-10, Titan X): `ehvi` and Optuna's TPE with paired seeds, each trouble alone.
Told is the hypervolume, of the table's true values, after 25, 50 and 100 trainings: median and
quartiles. A training that fails counts as one. [--to FILE] keeps the figures, those of other
troubles too.
"""

import argparse
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from benchmarks.conditions import keep
from benchmarks.search import METHODS, ehvi
from benchmarks.search_problems import PROBLEMS, Array, Problem
from search.samplers.ehvi import Box

PROBLEM = "nb201_c10_titanx256"
MARKS = (25, 50, 100)
METHODS_HERE = ("ehvi", "tpe")


@dataclass(frozen=True)
class Trouble:
    """What goes wrong."""

    noise: float = 0.0
    """Standard deviation of the accuracy that is told, in points."""
    failed: float = 0.0
    """Share of trainings of which nothing comes."""
    in_flight: int = 1
    """Trainings at once: a proposal does not know the last ones."""
    useless: bool = False
    """One objective more, random and not known before training."""
    blind: bool = False
    """No features can be told."""


TROUBLES = {
    "none": Trouble(),
    "accuracy noisy by 0.2 points": Trouble(noise=0.2),
    "accuracy noisy by 1 point": Trouble(noise=1.0),
    "10% of trainings fail": Trouble(failed=0.1),
    "8 in flight": Trouble(in_flight=8),
    "a useless objective": Trouble(useless=True),
    "features fail": Trouble(blind=True),
}


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--troubles", nargs="*", default=list(TROUBLES))
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    problem = PROBLEMS[PROBLEM]()
    kept = options.to is not None and options.to.exists()
    rows = json.loads(options.to.read_text())["rows"] if kept else []
    rows = [row for row in rows if row["trouble"] not in options.troubles]
    print("| trouble | method | " + " | ".join(f"HV at {mark}" for mark in MARKS) + " |")
    print("|" + "---|" * (2 + len(MARKS)))
    for name, trouble in ((name, TROUBLES[name]) for name in options.troubles):
        for method in METHODS_HERE:
            shares = []
            for seed in range(options.seeds):
                found = searched(problem, method, trouble, seed)
                shares.append([share(problem, found[:mark]) for mark in MARKS])
            rows.append({"trouble": name, "method": method, "shares": shares})
            told = [np.quantile(column, [0.5, 0.25, 0.75]) for column in np.transpose(shares)]
            cells = " | ".join(f"{m:.3f} ({low:.3f} to {high:.3f})" for m, low, high in told)
            print(f"| {name} | {method} | {cells} |", flush=True)
    keep(options.to, "robustness", {"problem": PROBLEM, "rows": rows})


def share(problem: Problem, found: Sequence[int | None]) -> float:
    """Of the table's hypervolume."""
    return problem.volume([row for row in found if row is not None]) / problem.whole


def searched(problem: Problem, method: str, trouble: Trouble, seed: int) -> list[int | None]:
    """Networks in the order of their training; None for one that failed."""
    rng = np.random.default_rng(seed)
    sampler = sampler_of(problem, method, trouble, seed)
    num_costs = problem.values.shape[1] - 1 + trouble.useless
    study = optuna.create_study(
        directions=["maximize"] + ["minimize"] * num_costs, sampler=sampler
    )
    useless = np.random.default_rng(0).random(len(problem.values))
    waiting: deque[tuple[optuna.Trial, int]] = deque()
    found: dict[Any, int | None] = {}
    while len(found) < MARKS[-1]:
        trial = study.ask(problem.space)
        row = problem.row(trial.params)
        fails = rng.random() < trouble.failed
        found[(trial.number, "failed") if fails else row] = None if fails else row
        waiting.append((trial, -1 if fails else row))
        if len(waiting) < trouble.in_flight:
            continue
        trial, row = waiting.popleft()
        if row < 0:
            study.tell(trial, state=TrialState.FAIL)
            continue
        values = problem.values[row].tolist()
        values[0] += float(rng.normal(0, trouble.noise)) if trouble.noise else 0.0
        study.tell(trial, [*values, *[float(useless[row])] * trouble.useless])
    return list(found.values())


def sampler_of(problem: Problem, method: str, trouble: Trouble, seed: int) -> BaseSampler:
    """A method's sampler, as far as the trouble lets it be."""
    if method != "ehvi":
        return METHODS[method](problem, seed)

    def nothing(several: Sequence[Any]) -> Array:
        return np.full((len(several), problem.features.shape[1]), np.nan)

    def costs(several: Sequence[Any]) -> Array:
        known = problem.costs(several)
        return np.column_stack([known, np.full((len(known), int(trouble.useless)), np.nan)])

    box = problem.box
    if trouble.useless:
        box = Box((*box.ideal, 0.0), (*box.reference, 1.0), (*box.log, False))
    return ehvi(
        problem,
        seed,
        costs=costs,
        box=lambda: box,
        **({"features": nothing} if trouble.blind else {}),
    )


if __name__ == "__main__":
    main()
