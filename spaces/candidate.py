"""One canonical point of a space, as plain data, and the keys under which it is known."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Options = Mapping[str, Any]
"""Field -> value of one part; JSON data."""


@dataclass(frozen=True)
class Candidate:
    """What was decided: active choices only, fixed values and defaults spelled out."""

    family: str
    architecture: Options
    training: Options
    augmentation: Options
    """The fields that are on; a field that the space adds later leaves keys as they are."""
    compression: tuple[tuple[str, Options], ...]
    """(step, options) in order; steps that change nothing are left out."""

    def as_dict(self) -> dict[str, Any]:
        """JSON data; `Candidate.from_dict` is the way back."""
        data = asdict(self)
        data["compression"] = [list(step) for step in data["compression"]]
        return data

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Candidate":
        """A candidate from its JSON data."""
        steps = tuple((name, options) for name, options in data["compression"])
        return Candidate(**{**data, "compression": steps})

    def key(self, context: str) -> str:
        """What the candidate is known by; `context` names the task, its epochs, own parts."""
        return digest(self.as_dict(), context)

    def train_key(self, context: str) -> str:
        """What the weights before compression depend on."""
        data = [self.family, self.architecture, self.training, self.augmentation]
        return digest(data, context)

    def recipe_key(self, context: str) -> str:
        """What costs depend on, as asked for: architecture and compression choices.

        Two recipes can deploy the same network (ratios that round to the same widths): those
        share a `deploy_key`.
        """
        return digest([self.family, self.architecture, self.compression], context)


def digest(data: object, context: str = "") -> str:
    """16 hexadecimal digits of the SHA-256 of `data` as canonical JSON, after `context`."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(f"{context}\n{text}".encode()).hexdigest()[:16]
