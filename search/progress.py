"""The live line of a run: where the study stands, what was saved, how long it will take."""

import sys
import time
from dataclasses import dataclass, field

from search.state import State

LINE_EVERY_S = 10.0
"""Without a terminal, a line at most so often."""


@dataclass
class LiveLine:
    """Writes `State` to stderr: over itself on a terminal, else now and then."""

    total: int
    enabled: bool = True
    started: float = field(default_factory=time.monotonic)
    last: float = 0.0
    first: int | None = None
    """Candidates finished before this run."""

    def __call__(self, state: State) -> None:
        """Show a state."""
        if self.first is None:
            self.first = state.finished
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if not self.enabled or now - self.last < (0.1 if terminal else LINE_EVERY_S):
            return
        self.last = now
        line = self.text(state, now - self.started)
        sys.stderr.write(f"\r\x1b[2K{line}" if terminal else f"{line}\n")
        sys.stderr.flush()

    def text(self, state: State, elapsed_s: float) -> str:
        """The line itself."""
        saved = [
            f"{state.counts[s]} {s}"
            for s in ("infeasible", "hopeless", "stopped", "failed")
            if state.counts[s]
        ]
        saved += [f"{state.known} known from earlier studies"] if state.known else []
        saved += [f"{state.children} from trained weights"] if state.children else []
        saved += [f"{state.repeats} repeats"] if state.repeats else []
        done_now = state.finished - (self.first or 0)
        total = self.total + state.known
        left = (total - state.finished) * elapsed_s / done_now if done_now else 0.0
        parts = [
            f"{state.finished}/{total} candidates",
            f"front {len(state.front)}",
            f"hypervolume {state.hypervolume:.3f}",
            *([" + ".join(saved)] if saved else []),
            f"{left:.0f} s left" if left else "",
        ]
        return "  ".join(part for part in parts if part)

    def close(self) -> None:
        """End the line on a terminal."""
        if self.enabled and self.last and sys.stderr.isatty():
            sys.stderr.write("\n")
