"""Findings as text: a summary, and the tables of layers, deployed nodes and changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from objectives.complexity import LayerCost
from objectives.layer_timing import LayerUse, moved_bytes
from objectives.measurement import Measurement
from objectives.units import format_quantity
from search.analysis.changes import Change
from search.analysis.findings import Findings
from search.tables import show


@dataclass(frozen=True)
class Sheet:
    """A table: text, then numbers to the right."""

    title: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int
    """So many leading columns are text."""


def summary(found: Findings) -> list[tuple[str, str]]:
    """(what, in words) of the device's roofs and the network's totals."""
    analysis, target, limit_ms = found.analysis, found.subject.target, found.subject.limit_ms
    roofline = analysis.roofline
    threads = f"{target.threads} thread{'s' * (target.threads > 1)}"
    roofs = [f"{level.name} {_rate(level.bandwidth)}" for level in roofline.levels]
    lines = [
        (
            "device",
            f"{roofline.peak.conditions['device']}, {target.device}, {threads}, "
            f"batch {target.batch}",
        ),
        (
            "roofs",
            f"{_rate(roofline.peak)}; {', '.join(roofs)}; "
            f"an empty call takes {show(roofline.call)}",
        ),
        (
            "network",
            f"{format_quantity(analysis.flops, 'flops')}, "
            f"{_count(analysis.parameters) if analysis.parameters else 'no'} parameters, "
            f"{format_quantity(analysis.moved_bytes, 'bytes')} moved",
        ),
        (
            "eager",
            f"{show(analysis.eager)} as a whole; "
            f"{format_quantity(analysis.layers_ms, 'ms')} is the sum of the layers timed alone",
        ),
    ]
    if found.latency is not None:
        runtime = f"{found.latency.conditions['clock']} clock, {type(target.runtime).__name__}"
        used = f", {found.latency.value / limit_ms:.0%} of the limit" if limit_ms else ""
        lines.append(("deployed", f"{show(found.latency)} ({runtime}){used}"))
    return [*lines, *(("note", note) for note in found.notes)]


def sheets(found: Findings) -> tuple[Sheet, ...]:
    """Layers, nodes as deployed where they are known, what-if."""
    nodes = (node_sheet(found),) if found.nodes else ()
    return (layer_sheet(found), *nodes, _change_sheet(found))


def percent(share: float | None) -> str:
    """A share as it stands in a table."""
    return "-" if share is None else f"{share:.1%}"


def costs_sheet(costs: Sequence[LayerCost]) -> Sheet:
    """What layers compute, hold and move, without a device."""
    heads = ("layer", "kind", "FLOPs", "param.", "moved", "FLOPs/B")
    rows = [
        (
            cost.name or "the network",
            cost.kind,
            _count(cost.forward_flops),
            _count(cost.parameters),
            format_quantity(moved, "bytes") if (moved := moved_bytes(cost)) else "-",
            f"{cost.forward_flops / moved:.2f}" if moved and cost.forward_flops else "-",
        )
        for cost in costs
    ]
    return Sheet("Layers", "counted for one input in float32", heads, tuple(rows), texts=2)


def layer_sheet(found: Findings) -> Sheet:
    """Layers against the roofline."""
    heads = ["layer", "kind", "bound", "FLOPs", "param.", "moved", "FLOPs/B", "attainable"]
    heads += ["at roof", "measured", "of time", "of roof", "of limit"]
    rows = [
        (
            *_costs_of(use),
            format_quantity(use.roof_ms, "ms") if _works(use) else "-",
            show(use.measured) if use.measured else "-",
            percent(found.share_of_time(use)),
            percent(use.share_of_roof if _works(use) else None),
            percent(of_limit) if (of_limit := found.share_of_limit(use)) is not None else "",
        )
        for use in found.analysis.layers
    ]
    caption = "each timed alone in eager PyTorch on its inputs of one pass"
    if any(row[-1] for row in rows):
        caption += "; of limit: its share of the time, of the deployed latency over the limit"
    return _filled("Layers", caption, heads, rows, texts=3)


def _costs_of(use: LayerUse) -> tuple[str, ...]:
    bound = use.level if use.bound == "memory" else use.bound
    return (
        use.cost.name or "the network",
        use.cost.kind,
        bound if _works(use) else "-",
        _count(use.cost.forward_flops),
        _count(use.cost.parameters),
        format_quantity(use.moved_bytes, "bytes") if use.moved_bytes else "-",
        f"{use.intensity:.2f}" if use.intensity else "-",
        f"{_count(round(use.attainable_flops_s))}/s" if use.intensity else "-",
    )


def _works(use: LayerUse) -> bool:
    """Whether it computes or moves anything: a view does neither, no roof is above it."""
    return bool(use.cost.forward_flops or use.moved_bytes)


def node_sheet(found: Findings) -> Sheet:
    """What ONNX Runtime executes."""
    total_ms = sum(node.mean_ms for node in found.nodes)
    rows = [
        (
            node.name,
            node.operation,
            node.layer,
            format_quantity(node.mean_ms, "ms"),
            percent(node.mean_ms / total_ms if total_ms else None),
        )
        for node in found.nodes
    ]
    caption = (
        "the nodes that ONNX Runtime runs, by its own profiler, in whole microseconds and "
        "slowed by it: shares tell more than sums"
    )
    heads = ("node", "operation", "layer", "mean", "of time")
    return _filled("As deployed", caption, heads, rows, texts=3)


def _change_sheet(found: Findings) -> Sheet:
    heads = ("what if", "remark", "FLOPs", "param.", "moved", "latency predicted", "measured")
    rows = [_change_row(change, found) for change in found.changes]
    return _filled("What if", "what small changes would bring", heads, rows, texts=2)


def _change_row(change: Change, found: Findings) -> tuple[str, ...]:
    new, old, measured = change.prediction, found.analysis, ""
    if new is None:
        return (change.name, change.reason, "", "", "", "", "")
    if change.measured:
        measured = f"{show(change.measured)} {_against(change.measured.value, found.latency)}"
    return (
        change.name,
        change.reason,
        _relative(new.flops, old.flops),
        _relative(new.parameters, old.parameters),
        _relative(new.moved_bytes, old.moved_bytes),
        _against(change.latency_ms, found.latency),
        measured,
    )


def _filled(
    title: str, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int
) -> Sheet:
    """The sheet of the columns that have something to say."""
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return Sheet(
        title,
        caption,
        heads=tuple(heads[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in rows),
        texts=sum(i < texts for i in kept),
    )


def _rate(measured: Measurement) -> str:
    base = measured.unit.removesuffix("/s")
    doubt = " !" if measured.flags else ""
    return f"{format_quantity(measured.value, base)}/s{doubt}"


def _count(number: int) -> str:
    """A count: three digits and a prefix, a small one as it is."""
    return str(number or "-") if number < 1000 else format_quantity(number, "parameters")


def _relative(new: float, old: float) -> str:
    return f"{new / old - 1:+z.0%}" if old else "-"


def _against(value_ms: float | None, latency: Measurement | None) -> str:
    return "-" if value_ms is None or latency is None else _relative(value_ms, latency.value)
