"""What small changes to a subject would bring: predicted, measured, or refused with a reason."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from objectives.layer_timing import Analysis
from objectives.measurement import Measurement
from objectives.tasks import load
from objectives.what_if import Prediction, Refused, Variant, predict, variants
from search.analysis.from_study import build
from search.analysis.subject import Subject, told
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.choice import members
from spaces.compression.prune import Prune
from spaces.compression.step import StepError


@dataclass(frozen=True, kw_only=True)
class Change:
    """One row of what-if."""

    name: str
    prediction: Prediction | None = None
    latency_ms: float | None = None
    """Predicted, as deployed."""
    measured: Measurement | None = None
    reason: str = ""


def changes(
    subject: Subject, analysis: Analysis, latency: Measurement | None, *, measure: bool
) -> Iterator[Change]:
    """The changes that any network allows, then the candidate's neighbours in its space."""
    for variant in variants(subject.network, subject.inputs(), halve):
        yield _change(subject, analysis, latency, variant, subject.precision, measure=measure)
    if subject.study is None or subject.candidate is None:
        return
    for name, neighbour in neighbours(subject.candidate, subject.study):
        try:
            network, _, precision, _ = build(neighbour, subject.study)
        except Exception as error:  # of the user's own parts too
            yield Change(name=name, reason=told(error))
            continue
        variant = Variant(change=name, network=network, inputs=subject.inputs())
        yield _change(subject, analysis, latency, variant, precision, measure=measure)


def halve(network: nn.Module, inputs: Tensor) -> str | None:
    """Prune half of every hidden width; the reason if that cannot be done."""
    try:
        Prune(ratio=0.5, round_to=1).apply(network, inputs)
    except StepError as error:
        return told(error)
    return None


def _change(
    subject: Subject,
    analysis: Analysis,
    latency: Measurement | None,
    variant: Variant | Refused,
    precision: str,
    *,
    measure: bool,
) -> Change:
    if isinstance(variant, Refused):
        return Change(name=variant.change, reason=variant.reason)
    try:
        prediction = predict(variant.network, variant.inputs, analysis)
    except Exception as error:  # control flow that depends on values
        return Change(name=variant.change, reason=f"cannot be counted: {told(error)}")
    predicted_ms = None
    if latency is not None and analysis.layers_ms and precision == subject.precision:
        predicted_ms = latency.value * prediction.layers_ms / analysis.layers_ms
    measured, reason = None, ""
    if measure:
        deployment = subject.deploy(variant.network, precision)
        if isinstance(deployment, str):
            reason = f"not deployed: {deployment}"
        else:
            measured = subject.time(deployment, len(variant.inputs))
    return Change(
        name=variant.change,
        prediction=prediction,
        latency_ms=predicted_ms,
        measured=measured,
        reason=reason,
    )


def neighbours(candidate: Candidate, study: StudySpec) -> Iterator[tuple[str, Candidate]]:
    """(what changes, candidate): every choice moved one step, if that changes a cost.

    Numbers step to the next smaller and larger value, words to each other one. A continuous
    range has no step. Candidates that the task does not allow are left out.
    """
    splits, context = load(study.task), study.cost_context()
    now = study.space.encode(candidate)
    seen = {candidate.recipe_key(context)}
    for choice in study.space.open_choices:
        values = members(choice.domain) or ()
        for value in steps(values, now[choice.name]):
            near = study.space.decode({**now, choice.name: value}, splits.input_shape)
            key = near.recipe_key(context)
            legal = study.space.check(near, *splits.signature) is None
            if key not in seen and legal:
                seen.add(key)
                name = choice.name.removeprefix("architecture.").removeprefix("compression.")
                yield f"{name} {now[choice.name]} to {value}", near


def steps(values: Sequence[Any], value: Any) -> list[Any]:
    """The next smaller and larger number, or every other word; none of a continuous range."""
    if not values:
        return []
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values):
        return [each for each in values if each != value]
    ordered = sorted(values)
    place = ordered.index(value)
    return [*ordered[max(0, place - 1) : place], *ordered[place + 1 : place + 2]]
