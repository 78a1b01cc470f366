"""How answers are judged: value, 95% interval, and what the best constant answer would get."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from objectives.measurement import CONFIDENCE, Measurement, proportion
from objectives.tasks.task import Metric, Splits

RESAMPLES = 1000
"""Bootstrap samples of an interval.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3 (percentiles).
"""

Array = NDArray[np.float64]


def _accuracy(outputs: Tensor, targets: Tensor) -> Measurement:
    return proportion(int((outputs.argmax(1) == targets).sum()), len(targets))


def _majority(train: Tensor, judged: Tensor) -> float:
    return float((judged == train.mode().values).double().mean())


ACCURACY = Metric(
    name="accuracy",
    unit="ratio",
    direction="maximize",
    perfect=1.0,
    score=_accuracy,
    constant=_majority,
)
"""Share of right answers; its interval is Wilson's."""


def _macro_f1(outputs: Tensor, targets: Tensor) -> Measurement:
    answers, num_classes = outputs.argmax(1), outputs.shape[1]
    pairs = (targets * num_classes + answers).numpy()
    cells, counts = np.unique(pairs, return_counts=True)
    value = float(_f1(cells, counts[None], num_classes)[0])
    rng, total = np.random.default_rng(0), len(targets)
    draws = _f1(cells, rng.multinomial(total, counts / total, RESAMPLES), num_classes)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Measurement(
        value=value,
        unit="ratio",
        low=min(value, float(low)),
        high=max(value, float(high)),
        conditions={"samples": total},
    )


def _f1(cells: NDArray[np.int64], counts: NDArray[np.int64], num_classes: int) -> Array:
    """(r,) macro F1 of confusion tables; `counts` (r, c): how often each pair of `cells` occurs.

    A cell is target * num_classes + answer. F1 = 2 right / (asked + answered); the mean is over
    the classes that are asked or answered at all.
    """
    classes = np.arange(num_classes)
    asked, answered = cells[:, None] // num_classes, cells[:, None] % num_classes
    right = counts @ ((asked == classes) & (answered == classes)).astype(float)
    both = counts @ ((asked == classes).astype(float) + (answered == classes))
    each: Array = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    mean: Array = each.sum(1) / (both > 0).sum(1)
    return mean


def _majority_f1(train: Tensor, judged: Tensor) -> float:
    """The most frequent class of train has the best F1, 2 share / (1 + share); others have 0."""
    majority = train.mode().values
    share = float((judged == majority).double().mean())
    asked = {*judged.tolist(), int(majority)}
    return 2 * share / (1 + share) / len(asked)


MACRO_F1 = Metric(
    name="macro_f1",
    unit="ratio",
    direction="maximize",
    perfect=1.0,
    score=_macro_f1,
    constant=_majority_f1,
)
"""Mean over the classes of F1, so that rare classes count as much as frequent ones.

Its interval holds the central 95% of a bootstrap of the judged inputs with a fixed seed.
Source: Sokolova and Lapalme 2009, doi:10.1016/j.ipm.2009.03.002, table 3, but as the mean of
the F1 of each class (Opitz and Burst 2019, arXiv:1911.03347, eq. 1).
"""


def _rmse(outputs: Tensor, targets: Tensor) -> Measurement:
    squares = _squares(outputs, targets).mean(1)
    value, half = float(squares.mean()), half_width(squares)
    return Measurement(
        value=value**0.5,
        unit="",
        low=max(0.0, value - half) ** 0.5,
        high=(value + half) ** 0.5,
        conditions={"samples": len(squares)},
    )


def _constant_rmse(train: Tensor, judged: Tensor) -> float:
    return float(_squares(train.double().mean(0), judged).mean() ** 0.5)


RMSE = Metric(
    name="rmse",
    unit="",
    direction="minimize",
    perfect=0.0,
    score=_rmse,
    constant=_constant_rmse,
)
"""Root of the mean squared error, in the unit of the targets.

Its interval is the root of the normal interval of the mean squared error over the inputs.
"""


def _nmse(outputs: Tensor, targets: Tensor) -> Measurement:
    errors, spreads = _squares(outputs, targets), _squares(_mean(targets), targets)
    ratios = errors.mean(0) / spreads.mean(0)
    value = float(ratios.mean())
    half = half_width(((errors - ratios * spreads) / spreads.mean(0)).mean(1))
    return Measurement(
        value=value,
        unit="ratio",
        low=max(0.0, value - half),
        high=value + half,
        conditions={"samples": len(targets)},
    )


def _constant_nmse(train: Tensor, judged: Tensor) -> float:
    spreads = _squares(_mean(judged), judged).mean(0)
    return float((_squares(_mean(train), judged).mean(0) / spreads).mean())


NMSE = Metric(
    name="nmse",
    unit="ratio",
    direction="minimize",
    perfect=0.0,
    score=_nmse,
    constant=_constant_nmse,
)
"""Mean squared error over the variance of the judged targets, mean over the outputs.

1 is what the mean of the judged targets would get: 1 - R2 where there is one output.
Its interval is that of a ratio of two means, by linearisation: Cochran 1977, Sampling Techniques,
chapter 6. Source: Rasmussen and Williams 2006, Gaussian Processes, section 2.5 (SMSE).
"""


METRICS = {metric.name: metric for metric in (ACCURACY, MACRO_F1, RMSE, NMSE)}
"""Metrics that need no more than outputs and targets."""


def in_unit(metric: Metric, unit: str, load: Callable[[], Splits]) -> Metric:
    """`metric` of outputs that are standardised, judged in the unit of the table.

    `load` gives the splits that know how the targets were standardised.
    """

    def score(outputs: Tensor, targets: Tensor) -> Measurement:
        return replace(metric.score(load().restore(outputs), targets), unit=unit)

    return replace(metric, unit=unit, score=score)


def half_width(values: Array) -> float:
    """Half width of the normal 95% interval of the mean of `values` (n,)."""
    from scipy.special import ndtri  # 0.1 s that reading commands need not pay

    if len(values) < 2:
        return 0.0
    return float(ndtri(0.5 + CONFIDENCE / 2) * values.std(ddof=1) / len(values) ** 0.5)


def _squares(answers: Tensor, targets: Tensor) -> Array:
    """(N, K) squared differences."""
    squares: Array = ((answers.double() - targets.double()) ** 2).numpy()
    return squares


def _mean(targets: Tensor) -> Tensor:
    return targets.double().mean(0)
