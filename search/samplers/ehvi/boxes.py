"""The region that no point of a front dominates, cut into boxes that do not overlap."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ranks = NDArray[np.int64]


def free_boxes(front: Array, reference: Array, floor: float = -np.inf) -> tuple[Array, Array]:
    """Lower and upper corners (k, m) of boxes that fill what is better than `reference`.

    A volume dominated by a point (m,) but by no point of `front` (n, m) is the sum of its parts
    in the boxes. Losses are minimised. Points beyond the reference dominate nothing of it and are
    left out; the region ends at `floor` in every loss.

    Method: one box for each local upper bound of the region, kept while points come in, each bound
    with the points that define its sides (Klamroth, Lacour and Vanderpooten 2015,
    doi:10.1016/j.ejor.2015.03.031; Lacour, Klamroth and Fonseca 2017,
    doi:10.1016/j.cor.2016.06.017). That gives n + 1 boxes for two losses and at most 2 n + 1 for
    three. Both ask that no two points agree in a loss; so ranks are cut, ties broken by order, and
    boxes that are flat by the losses are left out.
    """
    inside = np.maximum(front[(front < reference).all(axis=1)], floor)
    order = np.argsort(inside, axis=0, kind="stable")
    ranks = np.argsort(order, axis=0, kind="stable")
    low, high = _cut(ranks)
    lower, upper = np.empty(low.shape), np.empty(high.shape)
    for m in range(len(reference)):
        levels = np.array([*inside[order[:, m], m], reference[m], floor])
        lower[:, m], upper[:, m] = levels[low[:, m]], levels[high[:, m]]
    real = (lower < upper).all(axis=1)
    return lower[real], upper[real]


def _cut(points: Ranks) -> tuple[Ranks, Ranks]:
    """Corners of boxes below (n, ..., n) that no point, a permutation in each loss, dominates.

    -1 stands for no bound.
    """
    num, losses = points.shape
    bounds = np.full((1, losses), num)
    sides = np.full((1, losses, losses), -1)
    """(k, m, m) of each bound the points whose m-th loss is the bound's."""
    sides[0, range(losses), range(losses)] = num
    for point in points:
        split = (point < bounds).all(axis=1)
        kept, kept_sides = [bounds[~split]], [sides[~split]]
        before, before_sides = bounds[split], sides[split]
        for m in range(losses):
            others = [each for each in range(losses) if each != m]
            some = (point[m] > before_sides[:, others, m]).all(axis=1)
            after, after_sides = before[some], before_sides[some]
            after[:, m] = point[m]
            after_sides[:, m] = point
            kept.append(after)
            kept_sides.append(after_sides)
        bounds, sides = np.concatenate(kept), np.concatenate(kept_sides)
    lower = np.full_like(bounds, -1)
    for m in range(1, losses):
        lower[:, m] = sides[:, :m, m].max(axis=1)
    return lower, bounds
