"""What a study spent, and what it was spared: candidates that were not trained, or not as long."""

import dataclasses
import html
import statistics
from collections.abc import Sequence

from search.desk.tables import table
from search.evaluation import worked_s
from search.store.view import StudyView, TrialView
from search.tables import known_line

OUTCOMES = {
    "done": "trained to the end",
    "stopped": "stopped at a rung",
    "hopeless": "not trained: the gate foretold that it could not reach the front",
    "infeasible": "not trained: its price is beyond a limit",
    "unbuildable": "cannot be built",
    "failed": "failed",
}


def spent(view: StudyView) -> str:
    """Candidates by outcome, the seconds that they took, and those that they were spared."""
    done = [trial for trial in view.trials if trial.status == "done"]
    fanned = from_weights(done)
    full = [worked_s(trial.seconds) for trial in done if trial.number not in fanned]
    full_s = statistics.median(full) if full else None
    rows = []
    for status, what in OUTCOMES.items():
        trials = [trial for trial in view.trials if trial.status == status]
        if status == "done":
            rows += _row(what, [t for t in trials if t.number not in fanned], None)
            again = [trial for trial in trials if trial.number in fanned]
            rows += _row("compressed anew from weights that were trained", again, full_s)
        else:
            spares = status in ("stopped", "hopeless", "infeasible")
            rows += _row(what, trials, full_s if spares else None)
    if view.num_repeats:
        spared = "" if full_s is None else f"{full_s * view.num_repeats:,.0f}"
        rows.append(["repeats, answered from the store", str(view.num_repeats), "", spared, ""])
    heads = ["candidates that were", "number", "seconds", "spared, about", "the last reason"]
    caption = (
        "Seconds of workers. Spared is what a full training would have taken more, by the median "
        "of those that were trained to the end."
    )
    known = f"<p>{html.escape(line)}.</p>" if (line := known_line(view)) else ""
    return table(heads, rows, caption=caption, texts=[0, 4]) + known


def from_weights(done: Sequence[TrialView]) -> set[int]:
    """Of candidates that are done, those that differ from an earlier one in compression alone."""
    seen: set[str] = set()
    found = set()
    for trial in done:
        training = repr(dataclasses.replace(trial.candidate, compression=()))
        if training in seen:
            found.add(trial.number)
        seen.add(training)
    return found


def _row(what: str, trials: Sequence[TrialView], full_s: float | None) -> list[list[str]]:
    if not trials:
        return []
    took = sum(worked_s(trial.seconds) for trial in trials)
    spared = ""
    if full_s is not None:
        spared = f"{sum(max(0.0, full_s - worked_s(t.seconds)) for t in trials):,.0f}"
    return [[what, str(len(trials)), f"{took:,.1f}", spared, trials[-1].reason]]
