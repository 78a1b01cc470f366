"""From timed blocks to a measurement with interval and flags; the loop itself is the agent's."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from objectives.agent import (
    VISIT_SPREAD,
    block_interval,
    half_width,
    pinned,
    reference_call,
    time_blocks,
)
from objectives.device import Turnstile
from objectives.measurement import Measurement

Clock = Literal["cpu", "wall"]

EARLY = "timing ended early: the limit is clearly broken"
"""The flag of a value that needs to be no more precise."""

DRIFT = 0.05
"""Relative change of the reference from which a value is doubted: readings of a quiet machine
differ by 1 to 2%."""


PRECISION, MAX_S = 0.02, 0.5
"""Of a latency, where the study does not say."""


@dataclass(frozen=True, kw_only=True)
class TimingPlan:
    """How long to time and how sure to be."""

    clock: Clock
    precision: float = PRECISION
    """Half width of the 95% interval of the blocks over the median at which timing stops."""
    max_s: float = MAX_S
    """Seconds of timing after which the interval is taken as it is, and flagged."""
    warmup: int = 10
    limit_ms: float = math.inf
    """A limit that is clearly broken ends the timing early."""
    batch: int = 1
    """Inputs in one call, for the throughput."""
    cores: tuple[int, ...] = ()
    """Cores to which the calling thread is pinned meanwhile; empty for wherever it runs."""


def time_calls(
    calls: Sequence[Callable[[], object]], plan: TimingPlan, turnstile: Turnstile
) -> Measurement:
    """Milliseconds of one call; `calls` are taken in turn (rotating inputs).

    On the `cpu` clock (one-thread targets) the value is the thread's CPU time, which does not
    count waiting for a core, of an undisturbed call: the 5th percentile of all samples. On `wall`
    it is what a stopwatch shows: the median of block medians.
    """
    with pinned(plan.cores):
        timed = time_blocks(
            calls,
            clock=plan.clock,
            precision=plan.precision,
            max_s=plan.max_s,
            warmup=plan.warmup,
            limit_ms=plan.limit_ms,
            quiet=turnstile.quiet,
            reference=reference_call() if plan.clock == "cpu" else None,
        )
    return measurement(timed, plan)


def measurement(timed: Mapping[str, Any], plan: TimingPlan) -> Measurement:
    """What `agent.time_blocks` found, here or on another machine.

    The interval is the one for the next measurement. Flags: wider than asked; fewer than half of
    the calls ran undisturbed (wall time within 2% of CPU time); the reference changed its speed
    meanwhile.
    """
    value, low, high = block_interval(timed["blocks"], VISIT_SPREAD, timed["value"])
    details = {
        key: timed[key]
        for key in ("p50", "p90", "p99", "first_ms", "undisturbed", "reference_ms")
        if key in timed
    }
    return Measurement(
        value=value,
        unit="ms",
        low=low,
        high=high,
        samples=tuple(timed["blocks"]),
        conditions={"clock": plan.clock},
        details={**details, "per_second": 1e3 * plan.batch / value},
        flags=tuple(_flags(timed, plan)),
    )


def _flags(timed: Mapping[str, Any], plan: TimingPlan) -> list[str]:
    flags = []
    width = half_width(timed["blocks"])
    if timed["stopped"]:
        flags.append(EARLY)
    elif width > plan.precision:
        flags.append(
            f"interval of +-{100 * width:.1f}% is wider than "
            f"the {100 * plan.precision:.1f}% asked for"
        )
    if plan.clock == "cpu" and timed["undisturbed"] < 0.5:
        flags.append(f"only {100 * timed['undisturbed']:.0f}% of the calls ran undisturbed")
    moved = timed.get("reference_moved", 0.0)
    if abs(moved) > max(DRIFT, plan.precision):
        flags.append(f"the machine became {abs(moved):.0%} {'slower' if moved > 0 else 'faster'}")
    return flags
