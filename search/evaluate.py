"""ONE CANDIDATE'S LIFE, as far as a worker lives it: price, train, compress, score.

`evaluate` never raises: whatever goes wrong with a candidate becomes an evaluation that says so.
"""

import copy
import dataclasses
import functools
import io
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from objectives.complexity import UncountedError
from objectives.costs import Subject
from objectives.device import MACHINE, Turnstile
from objectives.distil import TeacherError, teacher_outputs
from objectives.measurement import Measurement
from objectives.parallel import PeerError, devices_of, train_on
from objectives.runtimes import Deployment, DeploymentError
from objectives.runtimes.remote import TargetAwayError
from objectives.tasks import Task, load
from objectives.training import (
    Augment,
    NonFiniteLossError,
    Progress,
    Training,
    answers,
    begin,
    train,
)
from search.artifacts import Folder, weights_name
from search.evaluation import Artifact, Confirm, Evaluation, Job, Price, Train
from search.recovery import Recovery, Taught, taught
from search.study import StudySpec
from spaces.augmentation import Augmentation
from spaces.candidate import Candidate, digest
from spaces.compression import Learner, Lesson, StepError
from spaces.compression.sparsify import held_zeros

CALIBRATION_PRICE, CALIBRATION_SCORE = 8, 64
"""Real inputs for the ranges of int8: speed does not depend on them, accuracy does."""


class NotFiniteError(ArithmeticError):
    """A measured value is infinite or not a number; it would compare with nothing."""


KNOWN_FAILURES = (
    StepError,
    DeploymentError,
    UncountedError,
    NonFiniteLossError,
    NotFiniteError,
    PeerError,
    TargetAwayError,
    TeacherError,
)
"""Errors whose message is the sentence for the user; of others the type is told too."""


_PRICED: dict[tuple[str, str], Mapping[str, Measurement]] = {}
"""(deploy key, what is measured where) -> costs: another recipe of a network that this process has
timed is answered at once."""


@dataclass(frozen=True)
class Bench:
    """Where a worker computes, and its stopwatch."""

    device: str
    threads: int
    turnstile: Turnstile
    devices: int = 1
    """Of the kind of `device`, that train together."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the body to stage `name`, those of waiting to `wait`."""
        start, waited = time.perf_counter(), self.turnstile.waited_s
        try:
            yield
        finally:
            wait_s = self.turnstile.waited_s - waited
            spent_s = time.perf_counter() - start - wait_s
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s
            self.seconds["wait"] = self.seconds.get("wait", 0.0) + wait_s


def evaluate(
    job: Job, study: StudySpec, device: str, threads: int, devices: int = 1
) -> Evaluation:
    """Do a job of `study`, training on `device` with `threads` CPU threads.

    With several `devices` they are the first ones of its kind, `threads` each.
    """
    torch.set_num_threads(threads)
    bench = Bench(device, threads, Turnstile(MACHINE), devices)
    try:
        if isinstance(job, Price):
            return price(job, study, bench)
        if isinstance(job, Confirm):
            return confirm(job, study, bench)
        return train_to_rung(job, study, bench)
    except Exception as error:
        return Evaluation(
            trial=job.trial,
            candidate=job.candidate,
            rung=job.rung,
            status="away" if isinstance(error, TargetAwayError) else "failed",
            reason=sentence(error),
            seconds=bench.seconds,
        )


def sentence(error: Exception) -> str:
    """One line that tells a user what happened."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "alloc" in first.lower():
        return f"out of memory: {first}"
    return first if isinstance(error, KNOWN_FAILURES) else f"{type(error).__name__}: {first}"


def price(job: Price, study: StudySpec, bench: Bench) -> Evaluation:
    """Costs of the candidate, before a second is spent on training it."""
    splits = load(study.task)
    with bench.stage("build"):
        torch.manual_seed(study.seed)
        network = study.space.build(job.candidate, *splits.signature).eval()
        inputs = real_inputs(study, CALIBRATION_PRICE)
        records, precision = _apply_steps(network, job.candidate, study, inputs)
        network.eval()
    deployed = [job.candidate.family, job.candidate.architecture, records]
    deploy_key = digest(deployed, study.cost_context())
    place = (deploy_key, study.costs_key())
    if place in _PRICED and not job.again:
        return _priced(job, _PRICED[place], deploy_key, bench)
    costs = _measure_costs(network, study, inputs, precision, bench)
    _PRICED[place] = costs
    return _priced(job, costs, deploy_key, bench)


def _priced(
    job: Price, costs: Mapping[str, Measurement], deploy_key: str, bench: Bench
) -> Evaluation:
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=0,
        status="priced",
        measurements=costs,
        deploy_key=deploy_key,
        seconds=bench.seconds,
    )


def _measure_costs(
    network: nn.Module, study: StudySpec, inputs: Tensor, precision: str, bench: Bench
) -> dict[str, Measurement]:
    """Every cost objective of the compressed network."""
    with bench.stage("deploy"):
        wanted = {o.cost.target for o in study.objectives if o.cost is not None and o.cost.target}
        deployments = {
            name: deploy(network, study, name, inputs, precision) for name in sorted(wanted)
        }
    with bench.stage("measure"):
        subject = Subject(
            network=network,
            inputs=inputs,
            targets=study.targets,
            deployments=deployments,
            turnstile=bench.turnstile,
        )
        costs = {
            objective.name: objective.cost.measure(subject)
            for objective in study.objectives
            if objective.cost is not None
        }
    _check_finite(costs)
    return costs


def train_to_rung(job: Train, study: StudySpec, bench: Bench) -> Evaluation:
    """Train to the rung, compress a copy, deploy it as it will be shipped, score that."""
    store = Folder(study.artifacts)
    with bench.stage("train"):
        progress = _resume(job, study, store)
        settings = Training(**job.candidate.training)
        _train(progress, settings, job.candidate, study, bench, study.epochs, job.until_epoch)
        train_key = job.candidate.train_key(study.context())
    with bench.stage("compress"):
        network = progress.result().cpu()
        precision = compress(network, job.candidate, study, bench)
    with bench.stage("score"):
        inputs = real_inputs(study, CALIBRATION_SCORE)
        deployment = deploy(network, study, next(iter(study.targets)), inputs, precision)
        splits = load(study.task)
        outputs = answers(deployment.run, splits.validation.inputs, splits)
        scores = {study.metric.name: study.metric.score(outputs, splits.validation.targets)}
        _check_finite(scores)
        checkpoint = _save_checkpoint(progress, train_key, store)
        weights = _save_weights(network, job, study, train_key, store)
    last = job.until_epoch == study.epochs
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.until_epoch,
        status="done" if last else "trained",
        measurements=scores,
        seconds=bench.seconds,
        artifacts=(checkpoint, weights) if last else (checkpoint,),
    )


def confirm(job: Confirm, study: StudySpec, bench: Bench) -> Evaluation:
    """The member's whole life once more with another seed, judged on the test split.

    Measured are the task's metric on the test split, the same on the validation split as
    `validation`, and every cost.
    """
    splits, seed = load(study.task), _seed(job.candidate, study, job.seed)
    with bench.stage("train"):
        progress = _begin(job.candidate, study, seed)
        settings = Training(**job.candidate.training)
        _train(progress, settings, job.candidate, study, bench, study.epochs, study.epochs)
    with bench.stage("compress"):
        network = progress.result().cpu()
        precision = compress(network, job.candidate, study, bench)
    with bench.stage("score"):
        inputs = real_inputs(study, CALIBRATION_SCORE)
        deployment = deploy(network, study, next(iter(study.targets)), inputs, precision)
        scores = {
            name: study.metric.score(answers(deployment.run, split.inputs, splits), split.targets)
            for name, split in (
                (study.metric.name, splits.test),
                ("validation", splits.validation),
            )
        }
    inputs = real_inputs(study, CALIBRATION_PRICE)
    costs = _measure_costs(network, study, inputs, precision, bench)
    _check_finite(scores)
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status="confirmed",
        measurements={**scores, **costs},
        seconds=bench.seconds,
    )


def real_inputs(study: StudySpec, count: int) -> Tensor:
    """`count` inputs evenly spaced in the training split, as a network sees them."""
    splits = load(study.task)
    rows = torch.linspace(0, len(splits.train) - 1, count).long()
    return splits.prepare(splits.train.inputs[rows])


def deploy(
    network: nn.Module, study: StudySpec, target_name: str, inputs: Tensor, precision: str
) -> Deployment:
    """`network` in `precision` by the runtime of a target."""
    return study.targets[target_name].deploy(network, inputs, precision)


def rebuild(
    candidate: Candidate, study: StudySpec, weights: dict[str, Tensor]
) -> tuple[nn.Module, str]:
    """(compressed network with its weights, precision) of a candidate that is done.

    Shapes after compression do not depend on weights, so the steps are applied to a fresh network
    and the stored weights loaded into what remains.
    """
    splits = load(study.task)
    network = study.space.build(candidate, *splits.signature).eval()
    _, precision = _apply_steps(network, candidate, study, real_inputs(study, CALIBRATION_PRICE))
    network.load_state_dict(weights)
    return network.eval(), precision


def compress(network: nn.Module, candidate: Candidate, study: StudySpec, bench: Bench) -> str:
    """Apply the steps to a trained network, fine-tuning where one asks; returns the precision."""
    precision, steps = "fp32", study.space.pipeline(candidate)
    example = real_inputs(study, CALIBRATION_PRICE)
    finetune = functools.partial(_finetune, candidate, study, bench)
    trainer = Recovery(copy.deepcopy(network).eval(), study.task, finetune)
    for _, step in steps:
        if isinstance(step, Learner):
            applied = step.learn(network, example, trainer)
        else:
            applied = step.apply(network, example)
            trainer.train(network, applied.finetune_epochs)
        precision = applied.precision or precision
    network.eval()
    return precision


def _apply_steps(
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


def _resume(job: Train, study: StudySpec, store: Folder) -> Progress:
    """The candidate's training, from its checkpoint or from the start."""
    progress = _begin(job.candidate, study, _seed(job.candidate, study))
    if job.checkpoint is not None:
        # one that somebody deleted costs time, not the candidate: training repeats it exactly
        with suppress(FileNotFoundError), store.open_reader(job.checkpoint) as file:
            progress.restore(torch.load(file, map_location="cpu", weights_only=True))
    return progress


def _begin(candidate: Candidate, study: StudySpec, seed: int) -> Progress:
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


def _train(
    progress: Progress,
    settings: Training,
    candidate: Candidate,
    study: StudySpec,
    bench: Bench,
    epochs: int,
    until_epoch: int,
) -> None:
    """Train on until `until_epoch` of `epochs`, on one device or several."""
    teacher = None
    if settings.taught:
        teacher = teacher_outputs(settings.teacher, study.task, bench.device)
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


def _finetune(
    candidate: Candidate,
    study: StudySpec,
    bench: Bench,
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
    elif settings.taught:
        teacher = teacher_outputs(settings.teacher, study.task, bench.device)
    progress = begin(
        network,
        settings,
        examples=len(load(study.task).train),
        epochs=epochs,
        seed=_seed(candidate, study),
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


def _seed(candidate: Candidate, study: StudySpec, repetition: int = 0) -> int:
    """Fixed by the study's seed and what is trained, not by when or where."""
    train_key = candidate.train_key(study.context())
    return int((digest([train_key, repetition]) if repetition else train_key)[:7], 16)


def _check_finite(measurements: Mapping[str, Measurement]) -> None:
    for name, measured in measurements.items():
        if not math.isfinite(measured.value):
            raise NotFiniteError(f"{name} is {measured.value}")


def weights_id(candidate: Candidate, study: StudySpec) -> str:
    """The artifact that holds the compressed network of a candidate of a study."""
    return weights_name(study.name, candidate.key(study.context()))


def _save_checkpoint(progress: Progress, train_key: str, store: Folder) -> Artifact:
    artifact_id = f"checkpoint-{train_key}-{progress.epoch}.pt"
    size = _save(progress.state(), artifact_id, store)
    return Artifact(
        id=artifact_id,
        kind="checkpoint",
        train_key=train_key,
        epoch=progress.epoch,
        num_bytes=size,
    )


def _save_weights(
    network: nn.Module, job: Train, study: StudySpec, train_key: str, store: Folder
) -> Artifact:
    artifact_id = weights_id(job.candidate, study)
    size = (
        _save(network.state_dict(), artifact_id, store) if job.until_epoch == study.epochs else 0
    )
    return Artifact(
        id=artifact_id, kind="weights", train_key=train_key, epoch=job.until_epoch, num_bytes=size
    )


def _save(state: object, artifact_id: str, store: Folder) -> int:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    store.write(artifact_id, buffer)
    return buffer.getbuffer().nbytes
