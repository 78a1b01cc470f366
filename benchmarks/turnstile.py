"""What the turnstile gives and costs: python -m benchmarks.turnstile [--to FILE].

Networks are timed (ONNX Runtime, one thread, CPU clock) alone, then beside two processes that
train through the turnstile, then beside two that train without it. Reported: the difference of
each latency from the mean of its two readings alone (one before, one after), and what the
trainings lose: their steps a second while latencies are taken, over those while none is.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.conditions import keep, spread
from benchmarks.repeatability import deployed
from objectives.device import MACHINE, Turnstile
from objectives.timing import TimingPlan, time_calls

TRAINERS = 2
WARM_S, IDLE_S = 6.0, 6.0


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    calls = list(deployed())
    found: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    for _ in range(options.rounds):
        for kind, rows in found.items():
            rows.append(one_round(calls, turnstile=kind == "with"))
    result = {}
    for kind, rows in found.items():
        errors = [error for row in rows for error in row["errors"]]
        shares = [row["steps_share"] for row in rows]
        print(f"{kind + ' turnstile':18} error {spread([100 * e for e in errors])} %", end="")
        print(f", steps of the trainings while timing {spread([100 * s for s in shares])} %")
        result[kind] = {
            "median_error": statistics.median(errors),
            "p90_error": statistics.quantiles(errors, n=10)[-1],
            "steps_share": shares,
        }
    keep(options.to, "turnstile", result)


def one_round(calls: list[Callable[[], object]], *, turnstile: bool) -> dict[str, Any]:
    """Latencies alone, beside trainings, alone."""
    before = latencies(calls)
    with trainers(turnstile) as steps:
        time.sleep(WARM_S)
        idle = rate(steps, lambda: time.sleep(IDLE_S))
        beside: list[float] = []
        busy = rate(steps, lambda: beside.extend(latencies(calls)))
    after = latencies(calls)
    alone = [(a + b) / 2 for a, b in zip(before, after, strict=True)]
    errors = [abs(x - y) / y for x, y in zip(beside, alone, strict=True)]
    return {"errors": errors, "steps_share": busy / idle}


def latencies(calls: list[Callable[[], object]]) -> list[float]:
    """Milliseconds of each network."""
    return [time_calls([c], TimingPlan(clock="cpu"), Turnstile(MACHINE)).value for c in calls]


def rate(steps: "Synchronized[int]", work: Callable[[], object]) -> float:
    """Steps a second of all trainings during `work`."""
    start, first = time.perf_counter(), steps.value
    work()
    return (steps.value - first) / (time.perf_counter() - start)


@contextmanager
def trainers(turnstile: bool) -> "Iterator[Synchronized[int]]":
    """Two training processes; yields the number of their steps."""
    context = multiprocessing.get_context("spawn")
    steps = context.Value("q", 0)
    processes = [
        context.Process(target=train, args=(steps, turnstile), daemon=True)
        for _ in range(TRAINERS)
    ]
    for process in processes:
        process.start()
    try:
        yield steps
    finally:
        for process in processes:
            process.kill()
            process.join()


def train(steps: "Synchronized[int]", turnstile: bool) -> None:
    """Steps of about 10 ms for ever."""
    torch.set_num_threads(1)
    gate = Turnstile(MACHINE)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    while True:
        if turnstile:
            with gate.computing():
                step(network, optimizer)
        else:
            step(network, optimizer)
        with steps.get_lock():
            steps.value += 1


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One step on random pictures."""
    optimizer.zero_grad()
    network(torch.randn(16, 3, 32, 32)).square().mean().backward()
    optimizer.step()


if __name__ == "__main__":
    main()
