"""Costs on a new device, from what other devices needed and a few timings of its own.

Good enough to decide what to measure next; not to enforce a limit (`docs/predicting.md`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from objectives.measurement import CONFIDENCE
from objectives.predict import Array, check_positive

View = Callable[[Array, NDArray[np.int_], Array], Array]
"""(logs (n, d), measured rows, their log values) -> (n,) predicted log values."""

LEAST_DEVICES = 3
"""Known devices below which the error of a transfer cannot be told."""
FENCE = 3.0
"""Interquartile ranges beyond which a latency is far out. Source: Tukey 1977, section 2D."""
NOISE = 0.1
"""What a device does of its own, as a share of the variance of log latencies. Tried on
NAS-Bench-201: 0.02, 0.1, 0.3; they differ by less than .01 in mean rank correlation."""
MEAN = math.sqrt(5.0)
"""Prior deviation of a new device's mean log latency, in deviations between networks: wide."""
TRIALS = 500
"""Networks on which the error of `transfer` is measured."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Costs of n networks on a new device, from timings of a few; arrays of (n,)."""

    values: Array
    low: Array
    high: Array
    """Infinite, as `low` is 0, for networks that are far out on a known device."""
    far_out: tuple[int, ...]
    """Measured networks that are far out on a known device and were not fitted."""


def choose(
    known: Mapping[str, Array],
    *,
    count: int = 10,
    features: Array | None = None,
) -> tuple[int, ...]:
    """Which `count` of the n networks to time on a new device; best first.

    Greedily those after whose timing the variance summed over all networks is least, in the model
    of `transfer`. Networks that are far out on a known device are never chosen. Arguments as for
    `transfer`. Source: Chaloner and Verdinelli 1995, doi:10.1214/ss/1177009939, section 2.3
    (Bayesian A-optimality), here greedily.

    Raises:
        ValueError: fewer than `count` networks that are not far out, or as `transfer`.
    """
    logs, far = standard_logs(_columns(known, features))
    pool = np.flatnonzero(~far)
    if len(pool) < count:
        raise ValueError(f"{len(pool)} networks to choose {count} from; know more of them")
    return tuple(int(row) for row in pool[_design(logs[pool], count)])


def transfer(
    known: Mapping[str, Array], measured: Mapping[int, float], *, features: Array | None = None
) -> Transfer:
    """Costs of n networks on a device on which only those of `measured` (row -> value) were timed.

    `known`: device -> (n,) positive values of the same networks, at least 3 devices; `features`:
    (n, k) positive numbers that know of the networks what latencies do, such as FLOPs. Two views
    are averaged in the logarithm, weighted by their leave-one-out errors: a Gaussian process that
    is linear in the known log latencies, and lines through each known device alone. The
    interval is made of the errors when each known device in turn plays the new one, in units of
    its leave-one-out error on what it was timed on. It holds for a device drawn like the known;
    near copies among them make it too narrow.
    Source: Rasmussen and Williams 2006, equation 2.25 (process); Lei et al. 2018,
    arXiv:1604.04173, section 5.2 (locally weighted conformal).

    Raises:
        ValueError: fewer than 3 known devices, lengths that differ, a value that is not positive
            and finite, a row that does not exist, or fewer than 4 measured networks that are not
            far out on a known device.
    """
    logs, far = standard_logs(_columns(known, features))
    for row, value in measured.items():
        if not 0 <= row < len(logs):
            raise ValueError(f"network {row} was measured, but {len(logs)} are known")
        check_positive(np.array([value]), f"value of network {row}")
    rows = np.array([row for row in measured if not far[row]], dtype=int)
    if len(rows) < 4:
        raise ValueError(f"{len(rows)} usable timings of the new device are too few; time 10")
    answers = np.log([measured[int(row)] for row in rows])
    middle, own_error = _blend(logs, rows, answers)
    factor = math.exp(_transfer_error(logs, far, rows, len(known)) * own_error)
    return Transfer(
        values=np.exp(middle),
        low=np.where(far, 0.0, np.exp(middle) / factor),
        high=np.where(far, np.inf, np.exp(middle) * factor),
        far_out=tuple(row for row in measured if far[row]),
    )


def linear_process(logs: Array, rows: NDArray[np.int_], answers: Array) -> Array:
    """(n,) predicted logarithms: a Gaussian process whose kernel is linear in the known ones."""
    inverse = np.linalg.inv(_kernel(logs[rows], logs[rows]) + NOISE * np.eye(len(rows)))
    mean = inverse.sum(axis=0) @ answers / inverse.sum()
    predicted: Array = mean + _kernel(logs, logs[rows]) @ (inverse @ (answers - mean))
    return predicted


def weighted_sources(logs: Array, rows: NDArray[np.int_], answers: Array) -> Array:
    """(n,) predicted logarithms: rising lines through each known device, the better the heavier.

    Weights are 1 / (mean squared error on the measured rows) squared.
    """
    centre = logs[rows].mean(axis=0)
    inputs, outputs = logs[rows] - centre, answers - answers.mean()
    slopes = np.maximum(outputs @ inputs / ((inputs**2).sum(axis=0) + 1e-12), 0.0)
    errors = ((outputs[:, None] - inputs * slopes) ** 2).mean(axis=0) + 1e-6
    weights = errors**-2 / (errors**-2).sum()
    predicted: Array = answers.mean() + (logs - centre) @ (weights * slopes)
    return predicted


VIEWS: tuple[View, ...] = (linear_process, weighted_sources)


def _blend(logs: Array, rows: NDArray[np.int_], answers: Array) -> tuple[Array, float]:
    """((n,) predicted logarithms, own error): both views, weighted by 1 / (own error) squared.

    The own error is the root mean square over the measured rows, each predicted from the others.
    """
    errors = np.array([_left_out(view, logs[rows], answers) - answers for view in VIEWS])
    shares = 1 / ((errors**2).mean(axis=1) + 1e-9)
    shares /= shares.sum()
    predicted: Array = shares @ np.array([view(logs, rows, answers) for view in VIEWS])
    return predicted, float(np.sqrt(((shares @ errors) ** 2).mean()) + 1e-3)


def _left_out(view: View, logs: Array, answers: Array) -> Array:
    """(n,) each predicted from all others."""
    rows = np.arange(len(answers))
    rests = [np.delete(rows, row) for row in rows]
    return np.array(
        [view(logs, rest, answers[rest])[row] for row, rest in zip(rows, rests, strict=True)]
    )


def _kernel(left: Array, right: Array) -> Array:
    kernel: Array = left @ right.T / left.shape[1]
    return kernel


def _design(logs: Array, count: int) -> NDArray[np.int_]:
    """(count,) rows of `logs`, see `choose`."""
    # a column for the mean of the new device, which nobody knows: a wide prior
    terms = np.column_stack([logs / math.sqrt(logs.shape[1]), np.full(len(logs), MEAN)])
    total, posterior = terms.T @ terms, np.eye(terms.shape[1])
    chosen: list[int] = []
    for _ in range(count):
        reach = terms @ posterior
        noisy = (reach * terms).sum(axis=1) + NOISE
        gain = np.einsum("ij,jk,ik->i", reach, total, reach, optimize=True) / noisy
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        posterior -= np.outer(reach[best], reach[best]) / noisy[best]
        chosen.append(best)
    return np.array(chosen)


def _transfer_error(logs: Array, far: NDArray[np.bool_], rows: NDArray[np.int_], n: int) -> float:
    """What to multiply the own error by: each of the first `n` columns plays the new device.

    It is timed on the same rows, then on those that one would choose without knowing it: rows that
    were chosen knowing it are too good for it. The larger error counts.
    """
    others = np.setdiff1d(np.flatnonzero(~far), rows)
    seen = np.concatenate([rows, others[:: math.ceil(len(others) / TRIALS) or 1]])
    same, chosen = [], []
    for device in range(n):
        rest, truth = np.delete(logs[seen], device, axis=1), logs[seen, device]
        same.append(_scores(rest, truth, np.arange(len(rows))))
        chosen.append(_scores(rest, truth, _design(rest, len(rows))))
    return max(float(np.quantile(np.concatenate(s), CONFIDENCE)) for s in (same, chosen))


def _scores(logs: Array, truth: Array, rows: NDArray[np.int_]) -> Array:
    """Errors on all but `rows`, in units of the own error."""
    predicted, own_error = _blend(logs, rows, truth[rows])
    return np.delete(np.abs(predicted - truth), rows) / own_error


def _columns(known: Mapping[str, Array], features: Array | None) -> Array:
    """(n, devices + features) positive numbers."""
    if len(known) < LEAST_DEVICES:
        raise ValueError(f"{len(known)} known devices; the error needs at least {LEAST_DEVICES}")
    columns = {name: np.asarray(values, dtype=float) for name, values in known.items()}
    if features is not None:
        columns |= {f"feature {i}": column for i, column in enumerate(np.asarray(features).T)}
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"values of different numbers of networks: {sizes}")
    for name, column in columns.items():
        check_positive(column, f"value of {name}")
    return np.stack(list(columns.values()), axis=1).astype(float)


def standard_logs(columns: Array) -> tuple[Array, NDArray[np.bool_]]:
    """(n, d) logarithms with mean 0 and deviation 1, cut at the fences; (n,) who was cut.

    A network without a path from input to output runs in no time where the runtime drops it: in
    the logarithm a few such would decide every fit.
    """
    logs = np.log(columns)
    first, third = np.quantile(logs, [0.25, 0.75], axis=0)
    low, high = first - FENCE * (third - first), third + FENCE * (third - first)
    far = ((logs < low) | (logs > high)).any(axis=1)
    logs = np.clip(logs, low, high)
    deviation = logs.std(axis=0)
    return (logs - logs.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0), far
