"""What a run says while it goes on: where the study stands, what was saved, how long it will take.

A line that is written over itself on a terminal, else one now and then; or one of JSON at each
change, for programs.
"""

import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import Literal

from search.commands import silence_stdout
from search.state import State

Form = Literal["line", "json", "nothing"]
LINE_EVERY_S = 10.0
"""Without a terminal, a line at most so often."""
JSON_EVERY_S = 1.0
FRESH = 0.5
"""Share of the finished candidates, the newest, by whose pace the time left is told.

The first ones take longer: nothing is trained yet that others could start from, the gate has
nothing to go by, and libraries load.
"""
LEAST = 4
"""Finished candidates below which nothing is told of the time left."""


def left_s(finished_at: list[float], remaining: int, now: float) -> float | None:
    """Seconds until `remaining` more are finished; None where too little is known.

    `finished_at`: when each that is finished in this run was, in order; same clock as `now`.
    """
    if len(finished_at) < LEAST:
        return None
    fresh = finished_at[int(len(finished_at) * FRESH) :]
    before = finished_at[len(finished_at) - len(fresh) - 1]
    return remaining * (now - before) / len(fresh)


@dataclass
class Progress:
    """Tells `State`s, at most so often."""

    total: int
    """Candidates of the budget, without those of earlier studies."""
    form: Form = "line"
    last: float = 0.0
    finished_at: list[float] = field(default_factory=list)
    before: int | None = None
    """Candidates finished before this run."""

    def __call__(self, state: State) -> None:
        """Show a state, unless one has just been shown."""
        now = time.monotonic()
        if self.before is None:
            self.before = state.finished
        self.finished_at += [now] * (state.finished - self.before - len(self.finished_at))
        terminal = sys.stderr.isatty()
        pause_s = {"line": 0.1 if terminal else LINE_EVERY_S, "json": JSON_EVERY_S}.get(self.form)
        if pause_s is None or now - self.last < pause_s:
            return
        self.last = now
        if self.form == "json":
            self.say(state)
            return
        width = shutil.get_terminal_size().columns - 1 if terminal else 10_000
        line = fitting(self.parts(state, now), width)
        sys.stderr.write(f"\r\x1b[2K{line}" if terminal else f"{line}\n")
        sys.stderr.flush()

    def left_s(self, state: State, now: float) -> float | None:
        """Seconds until the budget is used."""
        remaining = max(0, self.total + state.known - state.finished)
        return left_s(self.finished_at, remaining, now)

    def parts(self, state: State, now: float) -> list[str]:
        """What is told, the most important first."""
        left = self.left_s(state, now)
        saved = [
            f"{state.counts[s]} {s}"
            for s in ("infeasible", "hopeless", "stopped", "failed")
            if state.counts[s]
        ]
        saved += [f"{state.known} known from earlier studies"] if state.known else []
        saved += [f"{state.children} from trained weights"] if state.children else []
        saved += [f"{state.repeats} repeats"] if state.repeats else []
        parts = [
            f"{state.finished}/{self.total + state.known} candidates",
            span(left) if left else "",
            f"front {len(state.front)}",
            f"hypervolume {state.hypervolume:.3f}",
            " + ".join(saved),
        ]
        return [part for part in parts if part]

    def say(self, state: State, outcome: str = "running") -> None:
        """A line of JSON on stdout.

        Raises:
            KeyboardInterrupt: whoever read them has gone; what is not heard is not gone on with.
        """
        left = self.left_s(state, time.monotonic()) if outcome == "running" else 0.0
        told = {
            "state": outcome,
            "finished": state.finished,
            "total": self.total + state.known,
            "counts": dict(state.counts),
            "repeats": state.repeats,
            "known": state.known,
            "children": state.children,
            "front": list(state.front),
            "hypervolume": state.hypervolume,
            "busy_s": round(state.busy_s, 1),
            "left_s": None if left is None else round(left, 1),
        }
        try:
            print(json.dumps(told), flush=True)
        except BrokenPipeError:
            silence_stdout()
            raise KeyboardInterrupt from None

    def close(self, state: State, outcome: str) -> None:
        """The last line."""
        if self.form == "json":
            self.say(state, outcome)
        elif self.form == "line" and self.last and sys.stderr.isatty():
            sys.stderr.write("\n")


def fitting(parts: list[str], width: int) -> str:
    """As many parts as fit side by side, the first ones, but one at least."""
    line = parts[0]
    for part in parts[1:]:
        if len(line) + 2 + len(part) > width:
            break
        line = f"{line}  {part}"
    return line[:width]


def span(seconds: float) -> str:
    """A time left as people say it.

    >>> span(42), span(150), span(9000)
    ('42 s left', '2.5 min left', '2.5 h left')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit} left"
    return f"{seconds:.0f} s left"
