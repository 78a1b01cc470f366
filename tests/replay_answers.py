"""Answers by formula for `executor: {replay: {answers: 'replay_answers:plain'}}`.

They suit the study of the fixture `small` with rungs that end at `EPOCHS`. Networks, costs and
scores are made up; like real ones they depend on the choices alone, and pruning a width of 4
leaves the network as it was, so that two recipes can be one network.
"""

import dataclasses

from objectives.measurement import exact, proportion
from search.evaluation import Evaluation, Job, Price, Train
from spaces.candidate import Candidate, digest

EPOCHS = 4


def plain(job: Job) -> Evaluation:
    """Every candidate can be priced and trained."""
    if isinstance(job, Price):
        return priced(job)
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.until_epoch,
        status="done" if job.until_epoch == EPOCHS else "trained",
        measurements={"accuracy": proportion(score(job), 360)},
        seconds={"train": 0.5, "wait": 2.0},
    )


def priced(job: Price) -> Evaluation:
    """More channels and no int8 cost more."""
    network = deployed(job.candidate)
    channels, int8 = sum(network[0]), network[2]
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=0,
        status="priced",
        measurements={
            "flops": exact(1000.0 * channels + luck(network), "flops"),
            "latency": exact((0.5 if int8 else 1.0) * (0.01 * channels + 0.05), "ms"),
        },
        deploy_key=digest(network),
        seconds={"measure": 0.25},
    )


def deployed(candidate: Candidate) -> tuple[list[int], list[int], bool]:
    """(kept widths, pools, int8) of the network: pruning keeps 4 channels at least."""
    steps = dict(candidate.compression)
    ratio = steps.get("prune", {"ratio": 0.0})["ratio"]
    kept = [max(min(width, 4), int(width * (1 - ratio))) for width in _widths(candidate)]
    return kept, list(candidate.architecture["pool"]), "quantize" in steps


def _widths(candidate: Candidate) -> list[int]:
    return [int(width) for width in candidate.architecture["width"]]


def score(job: Train) -> int:
    """Right answers of 360: channels and epochs help, the rest is luck."""
    share = 0.4 + 0.02 * sum(_widths(job.candidate)) + 0.05 * job.until_epoch
    share += 0.2 * luck([judged(job).as_dict(), job.until_epoch == EPOCHS]) / 0xFFFF
    return min(359, round(360 * share))


def judged(job: Train) -> Candidate:
    """Whose score it is: on the way that of the training without compression."""
    if job.until_epoch == EPOCHS:
        return job.candidate
    return dataclasses.replace(job.candidate, compression=())


def luck(data: object) -> int:
    """0 to 65,535, fixed by `data`."""
    return int(digest(data)[:4], 16)


def some_fail(job: Job) -> Evaluation:
    """One price in five and one training in five fails."""
    answer = plain(job)
    if luck([job.candidate.as_dict(), type(job).__name__]) % 5:
        return answer
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=answer.rung,
        status="failed",
        reason=f"{type(job).__name__} went wrong",
    )


def all_lost(job: Job) -> Evaluation:
    """Prices are known; every training kills its worker."""
    answer = plain(job)
    if isinstance(job, Price):
        return answer
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=answer.rung,
        status="lost",
        reason="its worker was killed by SIGSEGV",
    )


def noted(job: Job) -> Evaluation:
    """As `plain`; each recipe that is priced leaves a line in `priced.txt`."""
    if isinstance(job, Price):
        recipe = [job.candidate.architecture, [list(step) for step in job.candidate.compression]]
        with open("priced.txt", "a") as file:
            file.write(f"{digest(recipe)}\n")
    return plain(job)


def doubtful(job: Job) -> Evaluation:
    """As `plain`; a latency is twice as long and flagged until it is taken again."""
    answer = plain(job)
    if not isinstance(job, Price) or job.again:
        return answer
    latency = answer.measurements["latency"]
    flagged = dataclasses.replace(latency, value=2 * latency.value, flags=("noisy",))
    return dataclasses.replace(answer, measurements={**answer.measurements, "latency": flagged})


def away(job: Job) -> Evaluation:
    """The target answers no question after the plan."""
    answer = plain(job)
    if not isinstance(job, Price) or job.trial is None:
        return answer
    return dataclasses.replace(answer, status="away", reason="ssh://board: no answer")


def orderly(job: Job) -> Evaluation:
    """As `plain`, but scores follow from widths, pruning and epochs without any luck."""
    answer = plain(job)
    if isinstance(job, Price):
        return answer
    kept, _, int8 = deployed(judged(job))
    right = 0.3 + 0.02 * sum(_widths(job.candidate)) + 0.01 * sum(kept) + 0.02 * job.until_epoch
    return dataclasses.replace(
        answer, measurements={"accuracy": proportion(round(360 * (right - 0.02 * int8)), 360)}
    )
