"""Timing calls in blocks, on two clocks, until the interval is narrow enough."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from objectives.device import Turnstile
from objectives.measurement import Measurement, block_interval

Clock = Literal["cpu", "wall"]

BLOCK_S = 0.005
"""Length of one block: long enough for a median of tiny calls, short for waiting trainers."""
MIN_BLOCKS, MAX_BLOCKS = 6, 60
MIN_CALLS = 3
"""Samples a block at least, also for slow networks."""
SAMPLE_S = 100e-6
"""Calls shorter than this are timed several at once: reading both clocks costs about 2 us."""
UNDISTURBED = 1.02
"""Wall over CPU time up to which a call counts as undisturbed (plus 1 us)."""


@dataclass(frozen=True, kw_only=True)
class TimingPlan:
    """How long to time and how sure to be."""

    clock: Clock
    precision: float = 0.02
    """Half width of the 95% interval over the median at which timing stops."""
    max_s: float = 0.5
    """Seconds of timing after which the interval is taken as it is, and flagged."""
    warmup: int = 10


def time_calls(
    calls: Sequence[Callable[[], object]], plan: TimingPlan, turnstile: Turnstile
) -> Measurement:
    """Milliseconds of one call; `calls` are taken in turn (rotating inputs).

    The value is the median of block medians. On the `cpu` clock (one-thread targets) it is the
    thread's CPU time, which does not count waiting for a core; on `wall` what a stopwatch shows.
    An interval wider than asked is flagged, and so is a value of which fewer than half of the
    calls ran undisturbed (wall time within 2% of CPU time).
    """
    with turnstile.quiet():
        repeat = _warm_up(calls, plan.warmup)
    medians: list[float] = []
    undisturbed: list[bool] = []
    start = time.perf_counter()
    while not _settled(medians, plan, time.perf_counter() - start):
        with turnstile.quiet():
            walls, cpus = _time_block(calls, repeat)
        medians.append(statistics.median(cpus if plan.clock == "cpu" else walls))
        undisturbed += [
            wall <= cpu * UNDISTURBED + 1e-3 for wall, cpu in zip(walls, cpus, strict=True)
        ]
    return _measurement(medians, undisturbed, plan)


def _warm_up(calls: Sequence[Callable[[], object]], count: int) -> int:
    """Call `count` times; return how many calls make up one sample.

    By the shortest call: one that was interrupted would hide that the clocks cost as much.
    """
    spent_s = []
    for index in range(max(1, count)):
        start = time.perf_counter()
        calls[index % len(calls)]()
        spent_s.append(time.perf_counter() - start)
    return max(1, math.ceil(SAMPLE_S / max(min(spent_s), 1e-7)))


def _time_block(
    calls: Sequence[Callable[[], object]], repeat: int
) -> tuple[list[float], list[float]]:
    """(wall, CPU) milliseconds a call of every sample of one block."""
    walls: list[float] = []
    cpus: list[float] = []
    end = time.perf_counter() + BLOCK_S
    while time.perf_counter() < end or len(walls) < MIN_CALLS:
        call = calls[len(walls) % len(calls)]
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        for _ in range(repeat):
            call()
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        walls.append(wall / repeat * 1e-6)
        cpus.append(cpu / repeat * 1e-6)
    return walls, cpus


def _settled(medians: list[float], plan: TimingPlan, elapsed_s: float) -> bool:
    if len(medians) < MIN_BLOCKS:
        return False
    return (
        _half_width(medians) <= plan.precision
        or len(medians) >= MAX_BLOCKS
        or elapsed_s > plan.max_s
    )


def _half_width(medians: list[float]) -> float:
    """Half width of the interval over the value."""
    value, low, high = block_interval(medians)
    return (high - low) / 2 / value


def _measurement(medians: list[float], undisturbed: list[bool], plan: TimingPlan) -> Measurement:
    value, low, high = block_interval(medians)
    share = sum(undisturbed) / len(undisturbed)
    flags = []
    if _half_width(medians) > plan.precision:
        flags.append(
            f"interval of +-{100 * _half_width(medians):.1f}% is wider than "
            f"the {100 * plan.precision:.1f}% asked for"
        )
    if plan.clock == "cpu" and share < 0.5:
        flags.append(f"only {100 * share:.0f}% of the calls ran undisturbed")
    return Measurement(
        value=value,
        unit="ms",
        low=low,
        high=high,
        samples=tuple(medians),
        conditions={
            "clock": plan.clock,
        },
        flags=tuple(flags),
    )
