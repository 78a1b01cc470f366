"""Findings as JSON data: times in ms, all else in base units."""

import dataclasses
from typing import Any

from objectives.layer_timing import LayerUse
from objectives.measurement import Measurement
from objectives.roofline import Level, Roofline
from search.analysis.changes import Change
from search.analysis.findings import Findings
from search.analysis.subject import Subject


def as_data(found: Findings) -> dict[str, Any]:
    """All that was found, with every sample."""
    subject, analysis = found.subject, found.analysis
    return {
        "subject": subject.title,
        "candidate": subject.candidate.as_dict() if subject.candidate else None,
        "target": _target(subject),
        "roofline": _roofline(analysis.roofline),
        "flops": analysis.flops,
        "parameters": analysis.parameters,
        "moved_bytes": analysis.moved_bytes,
        "layers_ms": analysis.layers_ms,
        "eager": _plain(analysis.eager),
        "deployed": _plain(found.latency),
        "limit_ms": subject.limit_ms,
        "layers": [_layer(use, found) for use in analysis.layers],
        "nodes": [dataclasses.asdict(node) for node in found.nodes],
        "what_if": [_change(change) for change in found.changes],
        "notes": list(found.notes),
    }


def _target(subject: Subject) -> dict[str, Any]:
    return {
        "device": subject.target.device,
        "threads": subject.target.threads,
        "batch": subject.target.batch,
        "runtime": type(subject.target.runtime).__name__,
        "precision": subject.precision,
    }


def _roofline(roofline: Roofline) -> dict[str, Any]:
    return {
        "peak": _plain(roofline.peak),
        "levels": [_level(level) for level in roofline.levels],
        "empty_call": _plain(roofline.call),
    }


def _level(level: Level) -> dict[str, Any]:
    return {
        "name": level.name,
        # JSON has no infinity
        "capacity_bytes": None if level.name == "memory" else level.capacity_bytes,
        "bandwidth": _plain(level.bandwidth),
    }


def _layer(use: LayerUse, found: Findings) -> dict[str, Any]:
    return {
        "name": use.cost.name,
        "kind": use.cost.kind,
        "flops": use.cost.forward_flops,
        "backward_flops": use.cost.backward_flops,
        "macs": use.cost.macs,
        "parameters": use.cost.parameters,
        "output_elements": use.cost.output_elements,
        "moved_bytes": use.moved_bytes,
        "flops_per_byte": use.intensity,
        "attainable_flops_s": use.attainable_flops_s,
        "bound": use.bound,
        "level": use.level,
        "roof_ms": use.roof_ms,
        "measured": _plain(use.measured),
        "share_of_time": found.share_of_time(use),
        "share_of_roof": use.share_of_roof,
        "share_of_limit": found.share_of_limit(use),
        "details": dict(use.cost.details),
        "note": use.note or use.cost.note,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "change": change.name,
        **(dataclasses.asdict(change.prediction) if change.prediction else {}),
        "predicted_latency_ms": change.latency_ms,
        "measured": _plain(change.measured),
        "reason": change.reason,
    }


def _plain(measured: Measurement | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    return {**dataclasses.asdict(measured), "samples": list(measured.samples)}
