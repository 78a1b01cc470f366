"""Write the report of a study: python -m search.report study.yaml."""

import argparse
import html
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands import DONE, guarded

if TYPE_CHECKING:
    from search.store.view import StudyView, TrialView


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and write; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.report", description="Write the report of a study as one HTML file."
    )
    parser.add_argument("study", help="study file, or the name of a study with --storage")
    parser.add_argument("--storage", help="database URL, where a name is given")
    parser.add_argument("--to", type=Path, help="file to write; default reports/NAME.html")
    return guarded(lambda: _report(parser.parse_args(arguments)))


def _report(options: argparse.Namespace) -> int:
    from search.store.view import view_of

    view = view_of(options.study, options.storage)
    path = options.to or report_path(view.name)
    write_report(view, path)
    print(path)
    return DONE


def report_path(name: str) -> Path:
    """Where the report of a study lies unless told otherwise."""
    from search.address import as_file_name

    return Path("reports") / f"{as_file_name(name)}.html"


def write_report(view: "StudyView", path: Path) -> None:
    """Write the page; whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    from search.page import write_page

    write_page(page(view), path, place="report", remedy="; use --to")


def page(view: "StudyView") -> str:
    """The report as HTML: answer, front, figures, what was spent and saved; opens offline."""
    from search.figures import curves_figure, front_figures, hypervolume_figure
    from search.page import drawn, framed

    figures = [*front_figures(view), hypervolume_figure(view), curves_figure(view)]
    body = "\n".join(
        [
            f"<h1>{html.escape(view.name)}</h1>",
            f"<p class=dim>{_when(view)}</p>",
            _answer(view),
            "<h2>The front</h2>",
            _front_table(view),
            _confirmed(view),
            _compressed(view),
            "<h2>Figures</h2><div class=figures>",
            *(drawn(figure) for figure in figures),
            "</div><h2>What was spent, and what was saved</h2>",
            _spent(view),
            "<h2>How the costs were measured</h2>",
            _timings(view),
            _conditions(view),
        ]
    )
    return framed(view.name, body)


def _when(view: "StudyView") -> str:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(view.created_at))
    return f"started {started}, {len(view.runs)} run(s), {len(view.trials)} candidates"


def _answer(view: "StudyView") -> str:
    """Which network to take: the best score and the knee."""
    from search.members import best, knee_of, no_front_reason
    from search.tables import describe, show

    if not view.members:
        return f"<p class=answer>No front: {html.escape(no_front_reason(view))}</p>"
    lines = []
    for label, trial in (
        ("Best score", best(view, view.members)),
        ("Knee (nearest to the ideal)", knee_of(view, view.members)),
    ):
        values = html.escape(
            ", ".join(f"{o.name} {show(trial.measurements[o.name])}" for o in view.objectives)
        )
        network = html.escape(describe(trial.candidate, view.chosen))
        lines.append(
            f"<p><b>{label}: trial {trial.number}</b>, {values}<br><code>{network}</code></p>"
        )
    limits = [o for o in view.objectives if o.limit is not None]
    told = (
        f"<p class=dim>All members keep the limits ({', '.join(map(_limit, limits))}).</p>"
        if limits
        else ""
    )
    return f"<div class=answer>{''.join(lines)}{told}</div>"


def _limit(objective: object) -> str:
    from objectives.units import format_quantity
    from search.store.view import ObjectiveView

    assert isinstance(objective, ObjectiveView)
    assert objective.limit is not None
    sign = "at most" if objective.direction == "minimize" else "at least"
    limit = format_quantity(objective.limit, objective.unit)
    return html.escape(f"{objective.name} {sign} {limit}")


def _front_table(view: "StudyView") -> str:
    """One row a member, with intervals and all choices."""
    from search.tables import describe, describe_training, show

    head = "".join(f"<th class=number>{html.escape(o.name)}" for o in view.objectives)
    rows = []
    for trial in view.members:
        values = [show(trial.measurements[o.name]) for o in view.objectives]
        network = html.escape(describe(trial.candidate, view.chosen))
        training = html.escape(describe_training(trial.candidate, view.chosen))
        numbers = "".join(f"<td class=number>{value}" for value in (trial.number, *values))
        rows.append(
            f"<tr>{numbers}<td><code>{network}</code><td class=dim><code>{training}</code>"
        )
    return (
        "<div class=wide><table><caption>Values with the half width of their 95% interval; "
        "'!' marks a measurement to doubt.</caption>"
        f"<tr><th class=number>trial{head}<th>network<th>training{''.join(rows)}</table></div>"
    )


def _confirmed(view: "StudyView") -> str:
    """Members trained anew with further seeds, if they were."""
    from search.members import score_of
    from search.verdicts import reasons, verdict_rows, verdicts

    found = verdicts(view)
    if not found:
        return ""
    score = score_of(view).name
    costs = [o.name for o in view.objectives if o.name != score]
    heads = ["trial", f"{score} found", "anew", "test split", *costs]
    head = "".join(f"<th class=number>{html.escape(each)}" for each in heads)
    rows = "".join(
        "<tr>"
        + "".join(f"<td class=number>{html.escape(cell)}" for cell in cells[:-1])
        + f"<td>{html.escape(cells[-1])}"
        for cells in verdict_rows(view, found)
    )
    return (
        "<h2>Which members hold</h2><div class=wide><table><caption>Trained anew with "
        f"{max(verdict.seeds for verdict in found)} further seeds: mean score on the validation "
        "split and, with standard deviation, on the test split, which the search never saw; "
        "costs as found and as measured anew ('!': each value is to be doubted).</caption>"
        f"<tr>{head}<th>{rows}</table></div>"
        + "".join(f"<p>{html.escape(line)}</p>" for line in reasons(found))
    )


def _compressed(view: "StudyView") -> str:
    """What compression gave the members: by FLOPs, and by the clock."""
    from search.origins import speed_ups
    from search.tables import describe

    found = speed_ups(view)
    if not found:
        return ""
    steps = {t.number: describe(t.candidate, view.chosen).partition("; ")[2] for t in view.members}
    latencies = sorted({name for each in found for name in each.measured})
    head = "".join(f"<th class=number>{html.escape(name)}, measured" for name in latencies)
    rows = []
    for each in found:
        ratios = [each.by_flops, *(each.measured.get(name) for name in latencies)]
        cells = ["-" if ratio is None else f"{ratio:.2f} x" for ratio in ratios]
        numbers = "".join(f"<td class=number>{cell}" for cell in (each.trial, *cells))
        rows.append(f"<tr>{numbers}<td><code>{html.escape(steps[each.trial])}</code>")
    return (
        "<h2>What compression gave</h2><div class=wide><table><caption>Each member beside the "
        "same network uncompressed: how much faster FLOPs promise it to be, and how much faster "
        "it is. int8 changes no FLOPs.</caption>"
        "<tr><th class=number>trial<th class=number>by FLOPs"
        f"{head}<th>compression{''.join(rows)}</table></div>"
    )


def _spent(view: "StudyView") -> str:
    """Candidates by outcome with the seconds they took."""
    from search.tables import known_line

    rows = []
    for status in ("done", "stopped", "hopeless", "infeasible", "unbuildable", "failed"):
        trials = [trial for trial in view.trials if trial.status == status]
        if trials:
            rows.append(_spent_row(status, trials))
    repeats = (
        f"<p>{view.num_repeats} repeats were answered from the store.</p>"
        if view.num_repeats
        else ""
    )
    known = f"<p>{html.escape(line)}.</p>" if (line := known_line(view)) else ""
    return (
        "<div class=wide><table><tr><th>outcome<th class=number>candidates<th class=number>seconds"
        f"<th>the last reason{''.join(rows)}</table></div>{repeats}{known}"
    )


def _spent_row(status: str, trials: "list[TrialView]") -> str:
    from search.evaluation import worked_s

    seconds = sum(worked_s(trial.seconds) for trial in trials)
    reason = html.escape(trials[-1].reason)
    return (
        f"<tr><td>{status}<td class=number>{len(trials)}<td class=number>{seconds:.1f}<td>{reason}"
    )


def _timings(view: "StudyView") -> str:
    """What a median does not say: percentiles, throughput, first call, and why to doubt it."""
    from objectives.units import format_quantity

    rows = []
    for trial in view.members:
        for name, measured in trial.measurements.items():
            told = measured.details
            if "p50" not in told:
                continue
            shown = [measured.value, *(told[key] for key in ("p50", "p90", "p99", "first_ms"))]
            cells = [str(trial.number), name, *(format_quantity(v, "ms") for v in shown)]
            cells.append(f"{told['per_second']:,.0f}")
            numbers = "".join(f"<td class=number>{html.escape(cell)}" for cell in cells)
            rows.append(f"<tr>{numbers}<td>{html.escape('; '.join(measured.flags))}")
    if not rows:
        return ""
    heads = ("trial", "objective", "value", "p50", "p90", "p99", "first call", "inputs a second")
    head = "".join(f"<th class=number>{each}" for each in heads)
    return (
        "<div class=wide><table><caption>The value is that of an undisturbed call; percentiles "
        f"are those of all samples.</caption><tr>{head}<th>doubts{''.join(rows)}</table></div>"
    )


def _conditions(view: "StudyView") -> str:
    """The conditions of the members' costs; values of other conditions do not compare."""
    found: dict[str, str] = {}
    for trial in view.members:
        for name, measured in trial.measurements.items():
            told = ", ".join(
                f"{k} {v}" for k, v in sorted(measured.conditions.items()) if k != "precision"
            )
            if told:
                found.setdefault(name, told)
    rows = "".join(f"<tr><td>{html.escape(k)}<td>{html.escape(v)}" for k, v in found.items())
    return f"<div class=wide><table>{rows}</table></div>"


if __name__ == "__main__":
    sys.exit(main())
