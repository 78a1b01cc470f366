"""A candidate's compression steps on its trained network, with training where a step asks."""

import copy
import functools

from torch import nn

from search.applying import CALIBRATION_PRICE, real_inputs
from search.bench import Bench
from search.learning import finetune
from search.recovery import Recovery
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.compression import Learner


def compress(
    network: nn.Module,
    candidate: Candidate,
    study: StudySpec,
    bench: Bench,
    taught_by: Candidate | None = None,
) -> str:
    """Apply the steps to a trained network, fine-tuning where one asks; returns the precision."""
    precision, steps = "fp32", study.space.pipeline(candidate)
    example = real_inputs(study, CALIBRATION_PRICE)
    recover = functools.partial(finetune, candidate, study, bench, taught_by)
    trainer = Recovery(copy.deepcopy(network).eval(), study.task, recover)
    for _, step in steps:
        if isinstance(step, Learner):
            applied = step.learn(network, example, trainer)
        else:
            applied = step.apply(network, example)
            trainer.train(network, applied.finetune_epochs)
        precision = applied.precision or precision
    network.eval()
    return precision
