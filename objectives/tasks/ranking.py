"""Is what a user likes most at the top of the list? Normalised discounted cumulative gain."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from objectives.measurement import Measurement
from objectives.tasks.metrics import half_width
from objectives.tasks.task import Metric

TOP = 10
"""Places of the list that count."""

Array = NDArray[np.float64]


def _ndcg(outputs: Tensor, targets: Tensor) -> Measurement:
    each = user_ndcg(
        outputs[:, 0].double().numpy(), targets[:, 0].double().numpy(), targets[:, 1].numpy()
    )
    value, half = float(each.mean()), half_width(each)
    return Measurement(
        value=value,
        unit="ratio",
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        conditions={"samples": len(targets), "users": len(each)},
    )


def _constant_ndcg(train: Tensor, judged: Tensor) -> float:
    return _ndcg(torch.zeros(len(judged), 1), judged).value


NDCG = Metric(
    name="ndcg@10",
    unit="ratio",
    direction="maximize",
    perfect=1.0,
    score=_ndcg,
    constant=_constant_ndcg,
)
"""Mean over users of the NDCG@10 of the items that a user has rated in the judged part.

Targets are (N, 2): rating and user. Only rated items are ranked, not the whole catalogue. Users
of whom every order is as good (one item, or all ratings equal) are left out. The interval is the
normal one of a mean over users.
"""


def user_ndcg(scores: Array, ratings: Array, users: Array) -> Array:
    """NDCG@10 of each user of whom some order is better than another; all arguments are (n,).

    Gain 2^rating - 1, discount 1 / log2(place + 1) (Burges et al. 2005, Learning to Rank using
    Gradient Descent, section 6). Items of equal score share their places evenly: the value is
    the mean over all their orders (McSherry and Najork 2008, doi:10.1007/978-3-540-78646-7_38,
    eq. 5). So a constant gets what a random order gets on average.

    Raises:
        ValueError: there is no such user.
    """
    found = []
    for user in np.unique(users):
        own = users == user
        if len(np.unique(ratings[own])) > 1:
            best = _dcg(ratings[own], ratings[own])
            found.append(_dcg(scores[own], ratings[own]) / best)
    if not found:
        raise ValueError("no user has rated two judged items differently: nothing can be ranked")
    return np.array(found)


def _dcg(scores: Array, ratings: Array) -> float:
    order = np.argsort(-scores, kind="stable")
    gains, ordered = 2.0 ** ratings[order] - 1, scores[order]
    tie = np.cumsum(np.r_[0, ordered[1:] != ordered[:-1]])
    shared = (np.bincount(tie, gains) / np.bincount(tie))[tie][:TOP]
    return float((shared / np.log2(np.arange(2, len(shared) + 2))).sum())
