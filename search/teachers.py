"""Who teaches a candidate: a network that the study names, or a member of its own front."""

import torch
from torch import Tensor

from objectives.distil import TeacherError, teacher_outputs
from objectives.tasks import load
from objectives.training import Training, answers
from objectives.training.settings import BEST_TEACHER
from search.applying import rebuild
from search.artifacts import store_at
from search.checkpoints import weights_id
from search.study import StudySpec
from spaces.candidate import Candidate

_TOLD: dict[tuple[str, str], Tensor] = {}
"""(key of a member, device) -> its answers; a few, as each may be as large as the targets."""
MOST_TOLD = 4


def lesson_of(
    settings: Training, study: StudySpec, device: str, member: Candidate | None
) -> Tensor | None:
    """The teacher's answers (N, K) on the training split in its order; None without a teacher.

    Raises:
        TeacherError: it cannot be had.
    """
    if not settings.taught:
        return None
    if settings.teacher != BEST_TEACHER:
        return teacher_outputs(settings.teacher, study.task, device)
    return None if member is None else _member_outputs(member, study, device)


def _member_outputs(member: Candidate, study: StudySpec, device: str) -> Tensor:
    """Answers of a member as it was compressed, in fp32."""
    place = (member.key(study.context()), device)
    if place not in _TOLD:
        try:
            with store_at(study.artifacts).open_reader(weights_id(member, study)) as file:
                weights = torch.load(file, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise TeacherError("teacher best: its weights are not there any more") from error
        network = rebuild(member, study, weights)[0].to(device)

        def run(inputs: Tensor) -> Tensor:
            outputs: Tensor = network(inputs.to(device))
            return outputs.float().cpu()

        splits = load(study.task)
        with torch.inference_mode():
            told = answers(run, splits.train.inputs, splits)
        while len(_TOLD) >= MOST_TOLD:
            del _TOLD[next(iter(_TOLD))]
        _TOLD[place] = told.clone()  # outside inference mode: a loss may need its gradient
    return _TOLD[place]
