"""Costs before they are measured, from what was counted.

Good enough to decide what to measure next; not to enforce a limit (`docs/predicting.md`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import spearmanr

from objectives.complexity import Complexity, LayerCost
from objectives.measurement import CONFIDENCE

Array = NDArray[np.float64]

FUSED = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "ReLU", "Flatten", "Identity", "Dropout")
"""Layers that deployment folds into another or drops. Source: ONNX Runtime's documentation, "Graph
Optimizations" (eliminations, Conv and BatchNorm, Conv and activation)."""
LEAST_POINTS = 8
"""Priced networks below which no regressor is fitted; a cross-validation of fewer says nothing."""
FOLDS = 10
"""Parts of the cross-validation that states the error. Source: Kohavi 1995 (IJCAI), section 5."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What of a network decides how long it takes, counted; for the whole batch."""

    flops: float
    """2 for each multiply-add."""
    depthwise_flops: float
    """Those of convolutions with one input channel a group: little of what is read is reused."""
    parameters: float
    activation_bytes: float
    """Written by all layers, in the precision of the module."""
    layers: float
    """Layers with products."""
    other_layers: float
    """Layers without products that are a kernel of their own, see `FUSED`."""
    other_bytes: float
    """Read and written by those, in the precision of the module."""
    int8: bool
    """Whether the runtime quantizes the network."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """A cost that was not measured, with the interval a measurement lies in."""

    value: float
    low: float
    high: float
    confidence: float
    """Share of measurements inside the interval: 0.95, or n / (n + 1) of fewer than 19 points."""


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """A fitted regressor and its error on networks that it was not fitted on."""

    weights: tuple[float, ...]
    """Of `_terms`; none is negative."""
    floor: float
    """Least value it predicts: a tenth of the least that it saw."""
    log_error: float
    """Half width of the interval in the logarithm."""
    confidence: float
    median_error: float
    """Median of |predicted / measured - 1|, cross-validated."""
    spearman: float
    """Rank correlation of predicted and measured, cross-validated; 0 where all are equal."""
    num_points: int
    fitted_int8: frozenset[bool]
    """Of the networks it was fitted on: {False} if none ran in int8."""

    def predict(self, features: Features) -> Predicted:
        """The cost of a network, in the unit of the values it was fitted on.

        Raises:
            ValueError: no network of its precision was among those it was fitted on.
        """
        if features.int8 not in self.fitted_int8:
            precision = "int8" if features.int8 else "float"
            raise ValueError(f"no {precision} network was priced; price some before predicting")
        value = float(_values(_terms([features]), self.weights, self.floor)[0])
        factor = math.exp(self.log_error)
        return Predicted(
            value=value, low=value / factor, high=value * factor, confidence=self.confidence
        )


def features_of(complexity: Complexity, *, precision: str = "fp32") -> Features:
    """Features of a network that was counted before quantizing and runs in `precision`."""
    products = [layer for layer in complexity.layers if layer.forward_flops]
    others = [x for x in complexity.layers if not x.forward_flops and x.kind not in FUSED]
    depthwise = [layer for layer in products if _is_depthwise(layer)]
    return Features(
        flops=complexity.forward_flops,
        depthwise_flops=sum(layer.forward_flops for layer in depthwise),
        parameters=complexity.parameters,
        activation_bytes=sum(layer.output_bytes for layer in complexity.layers),
        layers=len(products),
        other_layers=len(others),
        other_bytes=sum(layer.input_bytes + layer.output_bytes for layer in others),
        int8=precision == "int8",
    )


def _is_depthwise(layer: LayerCost) -> bool:
    groups = layer.details.get("groups", 1)
    return groups != 1 and groups == layer.details.get("in_channels")


def fit(features: Sequence[Features], values: Sequence[float]) -> CostModel:
    """The regressor of `values` (positive, one unit, one target) with its cross-validated error.

    Non-negative least squares of the raw values with weights 1 / value, so that relative errors
    count and more work never costs less. Source: Lawson and Hanson 1974, chapter 23 (the fit).
    The interval is the conformal one of the cross-validated errors |log(measured / predicted)|.
    Source: Vovk 2015, arXiv:1208.0806 (cross-conformal); Barber et al. 2021, arXiv:1905.02928.

    Raises:
        ValueError: fewer than 8 points, a value that is not positive and finite, or lengths that
            differ.
    """
    terms, measured = _terms(features), np.asarray(values, dtype=float)
    if len(terms) != len(measured):
        raise ValueError(f"{len(terms)} networks but {len(measured)} values")
    if len(measured) < LEAST_POINTS:
        raise ValueError(
            f"{len(measured)} priced networks are too few to predict from; "
            f"price at least {LEAST_POINTS}"
        )
    check_positive(measured, "value")
    held_out = _cross_validated(terms, measured)
    errors = np.abs(np.log(measured / held_out))
    log_error, confidence = _conformal(errors)
    return CostModel(
        weights=tuple(_fit_weights(terms, measured).tolist()),
        floor=float(measured.min()) / 10,
        log_error=log_error,
        confidence=confidence,
        median_error=float(np.median(np.abs(held_out / measured - 1))),
        spearman=_rank_correlation(held_out, measured),
        num_points=len(measured),
        fitted_int8=frozenset(f.int8 for f in features),
    )


def check_positive(values: Array, name: str) -> None:
    """Costs are positive and finite.

    Raises:
        ValueError: one is not.
    """
    wrong = values[~(np.isfinite(values) & (values > 0))]
    if len(wrong):
        raise ValueError(f"a {name} is {wrong[0]}; costs are positive and finite")


def _terms(features: Sequence[Features]) -> Array:
    """(n, terms), none negative: common rates, then what floats and what int8 cost besides."""
    return np.array([_row(f) for f in features], dtype=float)


def _row(f: Features) -> list[float]:
    others = [f.other_layers, f.other_bytes]
    common = [1.0, f.flops, f.depthwise_flops, f.parameters, f.activation_bytes, f.layers, *others]
    return [*common, *_if(not f.int8, [f.flops]), *_if(f.int8, [1.0, f.layers, *others])]


def _if(holds: bool, terms: list[float]) -> list[float]:
    return terms if holds else [0.0] * len(terms)


def _fit_weights(terms: Array, measured: Array) -> Array:
    """Weights that minimise the squared relative error; a term that is always 0 gets 0."""
    size = terms.max(axis=0)
    size[size == 0] = 1.0
    solution = nnls(terms / size / measured[:, None], np.ones(len(measured)))[0]
    weights: Array = solution / size
    return weights


def _values(terms: Array, weights: Array | Sequence[float], floor: float) -> Array:
    values: Array = np.maximum(terms @ np.asarray(weights), floor)
    return values


def _cross_validated(terms: Array, measured: Array) -> Array:
    """Each value as predicted from the other folds; the folds are the same every time."""
    order = np.random.default_rng(0).permutation(len(measured))
    predicted = np.empty(len(measured))
    for fold in range(FOLDS):
        out = order[fold::FOLDS]
        rest = np.setdiff1d(order, out)
        weights = _fit_weights(terms[rest], measured[rest])
        predicted[out] = _values(terms[out], weights, float(measured[rest].min()) / 10)
    return predicted


def _rank_correlation(predicted: Array, measured: Array) -> float:
    if np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return 0.0
    return float(spearmanr(predicted, measured).statistic)


def _conformal(errors: Array) -> tuple[float, float]:
    """(the error that a new one stays below, how often); the largest if the errors are few."""
    rank = min(math.ceil((len(errors) + 1) * CONFIDENCE), len(errors))
    return float(np.sort(errors)[rank - 1]), min(CONFIDENCE, len(errors) / (len(errors) + 1))
