"""Before the start: random candidates are priced, to give the user and the hypervolume a scale.

The scale is frozen when a study starts: a hypervolume of today and one of last week compare.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from objectives.tasks import load
from objectives.units import parse_quantity
from search.errors import RunFailedError
from search.evaluation import Evaluation, Job, Price
from search.keys import keys_of
from search.pareto import Scale
from search.prices import Prices
from search.store.store import Store
from search.strategy.gate import broken_limit
from search.study import Objective, StudySpec
from spaces.candidate import Candidate

DRAWS_PER_CANDIDATE = 20
"""Draws after which a plan gives up finding one more new candidate (a small space)."""


class Planner:
    """Asks for the prices of the plan's candidates; `evaluations` holds what came back."""

    def __init__(self, study: StudySpec, store: Store, prices: Prices) -> None:
        self.study = study
        self.store = store
        self.prices = prices
        self.waiting = deque(draw_candidates(study))
        self.again: deque[Candidate] = deque()
        self.evaluations: list[Evaluation] = []
        self.retried: set[str] = set()

    def ask(self) -> Job | None:
        """The next candidate whose price is not known."""
        while self.waiting:
            candidate = self.waiting.popleft()
            keys = keys_of(candidate, self.study)
            known = self.prices.find(keys.recipe_key)
            if known is None:
                return Price(trial=None, candidate=candidate)
            self.evaluations.append(
                Evaluation(
                    trial=None,
                    candidate=candidate,
                    rung=0,
                    status="priced",
                    deploy_key=known[0],
                    measurements=known[1],
                )
            )
        if self.again:
            return Price(trial=None, candidate=self.again.popleft(), again=True)
        return None

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        """Keep a price; a lost one is tried once more."""
        key = keys_of(job.candidate, self.study).key
        if evaluation.status == "lost" and key not in self.retried:
            self.retried.add(key)
            self.waiting.append(job.candidate)
            return
        if evaluation.status == "away":
            raise RunFailedError(f"{evaluation.reason}; the same command goes on from here")
        if self.prices.doubtful(evaluation):
            self.again.append(job.candidate)
            return
        self._keep(evaluation)

    def _keep(self, evaluation: Evaluation) -> None:
        keys = keys_of(evaluation.candidate, self.study)
        if evaluation.status == "priced":
            evaluation = self.prices.settle(keys.recipe_key, evaluation)
            self.store.record(evaluation, keys)
        self.evaluations.append(evaluation)


@dataclass(frozen=True)
class Plan:
    """What the plan found."""

    scale: Scale
    summary: Mapping[str, Any]
    """JSON data for the terminal, the store and the report."""


def make_plan(study: StudySpec, evaluations: list[Evaluation]) -> Plan:
    """Scale and summary from the priced candidates; `evaluations` in any order.

    Raises:
        RunFailedError: none of them could be priced.
    """
    priced = [e for e in evaluations if e.status == "priced"]
    if evaluations and not priced:
        raise RunFailedError(f"plan: no candidate could be priced: {evaluations[0].reason}")
    by_cost = sorted(priced, key=lambda e: _first_cost(study, e))
    picks = {"cheapest": 0, "middle": len(by_cost) // 2, "dearest": -1} if by_cost else {}
    met = sum(broken_limit(study.objectives, e.measurements) is None for e in priced)
    finite, continuous = study.space.size()
    summary = {
        "combinations": str(finite),
        "continuous": continuous,
        "priced": len(priced),
        "unpriced": sorted({e.reason for e in evaluations if e.status != "priced"})[:3],
        "within_limits": met,
        "examples": {name: _example(by_cost[index]) for name, index in picks.items()},
    }
    return Plan(scale=_scale(study, priced), summary=summary)


def draw_candidates(study: StudySpec) -> list[Candidate]:
    """Distinct candidates, the same for every run of a study; illegal ones left out."""
    rng, splits = np.random.default_rng(study.seed), load(study.task)
    found: dict[str, Candidate] = {}
    for _ in range(DRAWS_PER_CANDIDATE * study.search.plan):
        candidate = study.space.decode(study.space.draw(rng), splits.input_shape)
        if study.space.check(candidate, *splits.signature) is None:
            found.setdefault(keys_of(candidate, study).recipe_key, candidate)
        if len(found) == study.search.plan:
            break
    return list(found.values())


def _first_cost(study: StudySpec, evaluation: Evaluation) -> tuple[float, ...]:
    costs = [o.name for o in study.objectives if o.cost is not None]
    return tuple(evaluation.measurements[name].value for name in costs[-1:] + costs[:-1])


def _example(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "candidate": evaluation.candidate.as_dict(),
        "costs": {name: m.value for name, m in evaluation.measurements.items()},
    }


def _scale(study: StudySpec, priced: list[Evaluation]) -> Scale:
    """Costs: from the cheapest of the plan to limit, reference or dearest; score: perfect down."""
    ideal, reference, log = {}, {}, {}
    for objective in study.objectives:
        name = objective.name
        log[name] = objective.cost is not None
        if objective.cost is None:
            ideal[name] = study.metric.perfect
            worst = _constant_score(study)
        else:
            values = [e.measurements[name].value for e in priced] or [1.0]
            ideal[name] = max(min(values), 1e-12)
            worst = max(values)
        reference[name] = _reference(study, objective, worst)
        if log[name] and not reference[name] > ideal[name] * (1 + 1e-9):
            # a limit below the cheapest of the plan, or one price for all: keep the box open
            ideal[name] = reference[name] / math.e
    return Scale(ideal=ideal, reference=reference, log=log)


def _reference(study: StudySpec, objective: Objective, worst: float) -> float:
    given = study.search.reference.get(objective.name)
    if given is not None:
        return parse_quantity(given, objective.unit)
    return worst if objective.limit is None else objective.limit


def _constant_score(study: StudySpec) -> float:
    splits = load(study.task)
    return study.metric.constant(splits.train.targets, splits.validation.targets)
