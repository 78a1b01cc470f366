"""ONE CANDIDATE'S LIFE, as far as a worker lives it: price, train, compress, score.

`evaluate` never raises: whatever goes wrong with a candidate becomes an evaluation that says so.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from objectives.complexity import UncountedError
from objectives.costs import Subject
from objectives.device import MACHINE, Turnstile
from objectives.distil import TeacherError
from objectives.measurement import Measurement
from objectives.parallel import PeerError
from objectives.runtimes import Deployment, DeploymentError
from objectives.runtimes.remote import TargetAwayError
from objectives.tasks import load
from objectives.training import NonFiniteLossError, Training, answers
from search.applying import CALIBRATION_PRICE, CALIBRATION_SCORE, apply_steps, real_inputs
from search.artifacts import ArtifactsAwayError, store_at
from search.bench import Bench
from search.checkpoints import save_checkpoint, save_weights
from search.compressing import compress
from search.evaluation import COUNTED, Confirm, Evaluation, Job, Price, Train
from search.learning import begin_training, resume, seed_of, train_until
from search.study import StudySpec
from spaces.candidate import digest
from spaces.compression import StepError


class NotFiniteError(ArithmeticError):
    """A measured value is infinite or not a number; it would compare with nothing."""


AWAY = (TargetAwayError, ArtifactsAwayError)
"""Errors that are no candidate's fault and may be over soon: the run ends and can be resumed."""
KNOWN_FAILURES = (
    *AWAY,
    StepError,
    DeploymentError,
    UncountedError,
    NonFiniteLossError,
    NotFiniteError,
    PeerError,
    TeacherError,
)
"""Errors whose message is the sentence for the user; of others the type is told too."""


_PRICED: dict[tuple[object, ...], Mapping[str, Measurement]] = {}
"""(deploy key, what is measured, on which targets) -> costs: another recipe of a network that this
process has timed is answered at once."""


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
            status="away" if isinstance(error, AWAY) else "failed",
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
        records, precision = apply_steps(network, job.candidate, study, inputs)
        network.eval()
    deployed = [job.candidate.family, job.candidate.architecture, records]
    deploy_key = digest(deployed, study.cost_context())
    place = (deploy_key, study.costs_key(), job.on)
    if place in _PRICED and not job.again:
        return _priced(job, _PRICED[place], deploy_key, bench)
    costs = _measure_costs(network, study, inputs, precision, bench, job.on)
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
    network: nn.Module,
    study: StudySpec,
    inputs: Tensor,
    precision: str,
    bench: Bench,
    on: tuple[str, ...] | None,
) -> dict[str, Measurement]:
    """Cost objectives of the compressed network, on some targets or on all."""
    asked = {
        objective.name: objective.cost
        for objective in study.objectives
        if objective.cost is not None and (on is None or (objective.cost.target or COUNTED) in on)
    }
    with bench.stage("deploy"):
        wanted = {cost.target for cost in asked.values() if cost.target}
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
        costs = {name: cost.measure(subject) for name, cost in asked.items()}
    _check_finite(costs)
    return costs


def train_to_rung(job: Train, study: StudySpec, bench: Bench) -> Evaluation:
    """Train to the rung and score: on the way the network as it is, at the end as it ships.

    A rung below the last judges the training. Compression may fine-tune, which most of those that
    are compared there would not live to use: only who is trained in full is compressed, deployed.
    """
    store = store_at(study.artifacts)
    with bench.stage("train"):
        progress = resume(job, study, store)
        settings = Training(**job.candidate.training)
        train_until(
            progress,
            settings,
            job.candidate,
            study,
            bench,
            study.epochs,
            job.until_epoch,
            job.taught_by,
        )
        train_key = job.candidate.train_key(study.context())
    network, precision = progress.result(), "fp32"
    last = job.until_epoch == study.epochs
    if last:
        with bench.stage("compress"):
            precision = compress(network.cpu(), job.candidate, study, bench, job.taught_by)
    with bench.stage("score"):
        run = as_shipped(network, study, precision) if last else as_trained(network, bench.device)
        splits = load(study.task)
        outputs = answers(run, splits.validation.inputs, splits)
        scores = {study.metric.name: study.metric.score(outputs, splits.validation.targets)}
        _check_finite(scores)
        files = [save_checkpoint(progress, train_key, store)]
        if last:
            files.append(save_weights(network, job, study, train_key, store))
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.until_epoch,
        status="done" if last else "trained",
        measurements=scores,
        seconds=bench.seconds,
        artifacts=tuple(files),
    )


def as_shipped(network: nn.Module, study: StudySpec, precision: str) -> Callable[[Tensor], Tensor]:
    """Inference by the runtime of the first target."""
    inputs = real_inputs(study, CALIBRATION_SCORE)
    return deploy(network, study, next(iter(study.targets)), inputs, precision).run


def as_trained(network: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """Inference where it was trained."""
    network.to(device).eval()

    def run(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            outputs: Tensor = network(inputs.to(device))
            return outputs.float().cpu()

    return run


def confirm(job: Confirm, study: StudySpec, bench: Bench) -> Evaluation:
    """The member's whole life once more with another seed, judged on the test split."""
    with bench.stage("train"):
        progress = begin_training(job.candidate, study, seed_of(job.candidate, study, job.seed))
        settings = Training(**job.candidate.training)
        train_until(
            progress,
            settings,
            job.candidate,
            study,
            bench,
            study.epochs,
            study.epochs,
            job.taught_by,
        )
    return judge(job, progress.result().cpu(), study, bench)


def judge(job: Confirm, network: nn.Module, study: StudySpec, bench: Bench) -> Evaluation:
    """What the candidate's trained `network`, compressed in place, is worth.

    Measured are the task's metric on the test split, the same on the validation split as
    `validation`, and every cost.
    """
    splits = load(study.task)
    with bench.stage("compress"):
        precision = compress(network, job.candidate, study, bench, job.taught_by)
    with bench.stage("score"):
        run = as_shipped(network, study, precision)
        scores = {
            name: study.metric.score(answers(run, split.inputs, splits), split.targets)
            for name, split in (
                (study.metric.name, splits.test),
                ("validation", splits.validation),
            )
        }
    inputs = real_inputs(study, CALIBRATION_PRICE)
    costs = _measure_costs(network, study, inputs, precision, bench, job.on)
    _check_finite(scores)
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status="confirmed",
        measurements={**scores, **costs},
        seconds=bench.seconds,
    )


def deploy(
    network: nn.Module, study: StudySpec, target_name: str, inputs: Tensor, precision: str
) -> Deployment:
    """`network` in `precision` by the runtime of a target."""
    return study.targets[target_name].deploy(network, inputs, precision)


def _check_finite(measurements: Mapping[str, Measurement]) -> None:
    for name, measured in measurements.items():
        if not math.isfinite(measured.value):
            raise NotFiniteError(f"{name} is {measured.value}")
