"""Prices that are known already: of this run, of earlier ones, or of a run that the user names."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from objectives.measurement import Measurement
from objectives.timing import EARLY
from search.drift import flagged, readings_of
from search.errors import InputError
from search.evaluation import Evaluation
from search.places import Place
from search.store.lease import versions
from search.store.store import Store
from search.study import StudySpec
from spaces.candidate import digest

Price_ = tuple[str, Mapping[str, Measurement]]
"""(deploy key, objective -> cost)."""


class Prices:
    """Costs by recipe and by deployed network. A price is final: the first one holds."""

    def __init__(self, known: Mapping[str, Price_]) -> None:
        self.by_recipe: dict[str, Price_] = dict(known)
        self.fresh = 0
        """Prices that were not known and had to be measured."""
        self.by_network: dict[str, Mapping[str, Measurement]] = dict(known.values())
        self.readings = readings_of(self.by_network.values())
        """Of the reference work beside every latency so far: the pace of the machine."""
        self.first_takes: dict[str, Evaluation] = {}
        """Deploy key -> the doubtful price of a network that is being taken again."""

    def find(self, recipe_key: str) -> Price_ | None:
        """The price of a recipe, if it was ever measured under our conditions."""
        return self.by_recipe.get(recipe_key)

    def note(self, recipe_key: str, evaluation: Evaluation) -> None:
        """Take up a price that is stored."""
        costs = self.by_network.setdefault(evaluation.deploy_key, evaluation.measurements)
        self.by_recipe.setdefault(recipe_key, (evaluation.deploy_key, costs))

    def doubtful(self, evaluation: Evaluation) -> bool:
        """Whether a fresh price is to be taken again, later; once a network.

        It is if a value is flagged, or the machine was slower than usual; not if a limit is
        clearly broken anyway.
        """
        key, costs = evaluation.deploy_key, evaluation.measurements
        if evaluation.status != "priced" or key in self.by_network or key in self.first_takes:
            return False
        self.readings += readings_of([costs])
        flags = [flag for m in flagged(costs, self.readings).values() for flag in m.flags]
        if not flags or EARLY in flags:
            return False
        self.first_takes[key] = evaluation
        return True

    def settle(self, recipe_key: str, evaluation: Evaluation) -> Evaluation:
        """The evaluation with the first price of its network, which may be an earlier one.

        Of a price that was taken twice, each cost has the take with fewer flags.
        """
        first = self.first_takes.pop(evaluation.deploy_key, None)
        if first is not None and evaluation.deploy_key not in self.by_network:
            evaluation = dataclasses.replace(
                evaluation, measurements=self._less_doubtful(first, evaluation)
            )
        self.fresh += recipe_key not in self.by_recipe
        costs = self.by_network.setdefault(evaluation.deploy_key, evaluation.measurements)
        self.by_recipe.setdefault(recipe_key, (evaluation.deploy_key, costs))
        return dataclasses.replace(evaluation, measurements=costs)

    def _less_doubtful(self, first: Evaluation, second: Evaluation) -> Mapping[str, Measurement]:
        """Cost by cost the measurement with fewer flags; of equals the second."""
        self.readings += readings_of([second.measurements])
        takes = [flagged(each.measurements, self.readings) for each in (second, first)]
        return {
            name: min(
                (second.measurements[name], len(takes[0][name].flags)),
                (first.measurements[name], len(takes[1][name].flags)),
                key=lambda take: take[1],
            )[0]
            for name in second.measurements
        }


def price_key(study: StudySpec, places: Mapping[str, Place], from_run: int | None = None) -> str:
    """Runs of equal keys measure alike: same machine, versions, targets and cost objectives.

    A run whose prices are another run's has a key of its own: they are no measurements of here.
    """
    if from_run is not None:
        return f"from-run-{from_run}"
    devices = {name: place.device for name, place in places.items()}
    kinds = [place.versions for place in places.values()] or [versions()]
    libraries = kinds[0] if all(kind == kinds[0] for kind in kinds) else kinds
    # a limit changes no price
    costs = {
        o.name: repr(dataclasses.replace(o.cost, limit=None))  # type: ignore[type-var]  # every Cost is a dataclass
        for o in study.objectives
        if o.cost is not None
    }
    targets = {name: repr(target) for name, target in study.targets.items()}
    data: list[Any] = [libraries, devices, targets, costs, study.cost_context()]
    return digest(data)


def known_prices(study: StudySpec, store: Store, key: str, from_run: int | None) -> Prices:
    """Prices of all runs like ours, or those of one run that the user names.

    Raises:
        InputError: there is no such run, or it measured other objectives.
    """
    if from_run is None:
        return Prices(store.prices(price_key=key))
    spec = store.spec_of(from_run)
    if spec is None:
        raise InputError(f"--prices-from: the database holds no run {from_run}")
    if spec.get("targets") != study.raw.get("targets"):
        raise InputError(f"--prices-from: run {from_run} measured on other targets")
    prices = store.prices(run=from_run)
    wanted = {o.name for o in study.objectives if o.cost is not None}
    for _, costs in prices.values():
        if set(costs) != wanted:
            raise InputError(
                f"--prices-from: run {from_run} measured {', '.join(sorted(costs))}; "
                f"this study needs {', '.join(sorted(wanted))}"
            )
    return Prices(prices)


def check_conditions(study: StudySpec, store: Store, key: str) -> None:
    """A study's latencies must all be of the same conditions, since its front compares them.

    Raises:
        InputError: an earlier run of the study measured elsewhere or with other libraries.
    """
    timed = any(o.cost is not None and o.cost.target is not None for o in study.objectives)
    others = store.price_keys() - {key}
    if timed and others:
        raise InputError(
            f"name: study {study.name!r} was measured on another machine, with other library "
            "versions or with --prices-from; give the study another name, or go on as it began"
        )
