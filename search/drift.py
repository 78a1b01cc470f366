"""A machine that changes its speed: seen by the reference work that is timed beside a latency.

A neighbour on the same core (another hyperthread, another guest) slows a thread down without
taking CPU time from it: latencies of 33 and 69 us were seen of one network, with the reference at
38 and 65 us. Dividing by the reference would not repair a value (networks feel a neighbour
differently); so such a value is doubted and taken again.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from objectives.measurement import Measurement

READING = "reference_ms"
"""Detail of a measurement: milliseconds of the reference work beside it."""
SLOWER = 0.10
"""Relative distance from the machine's own pace above which a value is doubted."""
PACE = 0.2
"""Quantile of all readings that stands for the undisturbed machine; disturbances slow it down."""
LEAST = 5
"""Readings below which nothing is said."""


def reading(measurement: Measurement) -> float | None:
    """Milliseconds of the reference work beside a measurement, if it was timed."""
    return measurement.details.get(READING)


def slowed(measurement: Measurement, readings: Sequence[float]) -> str | None:
    """The sentence of a value that was taken while the machine was slow, or None.

    `readings`: those of all latencies of the study so far.
    """
    own = reading(measurement)
    if own is None or len(readings) < LEAST:
        return None
    slower = own / float(np.quantile(readings, PACE)) - 1
    return f"the machine was {slower:.0%} slower than usual" if slower > SLOWER else None


def readings_of(found: Iterable[Mapping[str, Measurement]]) -> list[float]:
    """All readings beside the measurements of a study."""
    own = (reading(each) for measured in found for each in measured.values())
    return [value for value in own if value is not None]


def flagged(
    measured: Mapping[str, Measurement], readings: Sequence[float]
) -> dict[str, Measurement]:
    """The measurements, with a flag more where the machine was slow."""
    return {
        name: dataclasses.replace(each, flags=(*each.flags, told))
        if (told := slowed(each, readings))
        else each
        for name, each in measured.items()
    }
