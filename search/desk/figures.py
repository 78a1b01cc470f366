"""The figures of a report, as plotly figures; each point carries its trial's number."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from typing import Any

import numpy as np
import plotly.graph_objects as go

from objectives.units import format_quantity, with_unit
from search.desk.importance import flat
from search.store.view import ObjectiveView, StudyView, TrialView
from search.tables import describe

MEMBER, OTHER, BROKEN = "#2a6fdb", "#9aa4b2", "#d9822b"
"""Blue, grey and orange: told apart in print and by people who see few colours."""
FRONT, DOMINATED, INFEASIBLE = "front", "dominated or stopped", "beyond a limit"
TICKS, NOTCHES = 12, 50
"""Named ticks of an axis of a choice, at most; steps between two of a logarithmic one."""
SILENT = {"hoverinfo": "skip", "showlegend": False}
CHOSEN = "chosen"
"""Name of the trace that shows the trial which is looked at; see `desk.js`."""


def front_figures(view: StudyView) -> dict[str, go.Figure]:
    """The front in every pair of objectives, and in three dimensions where there are three."""
    pairs = {
        f"pair-{number}": pair_figure(view, x, y)
        for number, (y, x) in enumerate(combinations(view.objectives, 2))
    }
    return {**pairs, **({"space": space_figure(view)} if len(view.objectives) > 2 else {})}


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
            **_told(view, shown),
        )
    ring = {"symbol": "circle-open", "size": 18, "color": MEMBER, "line": {"width": 3}}
    figure.add_scatter(name=CHOSEN, mode="markers", x=[], y=[], marker=ring, **SILENT)
    figure.update_layout(
        title=f"{y.name} against {x.name}", legend={"orientation": "h", "y": -0.25}
    )
    figure.update_xaxes(**_axis_of(view, x))
    figure.update_yaxes(**_axis_of(view, y))
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
            **_told(view, shown),
        )
    ring = {"symbol": "circle-open", "size": 14, "color": MEMBER, "line": {"width": 4}}
    figure.add_scatter3d(name=CHOSEN, mode="markers", x=[], y=[], z=[], marker=ring, **SILENT)
    axes = {f"{a}axis": _axis_of(view, o) for a, o in zip("xyz", (x, y, z), strict=True)}
    figure.update_layout(title="the front in three dimensions", scene=axes, height=560)
    return figure


def hypervolume_figures(view: StudyView) -> dict[str, go.Figure]:
    """Hypervolume of the front after each trial that changed it, over trials and over time."""
    last = max((t.number for t in view.trials), default=0)
    # trials finish out of order: the axis is the newest trial that had finished by then
    newest = accumulate((front.trial for front in view.fronts), max)
    minutes = [running_s(view, front.at) / 60 for front in view.fronts]
    end = running_s(view, max((run["ended_at"] or 0.0 for run in view.runs), default=0.0)) / 60
    return {
        "over-trials": _growth(view, [0, *newest, last], "trials", "trial"),
        "over-time": _growth(
            view,
            [0.0, *minutes, max([end, *minutes])],
            "time",
            "minutes in which a run went on",
        ),
    }


def _growth(view: StudyView, x: Sequence[float], over: str, axis: str) -> go.Figure:
    volumes = [front.hypervolume for front in view.fronts]
    figure = go.Figure()
    figure.add_scatter(
        x=x,
        y=[0.0, *volumes, *(volumes[-1:] or [0.0])],
        mode="lines",
        line={"shape": "hv", "color": MEMBER},
        name="hypervolume",
    )
    figure.update_layout(title=f"hypervolume over {over}", showlegend=False)
    figure.update_xaxes(title=axis)
    figure.update_yaxes(title="share of the box between ideal and reference", rangemode="tozero")
    return figure


def running_s(view: StudyView, at: float) -> float:
    """Seconds until `at` in which one run of the study, or several, went on."""
    spans = sorted(
        (run["started_at"], run["ended_at"] or run["heartbeat_at"]) for run in view.runs
    )
    total, until = 0.0, -float("inf")
    for start, end in spans:
        total += max(0.0, min(end, at) - max(start, until))
        until = max(until, end)
    return total


def importance_figure(objective: str, shares: Mapping[str, float], explained: float) -> go.Figure:
    """Bars: how much of what an objective's values differ by goes with each choice."""
    names = sorted(shares, key=lambda name: shares[name])
    figure = go.Figure()
    figure.add_bar(
        orientation="h",
        x=[shares[name] for name in names],
        y=names,
        marker={"color": MEMBER},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    title = f"what decides {objective} (told from the choices: {explained:.0%})"
    figure.update_layout(title=title, showlegend=False)
    figure.update_yaxes(automargin=True)
    figure.update_xaxes(title="share", tickformat=".0%", rangemode="tozero")
    return figure


def parallel_figure(view: StudyView, choices: Sequence[str]) -> go.Figure:
    """Candidates that are done as lines across objectives and `choices`; members in blue."""
    members = {trial.number for trial in view.members}
    done = (trial for trial in view.trials if trial.status == "done")
    shown = sorted(done, key=lambda trial: trial.number in members)  # these are drawn last
    dimensions: list[dict[str, Any]] = []
    for objective in view.objectives:
        values = [t.measurements[objective.name].value for t in shown]
        if _scale(view, objective) == "log":
            dimensions.append(_logarithmic(objective, values))
        else:
            dimensions.append({"label": objective.name, "values": values})
    taken = [flat(t.candidate) for t in shown]
    dimensions += [_categories(name, [each.get(name) for each in taken]) for name in choices]
    figure = go.Figure()
    figure.add_parcoords(
        dimensions=dimensions,
        line={
            "color": [float(t.number in members) for t in shown],
            "colorscale": [[0, OTHER], [1, MEMBER]],
            "cmin": 0,
            "cmax": 1,
        },
        labelangle=-20,
        labelside="top",
    )
    figure.update_layout(
        meta={"trials": [t.number for t in shown]},
        margin={"l": 70, "r": 110, "t": 110, "b": 30},
        height=460,
    )
    return figure


def _logarithmic(objective: ObjectiveView, values: Sequence[float]) -> dict[str, Any]:
    """An axis of logarithms with ticks at quantities."""
    logs = np.log10(np.maximum(values, 1e-300))
    # a range that is drawn snaps to ticks: there are many, of which few are named
    ticks = np.linspace(logs.min(), logs.max(), 4 * NOTCHES + 1)
    return {
        "label": objective.name,
        "values": logs.tolist(),
        "tickvals": ticks.tolist(),
        "ticktext": [
            "" if place % NOTCHES else format_quantity(float(10**tick), objective.unit)
            for place, tick in enumerate(ticks)
        ],
    }


def _categories(name: str, values: Sequence[object]) -> dict[str, Any]:
    """An axis of a choice: numbers by their place among all that occur, `-` where inactive."""
    kinds = sorted({v for v in values if v is not None}, key=lambda v: (isinstance(v, str), v))
    order: list[object] = [*([None] if None in values else []), *kinds]
    named = {round(i * (len(order) - 1) / (TICKS - 1)) for i in range(TICKS)}
    words = ["-" if value is None else _short(value) for value in order]
    return {
        "label": name,
        "values": [order.index(value) for value in values],
        "tickvals": list(range(len(order))),
        "ticktext": [word if place in named else "" for place, word in enumerate(words)],
    }


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
    figure.update_layout(
        title="scores at the rungs, the last compressed",
        legend={"orientation": "h", "y": -0.25},
    )
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
        (INFEASIBLE, BROKEN, "x", broken),
        (DOMINATED, OTHER, "circle", others),
        (FRONT, MEMBER, "diamond", members),
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


def _told(view: StudyView, trials: Sequence[TrialView]) -> dict[str, Any]:
    """What is told of points under the pointer, and by which number they are known."""
    return {
        "text": [_hover(view, trial) for trial in trials],
        "customdata": [trial.number for trial in trials],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hover(view: StudyView, trial: TrialView) -> str:
    values = [
        f"{o.name} {format_quantity(trial.measurements[o.name].value, o.unit)}"
        for o in view.objectives
        if o.name in trial.measurements
    ]
    return "<br>".join([f"trial {trial.number}", *values, describe(trial.candidate, view.chosen)])


def _axis_of(view: StudyView, objective: ObjectiveView) -> dict[str, Any]:
    """Title, kind and ticks of an axis."""
    shares = {"tickformat": ".0%"} if objective.unit == "ratio" else {}
    return {
        "title": {"text": with_unit(objective.name, objective.unit)},
        "type": _scale(view, objective),
        **shares,
    }


def _scale(view: StudyView, objective: ObjectiveView) -> str:
    return "log" if view.scale is not None and view.scale.log[objective.name] else "linear"
