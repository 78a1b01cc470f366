"""Do two visits agree? python -m benchmarks.repeatability VISITS.json [--visit quiet] [--compare].

Thirty networks (ONNX Runtime, one thread, batch 1; 15 on 1 x 8 x 8 and 15 on 3 x 32 x 32 inputs)
are timed by four timers, each network for as long as ours took: ours, torch.utils.benchmark's
`blocked_autorange` (median, inter-quartile range), 10 + 20 runs by a stopwatch (mean, normal 95%
interval), and the mean of one run. A visit is appended to the file; call it twice, an hour's work
apart, and compare. `--visit busy` does it beside a training process on the other core.

Compared are: median absolute difference of the two values; share of networks whose intervals
overlap; share whose value lies in the other visit's interval; Spearman's rank correlation.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.utils.benchmark import Timer

from benchmarks.conditions import keep
from objectives.device import Turnstile
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.timing import TimingPlan, time_calls
from search.plan import draw_candidates
from search.spec import read_study

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"
SHAPES = ((1, 8, 8), (3, 32, 32))
EACH = 15
NEIGHBOUR = """
import torch
torch.set_num_threads(1)
layers = [torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 3)]
network = torch.nn.Sequential(*layers)
while True:
    network(torch.randn(32, 3, 32, 32)).square().mean().backward()
"""

Timed = dict[str, Any]
"""value, low, high in ms; `flagged` for ours."""


def main() -> None:
    """Visit or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("visits", type=Path, help="file of visits, made or appended to")
    parser.add_argument("--visit", choices=("quiet", "busy"), help="take one")
    parser.add_argument("--compare", action="store_true", help="all pairs of visits of one kind")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    visits = json.loads(options.visits.read_text()) if options.visits.exists() else []
    if options.visit:
        visits.append({"kind": options.visit, "at": time.time(), **visit(options.visit)})
        options.visits.write_text(json.dumps(visits))
    if options.compare:
        compared = compare(visits)
        keep(options.to, "repeatability", {"comparisons": compared})


def visit(kind: str) -> dict[str, Any]:
    """Every network by every timer, networks in random order."""
    torch.set_num_threads(1)
    found: dict[str, dict[str, Timed]] = {}
    calls = dict(enumerate(deployed()))
    order = random.Random(time.time()).sample(sorted(calls), len(calls))
    with neighbour() if kind == "busy" else no_neighbour():
        for number in order:
            found[str(number)] = times(calls[number])
    return {"networks": found}


def deployed(threads: int = 1) -> Iterator[Callable[[], object]]:
    """One inference of each of the networks; the same at every visit."""
    study = read_study(str(STUDY), ("search.plan=64",))
    candidates = draw_candidates(study)
    for shape in SHAPES:
        taken = 0
        for candidate in candidates:
            if study.space.check(candidate, shape, 10) is None and taken < EACH:
                taken += 1
                torch.manual_seed(0)
                network = study.space.build(candidate, shape, 10).eval()
                inputs = torch.randn(8, *shape)
                deployment = OnnxRuntime().deploy(
                    network, calibration=inputs, precision="fp32", device="cpu", threads=threads
                )
                yield deployment.bind(inputs[:1])


def times(call: Callable[[], object]) -> dict[str, Timed]:
    """Timer -> what it says; each gets as long as ours took."""
    start = time.perf_counter()
    ours = time_calls([call], TimingPlan(clock="cpu"), Turnstile("benchmark"))
    spent_s = time.perf_counter() - start
    return {
        "ours": {
            "value": ours.value,
            "low": ours.low,
            "high": ours.high,
            "flagged": bool(ours.flags),
        },
        "blocked_autorange": by_torch(call, spent_s),
        "10 + 20 runs": by_stopwatch(call, 10, 20),
        "mean of one run": by_mean(call, spent_s),
        "seconds": {"value": spent_s},
    }


def by_torch(call: Callable[[], object], seconds: float) -> Timed:
    """Median with half the inter-quartile range to both sides."""
    timer = Timer("call()", globals={"call": call}, num_threads=1)
    found = timer.blocked_autorange(min_run_time=seconds)
    value, half = found.median * 1e3, found.iqr * 1e3 / 2
    return {"value": value, "low": value - half, "high": value + half}


def by_stopwatch(call: Callable[[], object], warmup: int, runs: int) -> Timed:
    """Mean with the 95% interval of a normal distribution."""
    spent = [wall_ms(call) for _ in range(warmup + runs)][warmup:]
    value, half = statistics.mean(spent), 1.96 * statistics.stdev(spent) / runs**0.5
    return {"value": value, "low": value - half, "high": value + half}


def by_mean(call: Callable[[], object], seconds: float) -> Timed:
    """Total time over the number of calls."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        call()
        calls += 1
    return {"value": spent * 1e3 / calls}


def wall_ms(call: Callable[[], object]) -> float:
    """Milliseconds of one call by a stopwatch."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


@contextmanager
def neighbour() -> Iterator[None]:
    """A process of nobody's that trains without a turnstile."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    time.sleep(8)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def no_neighbour() -> Iterator[None]:
    """Nothing."""
    yield


def compare(visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every pair of visits of one kind, printed as a table."""
    found = []
    for kind in ("quiet", "busy"):
        same = [each for each in visits if each["kind"] == kind]
        for first, second in combinations(same, 2):
            apart = (second["at"] - first["at"]) / 60
            print(f"{kind}, {apart:.0f} min apart; networks {len(first['networks'])}")
            print(f"{'':20}{'difference':>11}{'overlap':>9}{'covered':>9}{'Spearman':>9}")
            for timer in ("ours", "blocked_autorange", "10 + 20 runs", "mean of one run"):
                row = agreement(first["networks"], second["networks"], timer)
                found.append({"kind": kind, "minutes_apart": apart, "timer": timer, **row})
                print_row(timer, row)
    return found


def agreement(
    first: dict[str, dict[str, Timed]], second: dict[str, dict[str, Timed]], timer: str
) -> dict[str, Any]:
    """Of one timer over two visits."""
    pairs = [(first[n][timer], second[n][timer]) for n in first]
    a, b = (np.array([pair[i]["value"] for pair in pairs]) for i in (0, 1))
    row: dict[str, Any] = {
        "median_difference": float(np.median(np.abs(a - b) / ((a + b) / 2))),
        "spearman": float(spearmanr(a, b).statistic),
    }
    if "low" in pairs[0][0]:
        row["overlap"] = statistics.mean(
            x["low"] <= y["high"] and y["low"] <= x["high"] for x, y in pairs
        )
        inside = [(x["low"] <= y["value"] <= x["high"], x, y) for x, y in pairs]
        inside += [(y["low"] <= x["value"] <= y["high"], x, y) for x, y in pairs]
        row["covered"] = statistics.mean(covered for covered, _, _ in inside)
        if "flagged" in pairs[0][0]:
            flags = [x["flagged"] or y["flagged"] for _, x, y in inside]
            sound = [c for (c, _, _), flag in zip(inside, flags, strict=True) if not flag]
            row["flagged"] = statistics.mean(flags)
            row["covered_unflagged"] = statistics.mean(sound) if sound else None
    return row


def print_row(timer: str, row: dict[str, Any]) -> None:
    """One line of the table."""
    share = [
        f"{100 * row[key]:8.0f}%" if key in row else f"{'-':>9}" for key in ("overlap", "covered")
    ]
    told = (
        f"{timer:20}{100 * row['median_difference']:10.2f}%{''.join(share)}{row['spearman']:9.3f}"
    )
    if "flagged" in row:
        sound = row["covered_unflagged"]
        told += f"   flagged {100 * row['flagged']:.0f}%"
        told += f", of the others covered {100 * sound:.0f}%" if sound is not None else ""
    print(told)


if __name__ == "__main__":
    main()
