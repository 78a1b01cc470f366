"""A candidate's card: what it is, what was measured, how it came there, what to do with it."""

import html
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from objectives.units import format_quantity
from search.address import as_file_name
from search.desk.anatomy import Anatomy, anatomy_html
from search.desk.tables import conditions, table
from search.store.view import StudyView, TrialView
from search.tables import show
from search.verdicts import Verdict, verdicts


def cards(view: StudyView, anatomies: Mapping[int, Anatomy]) -> dict[int, str]:
    """Trial -> its card as HTML, for all candidates of which something was measured."""
    members = {member.number for member in view.members}
    found = {verdict.trial: verdict for verdict in verdicts(view)}
    return {
        trial.number: _card(view, trial, trial.number in members, found.get(trial.number))
        + _layers(trial, anatomies.get(trial.number))
        for trial in view.trials
        if trial.measurements
    }


def _card(view: StudyView, trial: TrialView, member: bool, verdict: Verdict | None) -> str:
    what = "a member of the front" if member else trial.status
    reason = f": {html.escape(trial.reason)}" if trial.reason else ""
    parts = [
        f"<h3>Trial {trial.number}, {what}{reason}</h3><div class=cards>",
        f"<div>{_choices(trial)}</div>",
        f"<div>{_values(view, trial)}{_history(view, trial)}{_verdict(verdict)}"
        f"{conditions([trial])}</div></div>",
    ]
    if member:
        parts.append(_commands(view, trial))
    return "".join(parts)


def _layers(trial: TrialView, anatomy: Anatomy | None) -> str:
    return anatomy_html(anatomy, trial.number) if anatomy else ""


def _choices(trial: TrialView) -> str:
    """Every choice, section by section."""
    candidate = trial.candidate
    sections: list[tuple[str, Mapping[str, Any]]] = [
        (candidate.family, candidate.architecture),
        ("training", candidate.training),
        ("augmentation", {k: v for k, v in candidate.augmentation.items() if v}),
        *candidate.compression,
    ]
    rows = [
        (name, key, _text(value)) for name, options in sections for key, value in options.items()
    ]
    return table(["part", "choice", "value"], _once(rows), texts=[0, 1, 2])


def _once(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The name of a part at its first choice alone."""
    before = [None, *(row[0] for row in rows)]
    return [
        ("" if row[0] == last else row[0], *row[1:])
        for row, last in zip(rows, before, strict=False)
    ]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _values(view: StudyView, trial: TrialView) -> str:
    """Values with their intervals, samples and doubts."""
    units = {o.name: o.unit for o in view.objectives}
    rows = []
    for name in units:
        measured = trial.measurements.get(name)
        if measured is None:
            continue
        ends = (measured.low, measured.high)
        interval = " to ".join(format_quantity(end, measured.unit) for end in ends)
        exact = measured.low == measured.high
        doubts = "; ".join(measured.flags)
        rows.append([name, show(measured), "exact" if exact else interval, doubts])
    heads = ["objective", "value", "95% interval", "doubts"]
    return table(heads, rows, texts=[0, 2, 3])


def _history(view: StudyView, trial: TrialView) -> str:
    """Scores at the rungs, before compression until the last, and seconds by stage."""
    scores = [f"{epochs} epochs: {show(score)}" for epochs, score in trial.curve]
    spent = [
        f"{stage} {seconds:.2g} s" if seconds < 100 else f"{stage} {seconds:,.0f} s"
        for stage, seconds in trial.seconds.items()
        if seconds >= 0.005
    ]
    lines = [("Scores", scores), ("Spent", spent)]
    return "".join(
        f"<p class=dim>{what}: {html.escape(', '.join(told))}.</p>" for what, told in lines if told
    )


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    told = "holds" if verdict.holds else f"does not hold: {html.escape(verdict.reason)}"
    return f"<p>Trained anew with {verdict.seeds} seed(s), it {told}.</p>"


def _commands(view: StudyView, trial: TrialView) -> str:
    """What to type for this member; the study file is the user's."""
    file, number = shlex.quote(f"{view.name}.yaml"), trial.number
    folder = shlex.quote(f"exports/{as_file_name(view.name)}-{number}")
    lines = (
        f"python -m search.export {file} {number} --to {folder}    # its model file",
        f"python {folder}/verify.py    # does its certificate hold here?",
        f"python -m search.analyze {file} --member {number}    # its layers, and what if",
        f"python -m search.confirm {file}    # is its score more than luck?",
    )
    return f"<pre tabindex=0>{html.escape(chr(10).join(lines))}</pre>"
