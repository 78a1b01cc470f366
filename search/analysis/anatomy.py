"""Members taken apart for their cards: the graph of their layers, and what each layer costs."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

from objectives.dataflow import INPUT, Step, trace_steps
from objectives.layer_timing import layer_costs
from objectives.recording import record_calls
from objectives.runtimes.remote import PREFIX
from search.analysis.figure import roofline_figure
from search.analysis.findings import Findings, findings
from search.analysis.from_study import build, latency_limit
from search.analysis.sheets import Sheet, costs_sheet, layer_sheet, node_sheet, summary
from search.analysis.subject import Subject, told
from search.desk.anatomy import Anatomy, Line
from search.errors import InputError, RunFailedError
from search.members import some_of
from search.store.view import StudyView, TrialView
from search.study import StudySpec

MOST = 40
"""Members that are taken apart at most: the knee, the best, and others evenly along the front."""
PATIENCE_S = 20.0
"""Of taking members apart without timing them; who comes later says so."""


def anatomies(study: StudySpec, view: StudyView, *, measure: bool = False) -> dict[int, Anatomy]:
    """Trial -> what it consists of, of at most `MOST` members.

    `measure`: on the study's first target that this machine is, layers are timed and held
    against its roofline, about a second a member; else only counted.
    """
    end = time.monotonic() + PATIENCE_S
    found: dict[int, Anatomy] = {}
    for member in some_of(view, view.members, MOST):
        if time.monotonic() > end and not measure:
            found[member.number] = Anatomy(problem="there was no time; see search.report")
            continue
        try:
            found[member.number] = _anatomy(study, member, measure)
        except (InputError, RunFailedError) as error:
            found[member.number] = Anatomy(problem=str(error))
        except Exception as error:  # a user's network may fail in any way here
            found[member.number] = Anatomy(problem=told(error))
    return found


def _anatomy(study: StudySpec, member: TrialView, measure: bool) -> Anatomy:
    network, inputs, precision, notes = build(member.candidate, study)
    steps = trace_steps(network, inputs[:2])
    name = _timed_here(study) if measure else None
    if name is not None:
        subject = Subject(
            title=f"trial {member.number}",
            network=network,
            calibration=inputs,
            target=study.targets[name],
            precision=precision,
            limit_ms=latency_limit(study, name),
            study=study,
            candidate=member.candidate,
            notes=notes,
        )
        return _measured(steps, findings(subject, measure=False, what_if=False))
    if measure:
        notes = (*notes, "layers are not timed: none of the study's targets is this machine")
    called = record_calls(network, inputs[:1])
    costs, parameters, more = layer_costs(network, inputs[:1], called)
    counted = _laid_out(steps, costs_sheet(costs), {c.name: c.forward_flops for c in costs})
    facts = [("parameters", f"{parameters:,}"), ("precision", precision)]
    told_too = [("note", note) for note in (*notes, *more)]
    return dataclasses.replace(counted, summary=(*facts, *told_too))


def _timed_here(study: StudySpec) -> str | None:
    """The first target on which PyTorch can run here: not over ssh."""
    for name, target in study.timed.items():
        if not target.device.startswith(PREFIX) and target.check() is None:
            return name
    return None


def _measured(steps: Sequence[Step], found: Findings) -> Anatomy:
    flops = {use.cost.name: use.cost.forward_flops for use in found.analysis.layers}
    nodes = node_sheet(found) if found.nodes else None
    return dataclasses.replace(
        _laid_out(steps, layer_sheet(found), flops),
        summary=tuple(summary(found)),
        nodes=(nodes.heads, nodes.rows, nodes.caption) if nodes else None,
        roofline=roofline_figure(found),
    )


def _laid_out(steps: Sequence[Step], sheet: Sheet, flops: Mapping[str, int]) -> Anatomy:
    """Each row of a sheet of layers at the first step of its name."""
    rows = {row[0]: row for row in sheet.rows}
    lines = []
    for step in steps:
        # operations of a module have its name: what it computes itself stands at the first one
        row = rows.pop(step.name or "the network", None) if step.kind != INPUT else None
        kind = step.kind if row is None or row[1] == step.kind else f"{row[1]}: {step.kind}"
        lines.append(
            Line(
                name=step.name,
                kind=kind,
                shape=" x ".join(map(str, step.shape)) or "1",
                sources=step.sources,
                flops=flops.get(step.name, 0) if row else 0,
                cells=row[2:] if row else (),
            )
        )
    return Anatomy(lines=tuple(lines), heads=sheet.heads[2:], texts=max(0, sheet.texts - 2))
