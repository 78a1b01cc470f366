"""What a price costs, stage by stage: python -m benchmarks.price [--to FILE].

Random candidates of studies/digits.yaml are priced one after the other in one process with one
thread (build and compress, export and quantize, count and time), several times over in different
order. Then the same networks again: as candidates that differ in training alone, which the driver
answers by their recipe, and as a worker answers that knows the network but not the recipe (it
builds and compresses before it knows).
"""

import argparse
import dataclasses
import random
import statistics
import time
from collections import defaultdict
from pathlib import Path

import torch

from benchmarks.conditions import keep, spread
from search import evaluate as evaluation_of
from search.evaluation import Price
from search.keys import keys_of
from search.plan import draw_candidates
from search.prices import Prices
from search.spec import read_study

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = read_study(str(STUDY), (f"search.plan={options.candidates}",))
    candidates = draw_candidates(study)
    warm = Price(trial=None, candidate=candidates[0], again=True)
    evaluation_of.evaluate(warm, study, "cpu", 1)
    per_minute, hits_ms, rebuilt_ms = [], [], []
    prices = Prices({})
    stages: dict[str, list[float]] = defaultdict(list)
    for seed in range(options.rounds):
        order = random.Random(seed).sample(candidates, len(candidates))
        start = time.perf_counter()
        for candidate in order:
            job = Price(trial=None, candidate=candidate, again=True)
            priced = evaluation_of.evaluate(job, study, "cpu", 1)
            assert priced.status == "priced", priced.reason
            prices.settle(keys_of(candidate, study).recipe_key, priced)
            for stage, seconds in priced.seconds.items():
                stages[stage].append(1e3 * seconds)
        per_minute.append(60 * len(order) / (time.perf_counter() - start))
        for candidate in order:
            other = dataclasses.replace(candidate, training={"lr": 1.0})
            start = time.perf_counter()
            assert prices.find(keys_of(other, study).recipe_key) is not None
            hits_ms.append(1e3 * (time.perf_counter() - start))
            start = time.perf_counter()
            job = Price(trial=None, candidate=other)
            assert evaluation_of.evaluate(job, study, "cpu", 1).status == "priced"
            rebuilt_ms.append(1e3 * (time.perf_counter() - start))
    print(f"candidates a minute  {spread(per_minute)}")
    for stage, values in stages.items():
        print(f"{stage:20} {spread(values)} ms")
    print(f"{'known recipe':20} {spread(hits_ms)} ms")
    print(f"{'known network':20} {spread(rebuilt_ms)} ms")
    keep(
        options.to,
        "price",
        {
            "per_minute": per_minute,
            "median_ms": {stage: statistics.median(v) for stage, v in stages.items()},
            "known_recipe_median_ms": statistics.median(hits_ms),
            "known_network_median_ms": statistics.median(rebuilt_ms),
        },
    )


if __name__ == "__main__":
    main()
