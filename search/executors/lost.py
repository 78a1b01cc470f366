"""What is told of a job whose worker died."""

from search.evaluation import Evaluation, Job


def lost(job: Job, cause: str) -> Evaluation:
    """What is known of a job whose worker died: why."""
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status="lost",
        reason=cause,
    )
