"""What compression gave each member: beside the same network uncompressed, counted and measured.

Fewer FLOPs are not always less time, and int8 is sometimes slower; so both ratios are shown.
"""

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from search.evaluation import Evaluation, Job, Price
from search.keys import keys_of
from search.prices import Prices
from search.store.store import Store
from search.store.view import StudyView, TrialView
from search.study import StudySpec
from spaces.candidate import Candidate


def origin_of(candidate: Candidate) -> Candidate:
    """The candidate without its compression."""
    return dataclasses.replace(candidate, compression=())


class OriginPricer:
    """Asks for the prices of the members' origins that are not known yet, and keeps them."""

    def __init__(
        self, study: StudySpec, store: Store, prices: Prices, members: Sequence[TrialView]
    ) -> None:
        self.study, self.store, self.prices = study, store, prices
        origins = {
            keys_of(origin, study).recipe_key: origin
            for member in members
            if member.candidate.compression
            for origin in [origin_of(member.candidate)]
        }
        self.waiting = deque(o for key, o in origins.items() if prices.find(key) is None)

    def ask(self) -> Job | None:
        """The next origin."""
        if not self.waiting:
            return None
        return Price(trial=None, candidate=self.waiting.popleft())

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        """Keep a price; what cannot be priced has no line in the report."""
        if evaluation.status == "priced":
            keys = keys_of(job.candidate, self.study)
            self.store.record(self.prices.settle(keys.recipe_key, evaluation), keys)


@dataclass(frozen=True, kw_only=True)
class SpeedUp:
    """A compressed member beside its origin; ratios above 1 are gains."""

    trial: int
    by_flops: float | None
    """FLOPs of the origin over its own; None if the study counts none. int8 changes no FLOPs."""
    measured: dict[str, float]
    """Latency objective -> latency of the origin over its own."""


def speed_ups(view: StudyView) -> tuple[SpeedUp, ...]:
    """One for each compressed member whose origin has been priced, in the order of the front."""
    found = []
    for member in view.members:
        origin = view.price_of(origin_of(member.candidate))
        if not member.candidate.compression or origin is None:
            continue
        ratios = {
            name: measured.value / own.value
            for name, measured in origin.items()
            if (own := member.measurements.get(name)) is not None and own.value > 0
        }
        units = {objective.name: objective.unit for objective in view.objectives}
        found.append(
            SpeedUp(
                trial=member.number,
                by_flops=ratios.get("flops"),
                measured={name: r for name, r in ratios.items() if units.get(name) == "ms"},
            )
        )
    return tuple(found)
