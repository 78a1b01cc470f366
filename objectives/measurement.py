"""A measured value with its interval, samples and conditions. Never a bare float."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["minimize", "maximize"]
Condition = str | int | float | bool

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One value of one quantity, in its natural sign and base unit.

    `low` and `high` bound the 95% interval and equal `value` where counting is exact: of a share
    the confidence interval, of a timing the interval for the next measurement.
    Two measurements may be compared only if their `conditions` are equal.
    """

    value: float
    unit: str
    """Base unit: ms, bytes, flops, parameters, mJ, or ratio (0 to 1)."""
    low: float
    high: float
    samples: tuple[float, ...] = ()
    """What the value was drawn from, in `unit`: one figure a block of a timing; none of counts."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """What the value depends on besides the network: device, runtime, threads, versions, ..."""
    details: Mapping[str, float] = field(default_factory=dict)
    """Figures beside the value: of a timing p50, p90, p99, first_ms, per_second, undisturbed and
    reference_ms (`objectives/timing.py`)."""
    flags: tuple[str, ...] = ()
    """Reasons to doubt the value, each a sentence; empty for a sound one."""


def exact(
    value: float, unit: str, conditions: Mapping[str, Condition] | None = None
) -> Measurement:
    """A counted value: its interval is a point."""
    return Measurement(
        value=value, unit=unit, low=value, high=value, conditions=dict(conditions or {})
    )


def proportion(successes: int, total: int) -> Measurement:
    """The share `successes / total` with Wilson's score interval.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953, without continuity correction.
    """
    assert total > 0, total
    from scipy.special import ndtri  # 0.1 s that reading commands need not pay

    z = float(ndtri(0.5 + CONFIDENCE / 2))
    share = successes / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = share * (1 - share) / total + z * z / (4 * total * total)
    half = z * spread**0.5 / (1 + z * z / total)
    return Measurement(
        value=share,
        unit="ratio",
        low=min(share, max(0.0, centre - half)),
        high=max(share, min(1.0, centre + half)),
        conditions={"samples": total},
    )
