"""Fan-out: other compressions of a candidate that is done, from its trained weights."""

from collections.abc import Collection

import numpy as np

from objectives.tasks import load
from search.files import Files
from search.keys import keys_of
from search.state import Known
from search.store.optuna_study import OptunaStudy
from search.strategy.fanout import chosen, simplest
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.choice import Scalar

SIBLINGS = 64
"""Compressions of one training that a fan-out chooses from."""


class Children:
    """Trials that no sampler proposed. Their parent's checkpoint stays while they need it."""

    def __init__(self, study: StudySpec, optuna: OptunaStudy, files: Files) -> None:
        self.study, self.optuna, self.files = study, optuna, files
        self.numbers: set[int] = set()
        self.reserved: set[int] = set()
        """Those that still need their parent's checkpoint."""

    def of(self, parent: Known, tried: Collection[str]) -> list[dict[str, Scalar]]:
        """Parameters of new children, the best first; none of a child, or where none promises.

        Before there is a model the simplest compressions are made that need no training.

        Args:
            parent: a trial that is done.
            tried: keys of the candidates that there are.
        """
        most = self.study.search.fanout
        newest = self.files.newest.get(parent.keys.train_key)
        whole = newest is not None and newest.epoch == self.study.epochs
        if most < 1 or not whole or parent.number in self.numbers:
            return []
        siblings = self._untried(parent, tried)
        if not siblings:
            return []
        worth = self.optuna.worth([parameters for _, parameters in siblings])
        if worth is None:
            places = simplest([self._steps(candidate) for candidate, _ in siblings], most)
        else:
            places = chosen(worth, most)
        return [siblings[place][1] for place in places]

    def add(self, parameters: dict[str, Scalar], parent: Known) -> int:
        """The number of a new child, which needs its parent's checkpoint from now on."""
        number = self.optuna.add(parameters, parent.number)
        self.numbers.add(number)
        self.reserved.add(number)
        self.files.training[parent.keys.train_key] += 1
        return number

    def let_go(self, number: int, train_key: str) -> None:
        """A child that is over, or holds the checkpoint by training itself."""
        if number in self.reserved:
            self.reserved.discard(number)
            self.files.training[train_key] -= 1

    def _steps(self, candidate: Candidate) -> int | None:
        """Compression steps of one that needs no training for them."""
        free = self.study.space.training_free(candidate)
        return len(candidate.compression) if free else None

    def _untried(
        self, parent: Known, tried: Collection[str]
    ) -> list[tuple[Candidate, dict[str, Scalar]]]:
        """Candidates that differ in compression alone, with an assignment of each."""
        space, shape = self.study.space, load(self.study.task).input_shape
        rng = np.random.default_rng(parent.number)
        found: dict[str, tuple[Candidate, dict[str, Scalar]]] = {}
        for each in space.siblings(space.encode(parent.candidate), SIBLINGS, rng):
            candidate = space.decode(each, shape)
            found.setdefault(keys_of(candidate, self.study).key, (candidate, each))
        return [pair for key, pair in found.items() if key not in tried]
