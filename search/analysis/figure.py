"""The roofline of a device with a network's layers on it, as a plotly figure."""

import plotly.graph_objects as go

from objectives.layer_timing import LayerUse
from search.analysis.findings import Findings
from search.analysis.sheets import percent
from search.desk.figures import MEMBER, OTHER

DASHES = ("solid", "dash", "dashdot", "longdash")
"""Of the caches' roofs, from the smallest; the memory's is dotted."""
LABELLED = 6
"""Up to so many layers are named in the picture: the names of more would overlap."""
LEAST, LARGEST = 6, 20
"""Diameters of points; in between their areas are as the times of the layers."""


def roofline_figure(found: Findings) -> go.Figure:
    """FLOPs a second over FLOPs a byte, both on log scales: roof lines, one point a layer.

    Layers without FLOPs have no place on it; the table has their share of the time.
    """
    roofline, figure = found.analysis.roofline, go.Figure()
    shown = [use for use in found.analysis.layers if use.cost.forward_flops and use.measured]
    ridges = [roofline.peak.value / level.bandwidth.value for level in roofline.levels]
    points = [use.intensity for use in shown]
    left, right = min([*points, *ridges]) / 2, max([*points, *ridges]) * 4
    for index, (level, ridge) in enumerate(zip(roofline.levels, ridges, strict=True)):
        figure.add_scatter(
            name=f"roof: {level.name}",
            mode="lines",
            x=[left, ridge, right],
            y=[left * level.bandwidth.value, roofline.peak.value, roofline.peak.value],
            line={
                "color": OTHER,
                "dash": "dot" if level.name == "memory" else DASHES[index % len(DASHES)],
            },
        )
    figure.add_scatter(
        name="layers, timed alone (area: time)",
        mode="markers+text",
        x=points,
        y=[1e3 * use.cost.forward_flops / use.measured.value for use in shown if use.measured],
        marker={"color": MEMBER, "opacity": 0.7, "size": _diameters(shown)},
        text=[use.cost.name if len(shown) <= LABELLED else "" for use in shown],
        textposition="bottom center",
        hovertext=[
            f"{use.cost.name} {use.cost.kind}<br>{percent(found.share_of_time(use))} of the time, "
            f"{percent(use.share_of_roof)} of the roof"
            for use in shown
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_layout(legend={"orientation": "h", "y": -0.2}, height=480)
    figure.update_xaxes(title="FLOPs a byte moved", type="log", dtick="D2")
    figure.update_yaxes(title="FLOPs a second", type="log", dtick="D2", exponentformat="SI")
    return figure


def _diameters(shown: list[LayerUse]) -> list[float]:
    times = [use.measured.value for use in shown if use.measured]
    return [max(LEAST, LARGEST * (ms / max(times)) ** 0.5) for ms in times]
