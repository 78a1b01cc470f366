"""The region that no point of a front dominates, cut into boxes that do not overlap."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def free_boxes(front: Array, reference: Array) -> tuple[Array, Array]:
    """Lower and upper corners (k, m) of boxes that fill what is better than `reference`.

    A volume dominated by a point (m,) but by no point of `front` (n, m) is the sum of its parts
    in the boxes. Losses are minimised; lower corners may be -inf. Points beyond the reference
    dominate nothing of it and are left out.

    Method: sweep along the last loss; between two points that region has the same cross-section,
    cut up in the same way with one loss less, and a part that does not change from one slab to
    the next stays one box. That gives n + 1 boxes for two losses and at most 2 n + 1 for three
    (Lacour, Klamroth and Fonseca 2017, doi:10.1016/j.cor.2016.06.017, count the same).
    """
    inside = front[(front < reference).all(axis=1)]
    boxes = _cut(inside[np.argsort(inside[:, -1], kind="stable")], reference)
    lower = np.array([low for low, _ in boxes], dtype=np.float64).reshape(-1, len(reference))
    upper = np.array([high for _, high in boxes], dtype=np.float64).reshape(-1, len(reference))
    return lower, upper


Corner = tuple[float, ...]


def _cut(points: Array, reference: Array) -> list[tuple[Corner, Corner]]:
    """Boxes below `reference`, of points in ascending order of the last loss."""
    if len(reference) == 1:
        return [((-np.inf,), (float(min(points[:, 0], default=reference[0])),))]
    heights = [-np.inf, *np.unique(points[:, -1]).tolist(), float(reference[-1])]
    done: list[tuple[Corner, Corner]] = []
    open_since: dict[tuple[Corner, Corner], float] = {}
    for height in heights[:-1]:
        below = points[points[:, -1] <= height][:, :-1]
        section = set(_cut(below[np.argsort(below[:, -1], kind="stable")], reference[:-1]))
        for box in [box for box in open_since if box not in section]:
            done.append(_raised(box, open_since.pop(box), height))
        for box in section - open_since.keys():
            open_since[box] = height
    return done + [_raised(box, since, heights[-1]) for box, since in open_since.items()]


def _raised(box: tuple[Corner, Corner], low: float, high: float) -> tuple[Corner, Corner]:
    return (*box[0], low), (*box[1], high)
