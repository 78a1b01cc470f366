"""Members trained anew with further seeds: the jobs; `search.verdicts` tells what follows."""

import random
from collections import deque

from objectives.training.settings import BEST_TEACHER
from search.errors import RunFailedError
from search.evaluation import Confirm, Evaluation, Job, worked_s
from search.members import best
from search.store.store import Store
from search.store.view import StudyView, TrialView
from spaces.candidate import Candidate


class Confirmer:
    """Asks for the trainings that are missing, in random order; keeps what comes back."""

    def __init__(self, view: StudyView, store: Store, seeds: int, epochs: int, seed: int) -> None:
        self.store = store
        known = view.confirmations
        jobs = [
            Confirm(
                trial=member.number,
                candidate=member.candidate,
                seed=each,
                rung=epochs,
                taught_by=_teacher(view, member),
            )
            for member in view.members
            for each in range(1, seeds + 1)
            if each not in known.get(member.number, {})
        ]
        random.Random(seed).shuffle(jobs)
        self.waiting: deque[Confirm] = deque(jobs)
        self.retried: set[tuple[int, int]] = set()
        self.failures: list[str] = []
        self.busy_s = 0.0

    def ask(self) -> Job | None:
        """The next training."""
        return self.waiting.popleft() if self.waiting else None

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        """Keep a result; one whose worker died is tried once more."""
        assert isinstance(job, Confirm), job
        self.busy_s += worked_s(evaluation.seconds)
        place = (job.trial, job.seed)
        if evaluation.status == "away":
            raise RunFailedError(f"{evaluation.reason}; the same command goes on from here")
        if evaluation.status == "lost" and place not in self.retried:
            self.retried.add(place)
            self.waiting.append(job)
        elif evaluation.status == "confirmed":
            self.store.add_confirmation(job.trial, job.seed, evaluation.measurements)
        else:
            self.failures.append(f"trial {job.trial}, seed {job.seed}: {evaluation.reason}")


def _teacher(view: StudyView, member: TrialView) -> Candidate | None:
    """The best other member, for one that learns from the best."""
    others = [other for other in view.members if other.number != member.number]
    if member.candidate.training.get("teacher") != BEST_TEACHER or not others:
        return None
    return best(view, others).candidate
