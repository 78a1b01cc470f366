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
    """(n,) of the Gaussian; of a known loss the loss itself."""
    std: Array
    """(n,) of the Gaussian; 0 where the loss is known."""
    shift: float | None = None
    """Added before the logarithm; None for a Gaussian of the loss itself."""

    def shortfall(self, levels: Array) -> Array:
        """(n, k) expected amount by which the loss stays below each of `levels` (k,).

        E[(t - y)+]: of a Gaussian (t - mean) cdf(z) + std pdf(z), z = (t - mean) / std (Jones et
        al. 1998, equation 15); of a log-Gaussian the price of a put option (Black and Scholes
        1973): t cdf(z) - exp(mean + std^2 / 2) cdf(z - std), z = (log t - mean) / std.
        """
        mean, std = self.mean[:, np.newaxis], self.std[:, np.newaxis]
        if self.shift is None:
            return _gaussian(levels, mean, std)
        return _log_gaussian(np.maximum(levels + self.shift, 0.0), mean, std)


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
        product = np.ones((len(beliefs[0].mean[part]), len(lower)))
        for m, belief in enumerate(beliefs):
            some = Belief(belief.mean[part], belief.std[part], belief.shift)
            levels, place = np.unique(np.append(lower[:, m], upper[:, m]), return_inverse=True)
            short = some.shortfall(levels)
            product *= short[:, place[len(lower) :]] - short[:, place[: len(lower)]]
        total[part] = product.sum(axis=1)
    return np.maximum(total, 0.0)


def _gaussian(levels: Array, mean: Array, std: Array) -> Array:
    certain = np.maximum(levels - mean, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (levels - mean) / std
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        spread = np.where(np.isneginf(levels), 0.0, (levels - mean) * ndtr(z) + std * density)
    return np.where(std > 0, spread, certain)


def _log_gaussian(levels: Array, mean: Array, std: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (np.log(levels) - mean) / std
        spread = levels * ndtr(z) - np.exp(mean + 0.5 * std * std) * ndtr(z - std)
        spread = np.where(levels > 0, np.maximum(spread, 0.0), 0.0)
    return np.where(std > 0, spread, np.maximum(levels - np.exp(mean), 0.0))
