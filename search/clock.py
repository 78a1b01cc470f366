"""The time that a run may take: `search.time`."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Runs from the moment it is made."""

    limit_s: float = float("inf")
    began_s: float = field(default_factory=time.monotonic)

    @property
    def limited(self) -> bool:
        """Whether it ever ends."""
        return self.limit_s < float("inf")

    @property
    def left(self) -> float:
        """Share of the time that is left, 0 to 1; always 1 without a limit."""
        spent_s = time.monotonic() - self.began_s
        return 1 - spent_s / self.limit_s if spent_s < self.limit_s else 0.0
