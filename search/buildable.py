"""Whether anything of a space can be built at all; told before anything starts."""

from collections import Counter

import numpy as np

from objectives.tasks import Splits
from search.document import Document
from spaces.space import Space

DRAWS = 200
"""Random candidates of which one has to be possible."""


def check_buildable(document: Document, space: Space, splits: Splits) -> None:
    """Draw candidates until one fits the task.

    Raises:
        InputError: none of `DRAWS` does; with the reason that most of them have.
    """
    rng, reasons = np.random.default_rng(0), Counter[str]()
    for _ in range(DRAWS):
        candidate = space.decode(space.draw(rng), splits.input_shape)
        reason = space.check(candidate, *splits.signature)
        if reason is None:
            return
        reasons[reason] += 1
    [(reason, _)] = reasons.most_common(1)
    told = f"nothing can be built: {reason}"
    if len(reasons) > 1:
        told = f"none of {DRAWS} random candidates can be built, most often because {reason}"
    told += "" if ";" in reason else "; choose other values"
    raise document.error(("space", "architecture"), told)
