"""What one proposal of `ehvi` costs: python -m benchmarks.proposals [STUDY] [--to FILE].

Proposals for a shipped study's space with its networks' features, after 200 and 2,000 made-up
results, on one core: seconds of one proposal (median of several, the sampler being told nothing in
between but its own proposals in flight), of a batch of 32, and the memory that the process takes
on the way.
"""

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from threadpoolctl import threadpool_limits

from benchmarks.conditions import keep, spread
from objectives.tasks import load
from search.known import StudyKnowledge
from search.pareto import Scale
from search.prices import Prices
from search.samplers.distributions import distributions
from search.samplers.informed import EHVI
from search.spec import read_study

RESULTS = (200, 2000)
SINGLE, BATCH = 5, 32


def main() -> None:
    """Fill, time, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", nargs="?", default="studies/digits.yaml")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.disable_default_handler()
    found = {}
    for results in RESULTS:
        found[str(results)] = row = measured(options.study, results)
        print(
            f"{results:5} results: one {spread(row['single_s'])} s, {BATCH} in flight "
            f"{row['batch_s']:.2f} s, {row['mb']:.0f} MB more",
            flush=True,
        )
    keep(options.to, "proposals", {"study": options.study, "rows": found})


def measured(file: str, results: int) -> dict[str, Any]:
    """Seconds of proposals after so many results."""
    study = read_study(file)
    names = [objective.name for objective in study.objectives]
    scale = Scale(
        ideal=dict.fromkeys(names, 0.1) | {study.metric.name: 1.0},
        reference=dict.fromkeys(names, 10.0) | {study.metric.name: 0.1},
        log={name: name != study.metric.name for name in names},
    )
    known = StudyKnowledge(study, Prices({}), scale, {}, ())
    space = distributions(study.space.open_choices)
    sampler = EHVI().build(seed=0, trials=results, known=known)
    asked = optuna.create_study(directions=[o.direction for o in study.objectives])
    rng = np.random.default_rng(0)
    for _ in range(results):
        parameters = study.space.draw(rng)
        candidate = study.space.decode(parameters, load(study.task).input_shape)
        size = len(str(candidate.architecture)) / 300 + rng.random()
        values = [1 - 0.5 * np.exp(-size) if name == study.metric.name else size for name in names]
        asked.add_trial(
            optuna.trial.create_trial(values=values, params=parameters, distributions=space)
        )
    asked.sampler = sampler
    threadpool_limits(1)  # of the libraries that the sampler has loaded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked.ask(space)  # the first one tells the networks' features of all that was tried
    single = [_seconds(lambda: asked.ask(space)) for _ in range(SINGLE)]
    batch = _seconds(lambda: [asked.ask(space) for _ in range(BATCH)])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"single_s": single, "batch_s": batch, "mb": (after - before) / 1024}


def _seconds(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
