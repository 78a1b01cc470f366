"""What a study knows without training: the answers to a sampler's questions."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from objectives.tasks import load
from search.applying import real_inputs
from search.pareto import Array, Scale
from search.prices import Prices
from search.samplers.distributions import distributions
from search.samplers.ehvi import Seen
from search.samplers.knowledge import Parameters
from search.state import Known
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.features import NAMES, features
from spaces.space import FAMILY

SHARED = ("training", "augmentation")
"""Sections that costs and networks do not depend on."""


class StudyKnowledge:
    """Scale, prices and networks of a study; see `search.samplers.knowledge`."""

    def __init__(
        self,
        study: StudySpec,
        prices: Prices,
        scale: Scale,
        trials: Mapping[int, Known],
        plan: Sequence[Candidate],
    ) -> None:
        """`plan`: candidates that were priced before the first trial."""
        self.study, self.prices, self.scale, self.trials = study, prices, scale, trials
        self.plan = plan
        self.splits = load(study.task)
        self._example = real_inputs(study, 2)
        self._recipes: dict[tuple[object, ...], str] = {}
        self._plain: dict[str, Parameters | None] = {}
        """Train key -> the assignment without compression."""
        self._features: dict[tuple[object, ...], tuple[float, ...]] = {}
        """Of a network, by the choices that it depends on."""
        self._asked: dict[tuple[object, ...], tuple[float, ...]] = {}
        """The same by all choices: they are asked for again and again."""

    def space(self) -> Mapping[str, Any]:
        """As it is asked of Optuna."""
        return distributions(self.study.space.open_choices)

    def box(self) -> tuple[Sequence[float], Sequence[float], Sequence[bool]]:
        """The scale of the study's hypervolume."""
        names = [o.name for o in self.study.objectives]
        return (
            [self.scale.ideal[name] for name in names],
            [self.scale.reference[name] for name in names],
            [self.scale.log[name] for name in names],
        )

    def active(self, parameters: Parameters) -> Parameters:
        """The open choices whose conditions hold."""
        values = self.study.space.active(parameters)
        return {name: value for name, value in values.items() if name in parameters}

    def costs(self, several: Sequence[Parameters]) -> Array:
        """Prices of the networks that have one."""
        found = np.full((len(several), len(self.study.objectives)), np.nan)
        for row, parameters in enumerate(several):
            price = self.prices.find(self._recipe(parameters))
            for column, objective in enumerate(self.study.objectives):
                if price is not None and objective.name in price[1]:
                    found[row, column] = price[1][objective.name].value
        return found

    def priced(self) -> Sequence[Parameters]:
        """Those of the plan."""
        return [self.study.space.encode(candidate) for candidate in self.plan]

    def curve(self, trial: int) -> Sequence[Seen]:
        """The scores of a trial at its rungs; none of one that repeats another.

        Those on the way are of the network before compression, which is a candidate of its own.
        Where the space has no such candidate they say nothing of any.
        """
        known, metric = self.trials.get(trial), self.study.metric.name
        if known is None:
            return ()
        curve = []
        for each in known.evaluations:
            if metric not in each.measurements:
                continue
            share, value = each.rung / self.study.epochs, each.measurements[metric].value
            if share == 1 or not known.candidate.compression:
                curve.append(Seen(share, value))
            elif (plain := self._uncompressed(known)) is not None:
                curve.append(Seen(share, value, plain))
        return curve

    def _uncompressed(self, known: Known) -> Parameters | None:
        """The same training without compression, if the space has that."""
        if known.keys.train_key not in self._plain:
            plain = dataclasses.replace(known.candidate, compression=())
            parameters = self.study.space.encode(plain)
            again = self.study.space.decode(parameters, self.splits.input_shape)
            self._plain[known.keys.train_key] = None if again.compression else parameters
        return self._plain[known.keys.train_key]

    def scored(self) -> int:
        """Index of the task's metric among the objectives."""
        return [o.name for o in self.study.objectives].index(self.study.metric.name)

    def features(self, several: Sequence[Parameters]) -> Array:
        """Of the networks before compression, whose choices the model reads besides."""
        rows = []
        for parameters in several:
            everything = tuple(parameters.items())
            if everything not in self._asked:
                self._asked[everything] = self._of_network(parameters)
            rows.append(self._asked[everything])
        return np.array(rows, dtype=np.float64).reshape(-1, len(NAMES))

    def _of_network(self, parameters: Parameters) -> tuple[float, ...]:
        active = self.active(parameters)
        place = tuple(item for item in active.items() if item[0].startswith(FAMILY))
        if place not in self._features:
            self._features[place] = self._told(parameters)
        return self._features[place]

    def _recipe(self, parameters: Parameters) -> str:
        """The recipe key; of equal recipes it is computed once."""
        active = self.active(parameters)
        place = tuple(i for i in active.items() if not i[0].startswith(SHARED))
        if place not in self._recipes:
            candidate = self.study.space.decode(parameters, self.splits.input_shape)
            self._recipes[place] = candidate.recipe_key(self.study.cost_context())
        return self._recipes[place]

    def _told(self, parameters: Parameters) -> tuple[float, ...]:
        candidate = self.study.space.decode(parameters, self.splits.input_shape)
        try:
            with torch.device("meta"):
                network = self.study.space.build(candidate, *self.splits.signature)
            return features(network, self._example)
        except Exception:  # any network may fail on tensors without data: it counts as average
            return (float("nan"),) * len(NAMES)
