"""The user's mistakes: one line that says place, value, rule and remedy."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that the user gave cannot be used; commands print it and exit with code 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # a key or a name may hold a line break


class RunFailedError(RuntimeError):
    """A study could not go on, by nobody's mistake; commands print it and exit with code 1."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What is known, the likeliest spelling first.

    >>> nearest("tpee", ["random", "tpe"])
    "did you mean 'tpe'? known: random, tpe"
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names)}"
