"""Where a worker computes, and its stopwatch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from objectives.device import Turnstile


@dataclass(frozen=True)
class Bench:
    """Where a worker computes, and its stopwatch."""

    device: str
    threads: int
    turnstile: Turnstile
    devices: int = 1
    """Of the kind of `device`, that train together."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the body to stage `name`, those of waiting to `wait`."""
        start, waited = time.perf_counter(), self.turnstile.waited_s
        try:
            yield
        finally:
            wait_s = self.turnstile.waited_s - waited
            spent_s = time.perf_counter() - start - wait_s
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s
            self.seconds["wait"] = self.seconds.get("wait", 0.0) + wait_s
