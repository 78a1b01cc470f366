"""A measured value with its interval, samples and conditions. Never a bare float."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["minimize", "maximize"]
Condition = str | int | float | bool

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One value of one quantity, in its natural sign and base unit.

    `low` and `high` bound the 95% confidence interval and equal `value` where counting is exact.
    Two measurements may be compared only if their `conditions` are equal.
    """

    value: float
    unit: str
    """Base unit: ms, bytes, flops, parameters, or ratio (0 to 1)."""
    low: float
    high: float
    samples: tuple[float, ...] = ()
    """What the value was drawn from, in `unit`: block medians of a timing; empty for counts."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """What the value depends on besides the network: device, runtime, threads, versions, ..."""
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


def block_interval(medians: Sequence[float]) -> tuple[float, float, float]:
    """(median, low, high) of a quantity sampled in blocks, from the medians of the blocks.

    Single samples come in regimes, so an interval from pooled samples covers a second measurement
    in 21 to 53% of cases; block medians are nearly independent. The interval is Student's t with
    the standard error of a median, 1.2533 sd / sqrt(n) (Kenney and Keeping 1962, section 8.4), and
    sd = IQR / 1.349: a rare slow block moves neither the median nor its interval.
    """
    from scipy.special import stdtrit

    centre = statistics.median(medians)
    if len(medians) < 4:
        return centre, min(medians), max(medians)
    first, _, third = statistics.quantiles(medians, n=4, method="inclusive")
    quantile = float(stdtrit(len(medians) - 1, 0.5 + CONFIDENCE / 2))
    half = quantile * 1.2533 * (third - first) / 1.349 / len(medians) ** 0.5
    return centre, max(0.0, centre - half), centre + half
