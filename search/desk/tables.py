"""Tables of a report, as HTML: the front, what held, what compression gave, timings."""

import html
from collections.abc import Collection, Sequence
from functools import partial

from objectives.units import format_quantity
from search.members import score_of
from search.origins import speed_ups
from search.store.view import StudyView, TrialView
from search.tables import describe, describe_training, show
from search.verdicts import reasons, verdict_rows, verdicts


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    texts: Sequence[int] = (),
    codes: Sequence[int] = (),
    trials: Sequence[int] | None = None,
) -> str:
    """Text as an HTML table that scrolls by itself where it is too wide.

    `texts`: columns of words, all others are numbers; `codes` among them are set as code;
    `trials`: what each row is of, where a row can be chosen.
    """

    def cell(tag: str, at: int, text: str) -> str:
        inside = html.escape(text)
        if tag == "td" and at in codes:
            inside = f"<code>{inside}</code>"
        scope = " scope=col" if tag == "th" else ""
        return f"<{tag}{scope}{'' if at in texts else ' class=number'}>{inside}</{tag}>"

    lines = []
    for place, row in enumerate(rows):
        chosen = f' data-trial="{trials[place]}" tabindex=0' if trials is not None else ""
        lines.append(f"<tr{chosen}>{''.join(cell('td', i, t) for i, t in enumerate(row))}</tr>")
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    head = "".join(cell("th", i, t) for i, t in enumerate(heads))
    return (
        f"<div class=wide tabindex=0><table>{told}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def facts(told: Sequence[tuple[str, str]]) -> str:
    """What, and in words."""
    rows = "".join(
        f"<tr><th scope=row>{html.escape(what)}</th><td>{html.escape(text)}</td></tr>"
        for what, text in told
    )
    return f"<div class=wide tabindex=0><table class=facts>{rows}</table></div>"


def front(view: StudyView, only: Collection[int] | None = None) -> str:
    """One row a member, with intervals and all choices; `only` those of these numbers."""
    names = [o.name for o in view.objectives]
    members = [m for m in view.members if only is None or m.number in only]
    rows = [
        (
            str(trial.number),
            *(show(trial.measurements[name]) for name in names),
            describe(trial.candidate, view.chosen),
            describe_training(trial.candidate, view.chosen),
        )
        for trial in members
    ]
    words = (len(names) + 1, len(names) + 2)
    return table(
        ["trial", *names, "network", "training"],
        rows,
        caption="Values with the half width of their 95% interval; '!' marks a measurement to "
        "doubt. A row, or a point of a figure, shows its card below.",
        texts=words,
        codes=words,
        trials=[trial.number for trial in members],
    )


def confirmed(view: StudyView) -> str:
    """Members trained anew with further seeds, if they were."""
    found = verdicts(view)
    if not found:
        return ""
    score = score_of(view).name
    costs = [o.name for o in view.objectives if o.name != score]
    heads = ["trial", f"{score} found", "anew", "test split", *costs, ""]
    caption = (
        f"Trained anew with {max(verdict.seeds for verdict in found)} further seeds: mean score "
        "on the validation split and, with standard deviation, on the test split, which the "
        "search never saw; costs as found and as measured anew ('!': each value is to be doubted)."
    )
    rows = verdict_rows(view, found)
    body = table(heads, rows, caption=caption, texts=[len(heads) - 1])
    why = "".join(f"<p>{html.escape(line)}</p>" for line in reasons(found))
    return f"<h2>Which members hold</h2>{body}{why}"


def compressed(view: StudyView) -> str:
    """What compression gave the members: by FLOPs, and by the clock."""
    found = speed_ups(view)
    if not found:
        return ""
    steps = {t.number: describe(t.candidate, view.chosen).partition("; ")[2] for t in view.members}
    latencies = sorted({name for each in found for name in each.measured})
    rows = []
    for each in found:
        ratios = [each.by_flops, *(each.measured.get(name) for name in latencies)]
        cells = ["-" if ratio is None else f"{ratio:.2f} x" for ratio in ratios]
        rows.append([str(each.trial), *cells, steps[each.trial]])
    heads = ["trial", "by FLOPs", *(f"{name}, measured" for name in latencies), "compression"]
    caption = (
        "Each member beside the same network uncompressed: how much faster FLOPs promise it to "
        "be, and how much faster it is. int8 changes no FLOPs."
    )
    last = [len(heads) - 1]
    body = table(heads, rows, caption=caption, texts=last, codes=last)
    return f"<h2>What compression gave</h2>{body}"


def timings(view: StudyView) -> str:
    """What a median does not say: percentiles, throughput, first call, and why to doubt it."""
    rows = []
    for trial in view.members:
        for name, measured in trial.measurements.items():
            told = measured.details
            if "p50" not in told:
                continue
            shown = [measured.value, *(told[key] for key in ("p50", "p90", "p99", "first_ms"))]
            cells = [str(trial.number), name, *(format_quantity(v, "ms") for v in shown)]
            rows.append([*cells, f"{told['per_second']:,.0f}", "; ".join(measured.flags)])
    if not rows:
        return ""
    heads = ["trial", "objective", "value", "p50", "p90", "p99", "first call"]
    heads += ["inputs a second", "doubts"]
    caption = "The value is that of an undisturbed call; percentiles are those of all samples."
    return table(heads, rows, caption=caption, texts=[1, len(heads) - 1])


def conditions(trials: Sequence[TrialView]) -> str:
    """The conditions of the trials' costs; values of other conditions do not compare."""
    found: dict[str, str] = {}
    for trial in trials:
        for name, measured in trial.measurements.items():
            told = ", ".join(
                f"{k} {v}" for k, v in sorted(measured.conditions.items()) if k != "precision"
            )
            if told:
                found.setdefault(name, told)
    return table(["objective", "conditions"], list(found.items()), texts=[0, 1]) if found else ""


def steps(view: StudyView) -> str:
    """What a better score costs: along the front, cost by cost."""
    score = score_of(view)
    parts = []
    for cost in view.objectives:
        if cost.name == score.name or cost.direction != "minimize":
            continue
        rows, trials = [], []
        sign = 1 if score.direction == "maximize" else -1
        at = partial(_cost_then_score, cost.name, score.name, sign)
        ordered = sorted(view.members, key=at)
        before = None
        for member in ordered:
            value = member.measurements[score.name].value
            if before is not None and sign * value <= sign * before.measurements[score.name].value:
                continue
            paid, gained = "", ""
            if before is not None:
                more = member.measurements[cost.name].value - before.measurements[cost.name].value
                paid = f"+{format_quantity(more, cost.unit)}"
                gained = _difference(value - before.measurements[score.name].value, score.unit)
            cells = [format_quantity(member.measurements[cost.name].value, cost.unit), paid]
            cells += [format_quantity(value, score.unit), gained]
            rows.append([str(member.number), *cells])
            trials.append(member.number)
            before = member
        if len(rows) > 1:
            heads = ["trial", cost.name, "more", score.name, "better by"]
            parts.append(f"<div>{table(heads, rows, trials=trials)}</div>")
    if not parts:
        return ""
    return (
        "<h2>What more of a cost buys</h2><p class=dim>Each row is the cheapest member of its "
        "score; the next one costs so much more and is better by so much. Costs that are not in a "
        f"table may differ.</p><div class=cards>{''.join(parts)}</div>"
    )


def _cost_then_score(cost: str, score: str, sign: int, trial: TrialView) -> tuple[float, float]:
    return trial.measurements[cost].value, -sign * trial.measurements[score].value


def _difference(value: float, unit: str) -> str:
    return f"{100 * value:+.2f} points" if unit == "ratio" else f"{value:+.3g}"
