"""Fan-out: one training, several compressions."""

from collections.abc import Sequence

LEAST_WORTH = 1e-4
"""Expected growth of the hypervolume, as a share of its box, below which a child is not made: a
child costs about one epoch of fine-tuning."""


def chosen(worth: Sequence[float], most: int) -> list[int]:
    """Places of the `most` candidates that promise most, the best first.

    >>> chosen([0.0, 0.02, 0.01], 2)
    [1, 2]
    """
    ranked = sorted(range(len(worth)), key=lambda place: -worth[place])
    return [place for place in ranked[:most] if worth[place] > LEAST_WORTH]
