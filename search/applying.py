"""A candidate's steps on a fresh network: to price it, and to put stored weights back."""

import torch
from torch import Tensor, nn

from objectives.tasks import load
from search.study import StudySpec
from spaces.candidate import Candidate

CALIBRATION_PRICE, CALIBRATION_SCORE = 8, 64
"""Real inputs for the ranges of int8: speed does not depend on them, accuracy does."""


def real_inputs(study: StudySpec, count: int) -> Tensor:
    """`count` inputs evenly spaced in the training split, as a network sees them."""
    splits = load(study.task)
    rows = torch.linspace(0, len(splits.train) - 1, count).long()
    return splits.prepare(splits.train.inputs[rows])


def apply_steps(
    network: nn.Module, candidate: Candidate, study: StudySpec, example: Tensor
) -> tuple[list[object], str]:
    """(records of the steps that changed something, precision) without any fine-tuning."""
    records: list[object] = []
    precision = "fp32"
    for name, step in study.space.pipeline(candidate):
        applied = step.apply(network, example)
        precision = applied.precision or precision
        if applied.record:
            records.append([name, dict(applied.record)])
    return records, precision


def rebuild(
    candidate: Candidate, study: StudySpec, weights: dict[str, Tensor]
) -> tuple[nn.Module, str]:
    """(compressed network with its weights, precision) of a candidate that is done.

    Shapes after compression do not depend on weights, so the steps are applied to a fresh network
    and the stored weights loaded into what remains.
    """
    splits = load(study.task)
    network = study.space.build(candidate, *splits.signature).eval()
    _, precision = apply_steps(network, candidate, study, real_inputs(study, CALIBRATION_PRICE))
    network.load_state_dict(weights)
    return network.eval(), precision
