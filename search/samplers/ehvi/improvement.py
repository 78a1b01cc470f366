"""Expected hypervolume improvement where each loss is known, Gaussian or log-Gaussian."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
CHUNK = 2**21
"""Numbers of the largest intermediate array, so that memory stays flat."""


@dataclass(frozen=True)
class Belief:
    """What is believed of one loss of n candidates: log(loss + shift) is Gaussian."""

    mean: Array
    """(n,) of the Gaussian; of a known loss what it is, log(loss + shift) with a shift."""
    std: Array
    """(n,) of the Gaussian; 0 where the loss is known."""
    shift: float | None = None
    """Added before the logarithm; None for a Gaussian of the loss itself."""

    def shortfall(self, levels: Array) -> Array:
        """(k, n) expected amount by which the loss stays below each of `levels` (k,).

        E[(t - y)+]: of a Gaussian (t - mean) cdf(z) + std pdf(z), z = (t - mean) / std (Jones et
        al. 1998, equation 15); of a log-Gaussian the price of a put option (Black and Scholes
        1973): t cdf(z) - exp(mean + std^2 / 2) cdf(z - std), z = (log t - mean) / std.
        """
        above, known, expected = levels[:, np.newaxis], self.mean, _gaussian
        if self.shift is not None:
            above, known = np.maximum(above + self.shift, 0.0), np.exp(self.mean)
            expected = _log_gaussian
        sure = self.std == 0
        if not sure.any():
            return expected(above, self.mean, self.std)
        short = np.empty((len(levels), len(sure)))
        short[:, sure] = np.maximum(above - known[sure], 0.0)
        short[:, ~sure] = expected(above, self.mean[~sure], self.std[~sure])
        return short


def expected_improvement(beliefs: list[Belief], lower: Array, upper: Array) -> Array:
    """(n,) expected growth of the hypervolume of a front by each of n candidates.

    The growth by a point y is the sum over the front's free boxes [l, u] (k, m), see `free_boxes`,
    of prod_m ((u_m - y_m)+ - (l_m - y_m)+); with independent losses its expectation is the same
    product of expectations (Emmerich et al. 2006 and Yang et al. 2019,
    doi:10.1007/s10898-019-00798-7, for Gaussians; a known loss is one without spread).
    """
    num = len(beliefs[0].mean)
    step = max(1, CHUNK // max(1, len(lower)))
    total = np.empty(num)
    for start in range(0, num, step):
        part = slice(start, start + step)
        product = np.ones((len(lower), len(beliefs[0].mean[part])))
        for m, belief in enumerate(beliefs):
            some = Belief(belief.mean[part], belief.std[part], belief.shift)
            levels, place = np.unique(np.append(lower[:, m], upper[:, m]), return_inverse=True)
            short = some.shortfall(levels)
            product *= short[place[len(lower) :]] - short[place[: len(lower)]]
        total[part] = product.sum(axis=0)
    return np.maximum(total, 0.0)


def _gaussian(levels: Array, mean: Array, std: Array) -> Array:
    below = levels - mean
    with np.errstate(invalid="ignore"):
        z = below / std
        short = below * ndtr(z) + std * (np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return np.where(np.isneginf(levels), 0.0, short)


def _log_gaussian(levels: Array, mean: Array, std: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (np.log(levels) - mean) / std
        short = levels * ndtr(z) - np.exp(mean + 0.5 * std * std) * ndtr(z - std)
    return np.where(levels > 0, np.maximum(short, 0.0), 0.0)
