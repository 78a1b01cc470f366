"""The question of a study in words, and its answer: which network to take."""

import html
import time

from objectives.units import format_quantity
from search.members import best, knee_of, no_front_reason
from search.store.view import ObjectiveView, StudyView, TrialView
from search.tables import describe, show
from search.verdicts import verdicts

WISHES = {"minimize": "least", "maximize": "most"}


def asked(view: StudyView) -> str:
    """The question in a sentence: the task, what is wanted, and what must be kept."""
    task = view.runs[-1]["spec"].get("task") if view.runs else None
    name = next(iter(task), "") if isinstance(task, dict) else task
    wishes = ", ".join(f"{WISHES[o.direction]} {o.name}" for o in view.objectives)
    limits = [_limit(o) for o in view.objectives if o.limit is not None]
    kept = f", with {' and '.join(limits)}" if limits else ""
    return f"Which network{f' for {name}' if name else ''}: {wishes}{kept}?"


def note(view: StudyView) -> str:
    """Question, state and answer as Markdown, for Optuna Dashboard; the names are the user's."""
    done = sum(trial.status == "done" for trial in view.trials)
    lines = [
        asked(view),
        f"{len(view.trials)} candidates, {done} trained to the end; {view.num_repeats} repeats.",
    ]
    if not view.members:
        return "\n\n".join([*lines, f"No front: {no_front_reason(view)}"])
    for label, choose in (("Knee", knee_of), ("Best score", best)):
        member = choose(view, view.members)
        values = (f"{o.name} {show(member.measurements[o.name])}" for o in view.objectives)
        lines.append(f"**{label}: trial {member.number}**, {', '.join(values)}")
    lines.append(f"{len(view.members)} members; the report is among the study's artifacts.")
    return "\n\n".join(lines)


def standing(view: StudyView) -> str:
    """When it began, how far it is."""
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(view.created_at))
    done = sum(trial.status == "done" for trial in view.trials)
    return (
        f"<p class=dim>Started {started}; {len(view.runs)} run(s); "
        f"{len(view.trials)} candidates, {done} of them trained to the end.</p>"
    )


def answer(view: StudyView) -> str:
    """The member to take and the one with the best score, or why there is none."""
    if not view.members:
        return f"<p class=answer>No front: {html.escape(no_front_reason(view))}</p>"
    knee, top = knee_of(view, view.members), best(view, view.members)
    lines = [_line("Knee (nearest to the ideal)", view, knee, "take")]
    if top.number != knee.number:
        lines.append(_line("Best score", view, top, ""))
    else:
        lines.append(f"<p><b>Best score: trial {top.number}</b>, the same.</p>")
    limits = ", ".join(_limit(o) for o in view.objectives if o.limit is not None)
    kept = f"All members keep the limits ({html.escape(limits)})."
    told = f"<p class=dim>{kept}</p>" if limits else ""
    return f"<div class=answer>{''.join(lines)}{told}{_trust(view, knee)}</div>"


def _line(label: str, view: StudyView, trial: TrialView, kind: str) -> str:
    values = ", ".join(f"{o.name} {show(trial.measurements[o.name])}" for o in view.objectives)
    network = html.escape(describe(trial.candidate, view.chosen))
    return (
        f'<p class="{kind}"><b>{label}: trial {trial.number}</b>, {html.escape(values)}<br>'
        f"<code>{network}</code></p>"
    )


def _trust(view: StudyView, trial: TrialView) -> str:
    """How far the numbers of a member are proven."""
    found = {verdict.trial: verdict for verdict in verdicts(view)}
    verdict = found.get(trial.number)
    if verdict is None:
        text = (
            "Its score is that of one training, on the split by which it was chosen; "
            "<code>python -m search.confirm</code> trains it anew and scores it on the test split."
        )
    elif verdict.holds:
        text = f"Trained anew with {verdict.seeds} seeds, it holds (below)."
    else:
        text = f"Trained anew, it does <b>not</b> hold: {html.escape(verdict.reason)}."
    return (
        f"<p class=dim>{text} <code>python -m search.export</code> writes its file with a "
        "certificate: score and costs of that very file.</p>"
    )


def _limit(objective: ObjectiveView) -> str:
    assert objective.limit is not None
    sign = "at most" if objective.direction == "minimize" else "at least"
    limit = format_quantity(objective.limit, objective.unit)
    return f"{objective.name} {sign} {limit}"
