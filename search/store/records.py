"""What the store returns besides evaluations."""

from dataclasses import dataclass

from search.evaluation import FINAL, Evaluation
from spaces.candidate import Candidate


@dataclass(frozen=True, kw_only=True)
class Front:
    """A front as it was after a trial."""

    trial: int
    hypervolume: float
    members: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class StoredTrial:
    """A trial as it stands in the store, with its evaluations in the order of rungs."""

    number: int
    candidate: Candidate
    repeats: int | None
    evaluations: tuple[Evaluation, ...]
    run: int
    """Who does what is to be done for it."""

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it."""
        return bool(self.evaluations) and self.evaluations[-1].status in FINAL


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of a candidate in its study."""

    key: str
    train_key: str
    recipe_key: str
