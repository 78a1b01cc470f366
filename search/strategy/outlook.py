"""The gate's second half: a candidate that could not reach the front is not trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from objectives.units import format_quantity
from search.known import StudyKnowledge
from search.pareto import Array
from search.samplers.distributions import distributions
from search.samplers.ehvi.describing import Describer
from search.samplers.ehvi.encoding import Encoding
from search.samplers.ehvi.model import shift_of
from search.samplers.ehvi.process import Description, Hyper, Process
from search.samplers.knowledge import Parameters
from search.state import Known
from search.study import Objective

FEWEST_DONE = 8
"""Candidates at the last rung without which nothing is foretold."""
REFIT_EVERY = 20
"""New scores after which hyper-parameters are fitted anew."""
MOST_SCORES = 300
"""Scores that a forecast reads, the newest; a fit takes the third power of their number."""


Name = tuple[tuple[str, Any], ...]
"""The items of an assignment."""
Score = tuple[Name, float, float]
"""(candidate, share of a full training, score then)"""


@dataclass(frozen=True)
class Forecast:
    """A score that was not measured."""

    expected: float
    optimistic: float
    """So many deviations better as the gate is told."""


@dataclass(frozen=True)
class Reading:
    """What was made of the scores so far; it holds until there are others."""

    scores: Sequence[Score]
    describer: Describer
    process: Process
    shift: float | None


class Outlook:
    """Foretells scores from choices, networks and the learning curves of all candidates so far.

    The model is the one of the sampler `ehvi`; it serves every sampler.
    """

    def __init__(self, known: StudyKnowledge, deviations: float) -> None:
        self.known, self.deviations = known, deviations
        self.study, self.scale = known.study, known.scale
        self.encoding = Encoding(distributions(self.study.space.open_choices))
        self._hyper: Hyper | None = None
        self._fitted = 0
        self._enough = False
        self._encoded: dict[int, Parameters] = {}
        self._reading: Reading | None = None

    def hopeless(
        self, trial: Known, trials: Mapping[int, Known], front: Sequence[int]
    ) -> str | None:
        """The sentence that says which member is better even at an optimistic score, or None."""
        if not self.deviations or not self._begun(trials):
            return None
        cheaper = [number for number in front if self._cheaper(trials[number], trial)]
        if not cheaper:
            return None
        forecast = self.forecast(trial, trials)
        metric = self._metric()
        sign = 1 if metric.direction == "minimize" else -1
        for number in cheaper:
            if sign * trials[number].value(metric.name) <= sign * forecast.optimistic:
                optimistic, expected = (
                    format_quantity(value, metric.unit)
                    for value in (forecast.optimistic, forecast.expected)
                )
                return (
                    f"trial {number} is better in everything even at {metric.name} {optimistic}, "
                    f"{self.deviations:g} deviations beyond the {expected} expected"
                )
        return None

    def forecast(self, trial: Known, trials: Mapping[int, Known]) -> Forecast:
        """The score of a full training of `trial`."""
        reading = self._read(self._newest_scores(trials))
        own = reading.describer.exact([self._parameters(trial)]).joined(np.zeros(1))
        [mean], [std] = reading.process.predict(own)
        ends = np.array([mean, mean - self.deviations * std])
        expected, optimistic = ends if reading.shift is None else np.exp(ends) - reading.shift
        return Forecast(self._value(expected), self._value(optimistic))

    def _read(self, scores: Sequence[Score]) -> Reading:
        if self._reading is not None and self._reading.scores == scores:
            return self._reading
        names, shares, values = zip(*scores, strict=True)
        places = {name: place for place, name in enumerate(dict.fromkeys(names))}
        several = [dict(name) for name in places]
        describer = Describer(self.encoding, self.known.active, self.known.features, several)
        rows = np.array([places[name] for name in names])
        described = describer.known().rows(rows).joined(np.log(shares))
        losses = self._losses(np.array(values))
        shift = shift_of(losses)
        process = self._process(described, losses if shift is None else np.log(losses + shift))
        self._reading = Reading(scores, describer, process, shift)
        return self._reading

    def _parameters(self, trial: Known) -> Parameters:
        """An assignment that decodes to the trial's candidate."""
        if trial.number not in self._encoded:
            self._encoded[trial.number] = self.study.space.encode(trial.candidate)
        return self._encoded[trial.number]

    def _process(self, described: Description, targets: Array) -> Process:
        due = self._hyper is None or abs(len(targets) - self._fitted) >= REFIT_EVERY
        process = Process(described, targets, start=self._hyper, refit=due)
        if due:
            self._hyper, self._fitted = process.hyper, len(targets)
        return process

    def _cheaper(self, member: Known, trial: Known) -> bool:
        """Whether a member costs no more in anything."""
        return all(
            (1 if o.direction == "minimize" else -1) * (member.value(o.name) - trial.value(o.name))
            <= 0
            for o in self.study.objectives
            if o.cost is not None
        )

    def _metric(self) -> Objective:
        return next(o for o in self.study.objectives if o.cost is None)

    def _begun(self, trials: Mapping[int, Known]) -> bool:
        """Whether enough candidates are done; once they are, they stay so."""
        if not self._enough:
            done = (t for t in trials.values() if t.final is not None and t.final.status == "done")
            self._enough = len(list(islice(done, FEWEST_DONE))) == FEWEST_DONE
        return self._enough

    def _newest_scores(self, trials: Mapping[int, Known]) -> list[Score]:
        """As many as are read."""
        newest: dict[tuple[Name, float], float] = {}
        for number in reversed(list(trials)):
            for seen in reversed(self.known.curve(number)):
                of = self._parameters(trials[number]) if seen.of is None else seen.of
                newest.setdefault((tuple(of.items()), seen.share), seen.value)
            if len(newest) >= MOST_SCORES:
                break
        newest_first = [(name, share, value) for (name, share), value in newest.items()]
        return newest_first[:MOST_SCORES][::-1]

    def _losses(self, values: Array) -> Array:
        """0 for a perfect score, 1 for that of a constant answer."""
        name = self._metric().name
        ideal, reference = self.scale.ideal[name], self.scale.reference[name]
        return np.asarray((values - ideal) / (reference - ideal))

    def _value(self, loss: float) -> float:
        name = self._metric().name
        ideal, reference = self.scale.ideal[name], self.scale.reference[name]
        return float(ideal + loss * (reference - ideal))
