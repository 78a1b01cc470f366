"""What the turnstile gives and costs: python -m benchmarks.turnstile [--to FILE].

Each network is timed by ONNX Runtime four times within seconds: alone, and then in random order
alone again, while two processes train through the turnstile, and while two train without it; with
one thread on the CPU clock and with two threads on the wall clock. Reported: the difference of the
three latencies from the first (that of `alone` is what the machine itself does), and what the
trainings lose: their steps a second while latencies are taken, over those while none is.
"""

import argparse
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from torch import nn

from benchmarks.conditions import keep
from benchmarks.repeatability import deployed
from objectives.device import MACHINE, Turnstile
from objectives.timing import Clock, TimingPlan, time_calls

TRAINERS = 2
THREADS: dict[Clock, int] = {"cpu": 1, "wall": 2}
"""What each clock is for."""
WARM_S, IDLE_S, SETTLE_S = 8.0, 0.3, 0.1


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with trainers("with") as patient, trainers("without") as rude:
        groups = {"alone": None, "with": patient, "without": rude}
        for clock, threads in THREADS.items():
            calls = list(deployed(threads))
            pairs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in groups}
            for call in calls * options.rounds:
                first = latency(call, clock)
                for kind in random.sample(list(groups), len(groups)):
                    value, share = beside(groups[kind], call, clock)
                    pairs[kind].append((abs(value - first) / first, share))
            print(f"{threads} thread(s), {clock} clock")
            found[clock] = {kind: told(kind, *zip(*pairs[kind], strict=True)) for kind in groups}
    keep(options.to, "turnstile", found)


def beside(group: "Group | None", call: Callable[[], object], clock: Clock) -> tuple[float, float]:
    """(milliseconds of a call while a group trains, the group's share of its usual steps)."""
    if group is None:
        time.sleep(IDLE_S + 2 * SETTLE_S)
        return latency(call, clock), 0.0
    values: list[float] = []
    with group.training():
        idle = group.rate(lambda: time.sleep(IDLE_S))
        busy = group.rate(lambda: values.append(latency(call, clock)))
    return values[0], busy / idle


def told(kind: str, errors: Sequence[float], shares: Sequence[float]) -> dict[str, float]:
    """Print and return the figures of one kind."""
    figures = {
        "median_error": statistics.median(errors),
        "p90_error": statistics.quantiles(errors, n=10)[-1],
        "median_steps_share": statistics.median(shares),
    }
    print(
        f"{kind + (' turnstile' if kind != 'alone' else ''):18} "
        f"error median {100 * figures['median_error']:.2f}%, "
        f"nine in ten below {100 * figures['p90_error']:.1f}%; steps of the trainings while "
        f"timing {100 * figures['median_steps_share']:.0f}%"
    )
    return figures


def latency(call: Callable[[], object], clock: Clock) -> float:
    """Milliseconds."""
    return time_calls([call], TimingPlan(clock=clock), Turnstile(MACHINE)).value


class Group:
    """Training processes that wait until they are to train."""

    def __init__(self, go: "Event", steps: "Synchronized[int]") -> None:
        self.go, self.steps = go, steps

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let them train for the body."""
        self.go.set()
        time.sleep(SETTLE_S)
        try:
            yield
        finally:
            self.go.clear()
            time.sleep(SETTLE_S)

    def rate(self, work: Callable[[], object]) -> float:
        """Steps a second of all of them during `work`."""
        start, first = time.perf_counter(), self.steps.value
        work()
        return (self.steps.value - first) / (time.perf_counter() - start)


@contextmanager
def trainers(kind: str) -> Iterator[Group]:
    """Two training processes that wait; ended with the body."""
    context = multiprocessing.get_context("spawn")
    go, steps = context.Event(), context.Value("q", 0, lock=False)
    processes = [
        context.Process(target=train, args=(go, steps, kind == "with"), daemon=True)
        for _ in range(TRAINERS)
    ]
    for process in processes:
        process.start()
    time.sleep(WARM_S)
    try:
        yield Group(go, steps)
    finally:
        for process in processes:
            process.kill()
            process.join()


def train(go: "Event", steps: "Synchronized[int]", turnstile: bool) -> None:
    """Steps of about 10 ms for ever."""
    torch.set_num_threads(1)
    gate = Turnstile(MACHINE)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    while True:
        go.wait()
        if turnstile:
            with gate.computing():
                step(network, optimizer)
        else:
            step(network, optimizer)
        steps.value += 1  # both write it: a step in a thousand may go uncounted


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One step on random pictures."""
    optimizer.zero_grad()
    network(torch.randn(16, 3, 32, 32)).square().mean().backward()
    optimizer.step()


if __name__ == "__main__":
    main()
