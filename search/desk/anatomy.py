"""A member taken apart, as HTML: the graph of its layers beside their table."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from search.desk.page import slot
from search.desk.tables import facts, table

ROW = 24
"""Height of a line of the table in pixels, as in `desk.css`: the graph is drawn to it."""
LANE, WIDEST = 10, 140
"""Pixels between two connections side by side, and of all of them at most."""
SMALLEST, LARGEST = 2.5, 7.0
"""Radii of steps; in between their areas are as their FLOPs."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A step of the network: a layer, or an operation between layers."""

    name: str
    kind: str
    shape: str
    """Of what it writes, without the batch."""
    sources: tuple[int, ...]
    """Lines whose steps wrote what it reads."""
    flops: int
    cells: tuple[str, ...]
    """What is told of it, by `Anatomy.heads`."""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What a network consists of, step by step, and what each costs."""

    lines: tuple[Line, ...] = ()
    heads: tuple[str, ...] = ()
    texts: int = 0
    """So many leading columns of `heads` are text."""
    summary: tuple[tuple[str, str], ...] = ()
    """(what, in words)."""
    nodes: tuple[Sequence[str], Sequence[Sequence[str]], str] | None = None
    """(heads, rows, caption) of what the runtime executes."""
    roofline: Any = None
    """A plotly figure."""
    problem: str = ""
    """Why there is nothing to tell."""


def anatomy_html(anatomy: Anatomy, trial: int) -> str:
    """The part of a member's card that tells its layers."""
    if anatomy.problem:
        return f"<p class=dim>Its layers are not shown: {html.escape(anatomy.problem)}</p>"
    parts = [
        "<h4>Its layers, from the input down; areas of the points are as FLOPs</h4>",
        facts(anatomy.summary),
        _layers(anatomy),
    ]
    if anatomy.nodes:
        heads, rows, caption = anatomy.nodes
        parts.append("<h4>As deployed</h4>" + table(heads, rows, caption=caption, texts=(0, 1, 2)))
    if anatomy.roofline is not None:
        parts.append("<h4>Against the roofline</h4>" + slot(roofline_name(trial), "the roofline"))
    return "".join(parts)


def roofline_name(trial: int) -> str:
    """Of the figure of a trial."""
    return f"roofline-{trial}"


def _layers(anatomy: Anatomy) -> str:
    heads = ["", "layer", "kind", "writes", *anatomy.heads]
    head = "".join(
        f"<th scope=col{_number(at - 4, anatomy)}>{html.escape(text) or 'graph'}</th>"
        for at, text in enumerate(heads)
    )
    rows = []
    for at, line in enumerate(anatomy.lines):
        graph = f"<td class=graph rowspan={len(anatomy.lines)}>{_graph(anatomy.lines)}</td>"
        words = "".join(f"<td>{html.escape(w)}</td>" for w in (line.name, line.kind, line.shape))
        cells = "".join(
            f"<td{_number(place, anatomy)}>{html.escape(cell)}</td>"
            for place, cell in enumerate(line.cells or [""] * len(anatomy.heads))
        )
        rows.append(f"<tr>{graph if at == 0 else ''}{words}{cells}</tr>")
    return (
        f'<div class="wide layers" tabindex=0><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _number(place: int, anatomy: Anatomy) -> str:
    return " class=number" if place >= anatomy.texts else ""


def _graph(lines: Sequence[Line]) -> str:
    """The connections as SVG: neighbours by a straight line, all others around what they skip."""
    skips = sorted(
        ((start, end) for end, line in enumerate(lines) for start in line.sources),
        key=lambda skip: skip[1] - skip[0],
    )
    lanes: dict[tuple[int, int], int] = {}
    for skip in skips:
        if skip[1] - skip[0] == 1:
            continue
        taken = {lane for other, lane in lanes.items() if _overlap(skip, other)}
        lanes[skip] = next(lane for lane in range(1, len(skips) + 2) if lane not in taken)
    most = max(lanes.values(), default=0)
    pitch = min(LANE, WIDEST / max(most, 1))
    trunk = most * pitch + LARGEST + 2
    paths = []
    for start, end in skips:
        x, top, bottom = trunk - lanes.get((start, end), 0) * pitch, _middle(start), _middle(end)
        paths.append(
            f"M{trunk:g} {top:g}V{bottom:g}"
            if (start, end) not in lanes
            else f"M{trunk:g} {top:g}Q{x:g} {top:g} {x:g} {top + ROW / 2:g}"
            f"V{bottom - ROW / 2:g}Q{x:g} {bottom:g} {trunk:g} {bottom:g}"
        )
    largest = max((line.flops for line in lines), default=0) or 1
    points = "".join(
        f'<circle cx="{trunk:g}" cy="{_middle(at):g}" '
        f'r="{max(SMALLEST, LARGEST * (line.flops / largest) ** 0.5):.1f}"/>'
        for at, line in enumerate(lines)
    )
    label = f"{len(lines) - 1} steps, {len(lanes)} connections that skip some"
    return (
        f'<svg role=img aria-label="{label}" width="{trunk + LARGEST + 2:g}" '
        f'height="{ROW * len(lines)}"><path d="{"".join(paths)}"/>{points}</svg>'
    )


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _middle(line: int) -> float:
    return ROW * (line + 0.5)
