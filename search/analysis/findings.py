"""What is found of a subject: its layers, its nodes as deployed, and what changes would bring."""

from dataclasses import dataclass

from objectives.layer_timing import Analysis, LayerUse, analyze_layers
from objectives.measurement import Measurement
from objectives.node_profile import NodeTime, profile_nodes
from objectives.runtimes.onnxruntime import OnnxRuntime
from search.analysis.changes import Change, changes
from search.analysis.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that is said about a subject."""

    subject: Subject
    analysis: Analysis
    latency: Measurement | None
    """Of the whole network as deployed."""
    nodes: tuple[NodeTime, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    def share_of_time(self, use: LayerUse) -> float | None:
        """A layer's time over the sum of all that were timed alone."""
        total = self.analysis.layers_ms
        return use.measured.value / total if use.measured and total else None

    def share_of_limit(self, use: LayerUse) -> float | None:
        """Its share of the time, of the deployed latency over the study's limit."""
        share, limit_ms = self.share_of_time(use), self.subject.limit_ms
        if share is None or not limit_ms or self.latency is None:
            return None
        return share * self.latency.value / limit_ms


def findings(subject: Subject, *, measure: bool, what_if: bool = True) -> Findings:
    """Layers against the roofline, the whole as deployed, and what changes would bring.

    `measure`: the changes are deployed and timed too. Without `what_if` there are none.
    """
    target, notes = subject.target, list(subject.notes)
    analysis = analyze_layers(
        subject.network, subject.inputs(), device=target.device, threads=target.threads
    )
    notes += analysis.notes
    if not analysis.parameters:
        notes.append("the network has no parameters")
    if subject.precision != "fp32":
        notes.append(f"layers are timed in fp32; the whole is deployed in {subject.precision}")
    latency: Measurement | None = None
    nodes: tuple[NodeTime, ...] = ()
    deployment = subject.deploy(subject.network, subject.precision)
    if isinstance(deployment, str):
        notes.append(f"not deployed: {deployment}")
    else:
        latency = subject.time(deployment, target.batch)
        if isinstance(target.runtime, OnnxRuntime) and target.device == "cpu":
            nodes = profile_nodes(
                deployment.artefact, subject.inputs(), target.threads, subject.network
            )
    return Findings(
        subject=subject,
        analysis=analysis,
        latency=latency,
        nodes=nodes,
        changes=tuple(changes(subject, analysis, latency, measure=measure)) if what_if else (),
        notes=tuple(notes),
    )
