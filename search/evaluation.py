"""What is asked of a candidate (a job) and what is known of it afterwards (an evaluation)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from objectives.measurement import Measurement
from spaces.candidate import Candidate

Status = Literal[
    "priced",  # costs are known, training is not done
    "trained",  # scored at a rung, goes on to the next
    "done",  # scored at the last rung
    "confirmed",  # scored on the test split after a training with another seed
    "infeasible",  # a cost is beyond its limit
    "hopeless",  # a member is better in everything, even at an optimistic score
    "stopped",  # others were better at its rung
    "unbuildable",  # the choices do not fit each other or the task
    "failed",  # an exception, a loss that is not finite, no memory, a dead worker
    "lost",  # its worker died; the loop tries once more
    "away",  # its target does not answer; the run ends and can be resumed
]
FINAL: frozenset[Status] = frozenset(
    {"done", "infeasible", "hopeless", "stopped", "unbuildable", "failed"}
)
"""Statuses after which nothing more happens to a candidate."""


COUNTED = ""
"""In place of a target: costs that are the same on every machine."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Build a candidate untrained, compress it, count and time it."""

    trial: int | None
    """Its number in the study; None for a candidate of the plan."""
    candidate: Candidate
    again: bool = False
    """Measure anew although the network has a price."""
    on: tuple[str, ...] | None = None
    """Targets whose costs are asked for, `COUNTED` for those of none; None for all."""

    @property
    def rung(self) -> int:
        """Epochs that the evaluation will be of."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a candidate to a rung and score it; at the last one compressed and deployed."""

    trial: int
    candidate: Candidate
    until_epoch: int
    checkpoint: str | None
    """Artifact to go on from; None to start anew."""
    taught_by: Candidate | None = None
    """The member of the front that teaches, if one does."""

    @property
    def rung(self) -> int:
        """Epochs that the evaluation will be of."""
        return self.until_epoch


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """Train a member anew with another seed, score it on the test split, measure its costs."""

    trial: int
    candidate: Candidate
    seed: int
    """Number of the repetition, from 1; 0 was the search's own."""
    rung: int
    """Epochs of a full training."""
    taught_by: Candidate | None = None
    """The member of the front that teaches, if one does."""
    on: tuple[str, ...] | None = None
    """As of `Price`."""


Job = Price | Train | Confirm


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that an evaluation left in the artifact store."""

    id: str
    kind: Literal["checkpoint", "weights"]
    """`checkpoint`: training state before compression; `weights`: the compressed network."""
    train_key: str
    epoch: int
    num_bytes: int


def worked_s(seconds: Mapping[str, float]) -> float:
    """Seconds of work: without waiting, and without what an earlier study spent."""
    return sum(s for stage, s in seconds.items() if stage not in ("wait", "earlier"))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of a candidate at a rung."""

    trial: int | None
    candidate: Candidate
    rung: int
    """Epochs trained; 0 for a price."""
    status: Status
    reason: str = ""
    """A sentence: why it ended, or why it failed."""
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    """Objective -> measurement; costs at rung 0, the task's metric at later ones."""
    deploy_key: str = ""
    """Hash of the network as deployed (kept widths, not ratios), at rung 0."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Stage -> seconds of the worker; `wait` is time spent waiting for a quiet device."""
    artifacts: tuple[Artifact, ...] = ()
