"""What the loop knows: of one trial, and of the study as a whole."""

from collections import Counter
from dataclasses import dataclass, field

from objectives.measurement import Measurement
from search.evaluation import FINAL, Artifact, Evaluation, Status
from search.store.records import Keys
from spaces.candidate import Candidate


@dataclass
class Known:
    """What the loop knows of a trial while it runs and after."""

    number: int
    candidate: Candidate
    keys: Keys
    evaluations: list[Evaluation] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    deploy_key: str = ""

    @property
    def final(self) -> Evaluation | None:
        """Its last evaluation, if nothing more will happen."""
        last = self.evaluations[-1] if self.evaluations else None
        return last if last is not None and last.status in FINAL else None

    @property
    def measured(self) -> dict[str, Measurement]:
        """Objective -> its newest measurement."""
        return {k: m for e in self.evaluations for k, m in e.measurements.items()}

    def value(self, objective: str) -> float:
        """The newest value measured of `objective`."""
        return next(
            e.measurements[objective].value
            for e in reversed(self.evaluations)
            if objective in e.measurements
        )


@dataclass
class State:
    """What is shown of a study while it runs."""

    trials: int = 0
    """Candidates proposed, repeats not counted."""
    counts: Counter[Status] = field(default_factory=Counter)
    repeats: int = 0
    known: int = 0
    """Candidates that an earlier study has trained; counted in `trials`."""
    children: int = 0
    """Candidates made from weights that were trained for another."""
    front: tuple[int, ...] = ()
    hypervolume: float = 0.0
    busy_s: float = 0.0
    """Seconds that workers computed, waiting not counted."""
    exhausted: bool = False

    @property
    def finished(self) -> int:
        """Candidates to which nothing more happens."""
        return sum(self.counts.values())
