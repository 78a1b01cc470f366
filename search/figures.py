"""The figures of a report, as plotly figures."""

from collections.abc import Sequence
from itertools import accumulate, combinations

import plotly.graph_objects as go

from objectives.units import format_quantity
from search.store.view import ObjectiveView, StudyView, TrialView
from search.tables import describe

MEMBER, OTHER, BROKEN = "#2a6fdb", "#9aa4b2", "#d9822b"
"""Blue, grey and orange: told apart in print and by people who see few colours."""


def front_figures(view: StudyView) -> list[go.Figure]:
    """The front in every pair of objectives, and in three dimensions where there are three."""
    pairs = [pair_figure(view, x, y) for y, x in combinations(view.objectives, 2)]
    return [*pairs, *([space_figure(view)] if len(view.objectives) > 2 else [])]


def pair_figure(view: StudyView, x: ObjectiveView, y: ObjectiveView) -> go.Figure:
    """All measured candidates in the plane of two objectives; members with 95% intervals."""
    figure = go.Figure()
    for name, colour, symbol, trials in _groups(view):
        shown = [t for t in trials if x.name in t.measurements and y.name in t.measurements]
        if not shown:
            continue
        member = colour == MEMBER
        figure.add_scatter(
            name=name,
            mode="markers",
            x=[t.measurements[x.name].value for t in shown],
            y=[t.measurements[y.name].value for t in shown],
            error_x=_bars(shown, x) if member else None,
            error_y=_bars(shown, y) if member else None,
            marker={"color": colour, "symbol": symbol, "size": 9 if member else 6},
            text=[_hover(view, t) for t in shown],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        title=f"{y.name} against {x.name}", legend={"orientation": "h", "y": -0.25}
    )
    figure.update_xaxes(title=_axis(x), type=_scale(view, x))
    figure.update_yaxes(title=_axis(y), type=_scale(view, y))
    if x.limit is not None:
        figure.add_vline(x.limit, line_dash="dash", line_color=BROKEN)
    if y.limit is not None:
        figure.add_hline(y.limit, line_dash="dash", line_color=BROKEN)
    return figure


def space_figure(view: StudyView) -> go.Figure:
    """All finished candidates in the space of the first three objectives."""
    z, x, y = view.objectives[:3]
    figure = go.Figure()
    for name, colour, _, trials in _groups(view):
        shown = [t for t in trials if all(o.name in t.measurements for o in (x, y, z))]
        if not shown or colour == BROKEN:
            continue
        figure.add_scatter3d(
            name=name,
            mode="markers",
            **{
                a: [t.measurements[o.name].value for t in shown]
                for a, o in zip("xyz", (x, y, z), strict=True)
            },
            marker={"color": colour, "size": 5 if colour == MEMBER else 3},
            text=[_hover(view, t) for t in shown],
            hovertemplate="%{text}<extra></extra>",
        )
    axes = {
        f"{a}axis": {"title": {"text": _axis(o)}, "type": _scale(view, o)}
        for a, o in zip("xyz", (x, y, z), strict=True)
    }
    figure.update_layout(title="the front in three dimensions", scene=axes, height=560)
    return figure


def hypervolume_figure(view: StudyView) -> go.Figure:
    """Hypervolume of the front after each trial that changed it."""
    figure = go.Figure()
    last = max((t.number for t in view.trials), default=0)
    volumes = [front.hypervolume for front in view.fronts]
    # trials finish out of order: the axis is the newest trial that had finished by then
    newest = accumulate((front.trial for front in view.fronts), max)
    figure.add_scatter(
        x=[0, *newest, last],
        y=[0.0, *volumes, *volumes[-1:]],
        mode="lines",
        line={"shape": "hv", "color": MEMBER},
        name="hypervolume",
    )
    figure.update_layout(title="hypervolume over trials", showlegend=False)
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="share of the box between ideal and reference", rangemode="tozero")
    return figure


def curves_figure(view: StudyView) -> go.Figure:
    """Scores at every rung: who was stopped, and who went on."""
    figure = go.Figure()
    for name, colour, _, trials in _groups(view):
        points: tuple[list[float | None], list[float | None]] = ([], [])
        for trial in trials:
            for epochs, score in trial.curve:
                points[0].append(epochs)
                points[1].append(score.value)
            points[0].append(None)
            points[1].append(None)
        figure.add_scatter(
            x=points[0],
            y=points[1],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 1},
        )
    figure.update_layout(title="scores at the rungs", legend={"orientation": "h", "y": -0.25})
    figure.update_xaxes(title="epochs", type="log")
    figure.update_yaxes(title="validation score")
    return figure


def _groups(view: StudyView) -> list[tuple[str, str, str, tuple[TrialView, ...]]]:
    """(name, colour, symbol, trials): others first, so that members are drawn over them."""
    members = view.members
    numbers = {trial.number for trial in members}
    broken = tuple(t for t in view.trials if t.status == "infeasible")
    others = tuple(
        t for t in view.trials if t.number not in numbers and t.status in ("done", "stopped")
    )
    return [
        ("beyond a limit", BROKEN, "x", broken),
        ("dominated or stopped", OTHER, "circle", others),
        ("front", MEMBER, "diamond", members),
    ]


def _bars(trials: Sequence[TrialView], objective: ObjectiveView) -> dict[str, object]:
    measured = [trial.measurements[objective.name] for trial in trials]
    return {
        "type": "data",
        "symmetric": False,
        "array": [m.high - m.value for m in measured],
        "arrayminus": [m.value - m.low for m in measured],
        "thickness": 1,
    }


def _hover(view: StudyView, trial: TrialView) -> str:
    values = [
        f"{o.name} {format_quantity(trial.measurements[o.name].value, o.unit)}"
        for o in view.objectives
        if o.name in trial.measurements
    ]
    return "<br>".join([f"trial {trial.number}", *values, describe(trial.candidate, view.chosen)])


def _axis(objective: ObjectiveView) -> str:
    return f"{objective.name} ({objective.unit})"


def _scale(view: StudyView, objective: ObjectiveView) -> str:
    return "log" if view.scale is not None and view.scale.log[objective.name] else "linear"
