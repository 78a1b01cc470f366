"""Fronts, plans and candidates as text for the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from objectives.measurement import Measurement
from objectives.units import format_quantity
from search.members import score_of
from search.store.summary import StudySummary
from search.store.view import StudyView, TrialView
from search.verdicts import Verdict, verdict_rows
from spaces.candidate import Candidate

LISTED = 50
"""Members of a front that a terminal shows at most."""
WIDE = 80
"""Columns from which a table of studies has room for their objectives."""


def console(*, error: bool = False) -> Console:
    """The terminal; width and colour as it has them, `NO_COLOR` respected; text as it is given."""
    return Console(stderr=error, highlight=False, soft_wrap=False, markup=False, emoji=False)


def front_table(view: StudyView, members: Sequence[TrialView]) -> Table:
    """One row a member: number, objectives with intervals, choices."""
    return _members_table([(view, member) for member in members], named=False)


def joint_front_table(members: Sequence[tuple[StudyView, TrialView]]) -> Table:
    """The same for members of several studies of equal objectives, each with its study's name."""
    return _members_table(members, named=True)


def _members_table(members: Sequence[tuple[StudyView, TrialView]], *, named: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    if named:
        table.add_column("study", overflow="fold")
    table.add_column("trial", justify="right")
    objectives = members[0][0].objectives
    for objective in objectives:
        table.add_column(objective.name, justify="right", no_wrap=True)
    table.add_column("network", overflow="fold")
    for view, trial in members:
        cells = [show(trial.measurements[o.name]) for o in objectives]
        name = [view.name] if named else []
        network = describe(trial.candidate, view.chosen)
        table.add_row(*name, str(trial.number), *cells, network)
    return table


def studies_table(found: Sequence[StudySummary], now: float, width: int) -> Table:
    """One row a study, in `width` columns. `now`: Unix seconds."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("study", overflow="fold", min_width=5)
    for column in ("candidates", "done", "front", "hypervolume"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("last run", overflow="ellipsis", no_wrap=width < WIDE)
    if width >= WIDE:
        table.add_column("objectives", min_width=10)
    for study in found:
        numbers = (study.candidates, study.done, study.members)
        volume = "" if study.hypervolume is None else f"{study.hypervolume:.3f}"
        when = f"{study.state}, {_ago(now - study.at)}"
        told = [", ".join(study.objectives)] if width >= WIDE else []
        table.add_row(study.name, *map(str, numbers), volume, when, *told)
    return table


def _ago(seconds: float) -> str:
    """How long since, in the largest unit of which there are two; `now` below two seconds."""
    for name, size in (("days", 86400), ("hours", 3600), ("min", 60), ("s", 1)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name} ago"
    return "now"


def verdict_table(view: StudyView, found: Sequence[Verdict]) -> Table:
    """Members trained anew: found and confirmed values side by side, and what follows."""
    score = score_of(view)
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("trial", f"{score.name} found", "anew", "test split")
    for column in (*columns, *(o.name for o in view.objectives if o.name != score.name)):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in verdict_rows(view, found):
        table.add_row(*row)
    return table


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Table:
    """Cells as they are, none cut: `texts` columns to the left, the numbers after them right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < texts else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def show(measurement: Measurement) -> str:
    """Value with half width of its interval where it has one; `!` where it is flagged."""
    text = format_quantity(measurement.value, measurement.unit)
    if measurement.high > measurement.low:
        half = 100 * (measurement.high - measurement.low) / 2
        relative = half if measurement.unit == "ratio" else half / abs(measurement.value or 1.0)
        text += f" ±{relative:.1f}{'' if measurement.unit == 'ratio' else '%'}"
    return f"{text} !" if measurement.flags else text


def describe(candidate: Candidate, chosen: frozenset[str] = frozenset()) -> str:
    """What a candidate is, in one line: architecture, then compression.

    `chosen`: the options to name, such as `prune.ratio`; all of them if it is empty.
    """
    parts = [(candidate.family, candidate.architecture), *candidate.compression]
    return "; ".join(f"{name} {_options(_only(name, o, chosen))}".strip() for name, o in parts)


def describe_training(candidate: Candidate, chosen: frozenset[str] = frozenset()) -> str:
    """How a candidate is trained, in one line; augmentation that is off is left out."""
    used = {k: v for k, v in candidate.augmentation.items() if v}
    training = _only("training", candidate.training, chosen)
    return _options({**training, **_only("augmentation", used, chosen)})


def _only(part: str, options: Mapping[str, Any], chosen: frozenset[str]) -> Mapping[str, Any]:
    return {k: v for k, v in options.items() if not chosen or f"{part}.{k}" in chosen}


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_value(value)}" for name, value in options.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)


def plan_lines(
    plan: Mapping[str, Any],
    units: Mapping[str, str],
    limits: Sequence[str],
    chosen: frozenset[str],
) -> list[str]:
    """The plan as lines: size of the space, three priced candidates, whether limits can be met."""
    combinations, continuous = int(plan["combinations"]), plan["continuous"]
    ranges = f" x {continuous} continuous ranges" if continuous else ""
    lines = [f"space     {_count(combinations)} combinations{ranges}"]
    for name, example in plan["examples"].items():
        costs = ", ".join(
            f"{k} {format_quantity(v, units[k])}" for k, v in example["costs"].items()
        )
        network = describe(Candidate.from_dict(example["candidate"]), chosen)
        lines.append(f"{name:9} {costs}: {network}")
    if limits:
        told = " and ".join(limits)
        lines.append(
            f"limits    {told}: met by {plan['within_limits']} of {plan['priced']} priced"
        )
        if not plan["within_limits"]:
            lines.append("          none met them: the study may end without a front")
    lines += [f"unpriced  {reason}" for reason in plan["unpriced"]]
    return lines


def failure_lines(view: StudyView) -> list[str]:
    """How many candidates failed, and the most frequent reasons; nothing if none did."""
    reasons = Counter(trial.reason for trial in view.trials if trial.status == "failed")
    lines = [f"failed    {count} x {reason}" for reason, count in reasons.most_common(3)]
    rest = sum(reasons.values()) - sum(count for _, count in reasons.most_common(3))
    return [*lines, f"failed    {rest} more; see the report"] if rest else lines


def known_line(view: StudyView) -> str:
    """What earlier studies gave: candidates, and the work that was not done again; else empty."""
    spent = [t.seconds["earlier"] for t in view.trials if "earlier" in t.seconds]
    if not spent:
        return ""
    return (
        f"{len(spent)} candidates known from earlier studies: {sum(spent):.1f} s not spent again"
    )


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**7 else f"{number:.2e}"
