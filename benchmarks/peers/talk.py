"""How a peer, in an environment of its own, is asked and told: lines of JSON on its pipes."""

import json
import sys
from dataclasses import dataclass


class Over(Exception):
    """Enough networks are trained."""


@dataclass(frozen=True)
class Problem:
    """A space of categorical choices; losses are to be minimised."""

    choices: tuple[int, ...]
    """Number of options of each choice."""
    ideal: tuple[float, ...]
    """The least of each loss."""
    reference: tuple[float, ...]
    """Losses beyond these count for nothing."""
    seed: int
    rungs: tuple[int, ...] = ()
    """Epochs at which a training can be scored, the last a full one; empty for full ones alone."""

    def losses(self, choices: list[int], epochs: int | None = None) -> list[float]:
        """Of a network, which is trained for it, to `epochs` or in full.

        Raises:
            Over: that was the last one.
        """
        _say({"choices": [int(option) for option in choices], "epochs": epochs})
        told = _hear()
        if told is None:
            raise Over
        return told


def read_problem() -> Problem:
    """The first line."""
    told = _hear()
    return Problem(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})


def _say(data: object) -> None:
    print(json.dumps(data), file=_OUT, flush=True)


def _hear() -> object:
    line = sys.stdin.readline()
    return json.loads(line) if line else None


_OUT = sys.stdout
sys.stdout = sys.stderr  # whatever a library prints is no answer
