"""A candidate's training: begun or resumed, gone on with, and taken up again after a step."""

import dataclasses
from contextlib import suppress

import torch
from torch import nn

from objectives.parallel import devices_of, train_on
from objectives.tasks import Task, load
from objectives.training import Augment, Progress, Training, begin, train
from search.artifacts import Artifacts
from search.bench import Bench
from search.evaluation import Train
from search.recovery import Taught, taught
from search.study import StudySpec
from search.teachers import lesson_of
from spaces.augmentation import Augmentation
from spaces.candidate import Candidate, digest
from spaces.compression import Lesson
from spaces.compression.sparsify import held_zeros


def resume(job: Train, study: StudySpec, store: Artifacts) -> Progress:
    """The candidate's training, from its checkpoint or from the start."""
    progress = begin_training(job.candidate, study, seed_of(job.candidate, study))
    if job.checkpoint is not None:
        # one that somebody deleted costs time, not the candidate: training repeats it exactly
        with suppress(FileNotFoundError), store.open_reader(job.checkpoint) as file:
            progress.restore(torch.load(file, map_location="cpu", weights_only=True))
    return progress


def begin_training(candidate: Candidate, study: StudySpec, seed: int) -> Progress:
    """A training before its first step."""
    splits = load(study.task)
    torch.manual_seed(seed)
    return begin(
        study.space.build(candidate, *splits.signature),
        Training(**candidate.training),
        examples=len(splits.train),
        epochs=study.epochs,
        seed=seed,
    )


def train_until(
    progress: Progress,
    settings: Training,
    candidate: Candidate,
    study: StudySpec,
    bench: Bench,
    epochs: int,
    until_epoch: int,
    taught_by: Candidate | None = None,
) -> None:
    """Train on until `until_epoch` of `epochs`, on one device or several."""
    teacher = lesson_of(settings, study, bench.device, taught_by)
    train_on(
        devices_of(bench.device, bench.devices),
        progress,
        study.task,
        settings,
        Augmentation(**candidate.augmentation),
        epochs=epochs,
        until_epoch=until_epoch,
        threads=bench.threads,
        turnstile=bench.turnstile,
        teacher=teacher,
    )


def finetune(
    candidate: Candidate,
    study: StudySpec,
    bench: Bench,
    taught_by: Candidate | None,
    network: nn.Module,
    epochs: int,
    lr: float,
    lesson: Lesson | None,
) -> None:
    """Train the compressed network for a few epochs with an optimizer, and an average, of its own.

    It is not ended early: the few epochs are its whole schedule. One device does it. Weights that
    are exactly 0 stay so. `lr`: factor on the candidate's learning rate.
    """
    settings = Training(**candidate.training)
    settings = dataclasses.replace(settings, lr=lr * settings.lr, patience=0)
    task: Task = study.task
    augment: Augment = Augmentation(**candidate.augmentation)
    teacher = None
    if lesson is not None:
        task = Taught(study.task, lesson.temperature)
        augment = taught(augment, lesson, bench.device)
    else:
        teacher = lesson_of(settings, study, bench.device, taught_by)
    progress = begin(
        network,
        settings,
        examples=len(load(study.task).train),
        epochs=epochs,
        seed=seed_of(candidate, study),
    )
    with held_zeros(network):
        train(
            progress,
            task,
            settings,
            augment,
            until_epoch=epochs,
            device=bench.device,
            turnstile=bench.turnstile,
            teacher=teacher,
        )
    network.load_state_dict(progress.newest.state_dict())


def seed_of(candidate: Candidate, study: StudySpec, repetition: int = 0) -> int:
    """Fixed by the study's seed and what is trained, not by when or where."""
    train_key = candidate.train_key(study.context())
    return int((digest([train_key, repetition]) if repetition else train_key)[:7], 16)
