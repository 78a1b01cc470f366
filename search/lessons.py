"""Whether the choices of `training` fit each other and the task; told before anything starts."""

from collections.abc import Mapping
from typing import Any

from objectives.distil import TeacherError, check_teacher
from objectives.tasks import Splits
from objectives.training.settings import BEST_TEACHER, NO_TEACHER
from search.document import Document, Path_
from spaces.choice import Scalar, representatives
from spaces.space import Space

PLACE: Path_ = ("space", "training")


def check_training(document: Document, space: Space, splits: Splits) -> Mapping[str, str]:
    """Teacher -> hash of what it is made of.

    Raises:
        InputError: a choice that this task has no use for, or a teacher that cannot be had, has
            no weight, or answers another question.
    """
    chosen = _chosen(space)
    if splits.train.targets.is_floating_point() and any(chosen["label_smoothing"]):
        raise document.error(
            (*PLACE, "label_smoothing"),
            "label_smoothing spreads a target over classes, and this task's targets are numbers; "
            "remove it",
        )
    teachers = [str(name) for name in chosen["teacher"] if name != NO_TEACHER]
    if teachers and not any(chosen["distil"]):
        raise document.error(
            (*PLACE, "teacher"),
            f"teacher {teachers[0]!r} has no weight; add distil: 0.5, its share of the loss",
        )
    if any(chosen["distil"]) and not teachers:
        raise document.error(
            (*PLACE, "distil"),
            "distil is the weight of a teacher, and there is none; add teacher: best, "
            "my_nets:teacher or the path of an exported model, or remove it",
        )
    try:
        return {name: check_teacher(name, splits) for name in teachers if name != BEST_TEACHER}
    except TeacherError as error:
        raise document.error((*PLACE, "teacher"), str(error)) from error


def _chosen(space: Space) -> dict[str, tuple[Scalar, ...]]:
    """Training field -> its values, or the bounds of its range; its default if left out."""
    group = space.training
    chosen: dict[str, Any] = {name: (value,) for name, value in group.part.defaults.items()}
    for choice in group.choices:
        chosen[choice.name.removeprefix(f"{group.prefix}.")] = representatives(choice.domain)
    return chosen
