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


def simplest(num_steps: Sequence[int | None], most: int) -> list[int]:
    """Places of the `most` candidates of fewest compression steps, leaving out None.

    While nothing is known of what compression does, those are made that cost no training: a score
    of the network as it was trained, and of that in fewer bits, tell the model more than another
    network whose compression was drawn at random. With them, and with lower rungs that judge the
    network before compression, a search has as much of the hypervolume after ten trainings of our
    own tables as one that compresses afterwards (`benchmarks/joint.py`).

    >>> simplest([1, None, 0, 2], 2)
    [2, 0]
    """
    steps = [(num, place) for place, num in enumerate(num_steps) if num is not None]
    return [place for _, place in sorted(steps)[:most]]
