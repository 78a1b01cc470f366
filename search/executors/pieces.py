"""A job whose measurements belong on other machines than its training: cut apart, put together.

Where each target is measured is told by `owners`: target -> the kind of worker that has it; any
worker measures on a target that is not named.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

from search.evaluation import COUNTED, Confirm, Evaluation, Job, Price

TRAIN = "train"
"""The kind of worker that trains, and does whatever is not bound to a machine."""
J = TypeVar("J", Price, Confirm)
_WORST_FIRST = ("lost", "away", "failed")


def pieces(job: Job, targets: Sequence[str], owners: Mapping[str, str]) -> list[tuple[str, Job]]:
    """(kind of worker, its part of the job), at least one; together they are the job."""
    kinds: dict[str, list[str]] = {}
    for target in targets:
        kinds.setdefault(owners.get(target, TRAIN), []).append(target)
    if isinstance(job, Price):
        first = next(iter(kinds), TRAIN)
        kinds = {first: [], **kinds}
        return [(kind, _on(job, own, counted=kind == first)) for kind, own in kinds.items()]
    if isinstance(job, Confirm):
        own = kinds.pop(TRAIN, [])
        # costs do not depend on weights: an untrained network is timed where its device is
        prices = Price(trial=job.trial, candidate=job.candidate, again=True)
        return [
            (TRAIN, _on(job, own, counted=True)),
            *((kind, _on(prices, timed, counted=False)) for kind, timed in kinds.items()),
        ]
    return [(TRAIN, job)]


def _on(job: J, targets: list[str], *, counted: bool) -> J:
    return dataclasses.replace(job, on=(*targets, *([COUNTED] if counted else [])))


def joined(found: Sequence[Evaluation]) -> Evaluation:
    """The evaluation of a whole job from those of its pieces, in their order."""
    if len(found) == 1:
        return found[0]
    for status in _WORST_FIRST:
        for each in found:
            if each.status == status:
                return each
    seconds: dict[str, float] = {}
    for each in found:
        for stage, spent in each.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    measured = {name: value for each in found for name, value in each.measurements.items()}
    return dataclasses.replace(found[0], measurements=measured, seconds=seconds)
