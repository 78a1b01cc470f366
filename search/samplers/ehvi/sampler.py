"""The sampler: believes, expects, proposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from search.samplers.ehvi.box import Box, default_box
from search.samplers.ehvi.encoding import Encoding
from search.samplers.ehvi.improvement import Belief, expected_improvement
from search.samplers.ehvi.pool import Parameters, Space, neighbours, random_ones, recombined
from search.samplers.ehvi.process import Array, Description, Hyper, Process

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

Several = Sequence[Mapping[str, Any]]
ALWAYS_REFITTED = 40
"""Observations up to which hyper-parameters are fitted for every proposal ..."""
REFIT_EVERY = 4
"""... and from which on after so many new ones."""
SHIFT = 0.02
"""Added to a loss before its logarithm; a fiftieth of the box, so that 0 stays finite."""
CLIMBS = 2
"""Times that the neighbours of the most promising candidates are looked at too."""
PROMISING = 8


class EHVISampler(BaseSampler):
    """Expected hypervolume improvement in closed form, with costs known where they are.

    One Gaussian process for each objective, on the choices and, where `features` tells them, on
    numbers of the candidate's network. Losses of maximised objectives are modelled by their
    logarithm, so that candidates at chance level do not dominate the fit. Trials in flight count
    as if they had met their expectation (Ginsbourger et al. 2010, kriging believer).

    Source of the frame: Daulton et al. 2020, arXiv:2006.05078; 2023 (decoupled evaluations).
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        startup: int = 6,
        box: Callable[[], Box | None] = lambda: None,
        space: Mapping[str, BaseDistribution] | None = None,
        active: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        costs: Callable[[Several], Array] | None = None,
        features: Callable[[Several], Array] | None = None,
        linear_features: Sequence[int] = (),
        pool: int = 1000,
        log_losses: bool = True,
    ) -> None:
        """Everything but the seed has a default that asks nothing of the caller.

        Args:
            seed: of all draws.
            startup: trials with a value in every objective before the model is used.
            box: where hypervolume counts; None for one around the front, see `default_box`.
            space: distributions of all parameters; default is what all finished trials share.
            active: parameters -> those that matter, so that equal candidates are equal.
            costs: n candidates -> (n, m) values, NaN where unknown; known ones are taken as exact.
            features: n candidates -> (n, f) numbers of their networks, any scale.
            linear_features: which of them may have a linear effect.
            pool: random candidates that are considered for a proposal, besides relatives of good
                ones.
            log_losses: model the logarithm of losses that are not on a logarithmic scale.
        """
        self._rng = np.random.default_rng(seed)
        self._independent = RandomSampler(seed=seed)
        self._startup = startup
        self._box = box
        self._space = dict(space) if space is not None else None
        self._shared = IntersectionSearchSpace()
        self._active = active
        self._costs = costs
        self._features = features
        self._linear = tuple(linear_features)
        self._pool = pool
        self._log_losses = log_losses
        self._fits: dict[int, tuple[int, Hyper]] = {}

    # --- Optuna's side ---

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters that were given, or those that all finished trials have."""
        if self._space is not None:
            return dict(self._space)
        shared = self._shared.calculate(study)
        return {name: kind for name, kind in shared.items() if not kind.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The candidate of most expected improvement; a random one at the start."""
        if not search_space:
            return {}
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)
        trials = [
            t
            for t in study.get_trials(deepcopy=False, states=states)
            if t.number != trial.number and search_space.keys() <= t.params.keys()
        ]
        maximize = [direction.name == "MAXIMIZE" for direction in study.directions]
        return self._propose(search_space, trials, maximize)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """At random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """For a process that was forked."""
        self._rng = np.random.default_rng()
        self._independent.reseed_rng()

    # --- ours ---

    def _propose(
        self, space: Space, trials: Sequence[FrozenTrial], maximize: Sequence[bool]
    ) -> Parameters:
        seen = {self._name(t.params) for t in trials}
        finished = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        values = self._values(finished, len(maximize))
        whole = ~np.isnan(values).any(axis=1)
        candidates = self._fresh(random_ones(space, self._pool, self._rng), seen)
        if whole.sum() < self._startup or not candidates:
            return (candidates or random_ones(space, 1, self._rng))[0]
        box = self._box() or default_box(values[whole], maximize)
        running = [t.params for t in trials if t.state == TrialState.RUNNING]
        model = _Model(self, space, [t.params for t in finished], box.losses(values), box, running)
        parents = [finished[i].params for i in model.front_rows()] or [finished[-1].params]
        # of the relatives of good ones as many as random ones
        candidates += self._fresh(
            neighbours(space, parents, self._pool // 2, self._rng)
            + recombined(space, parents, self._pool // 4, self._rng),
            seen,
        )
        worth = model.worth(candidates)
        for _ in range(CLIMBS):
            top = [candidates[i] for i in np.argsort(-worth)[:PROMISING]]
            more = self._fresh(neighbours(space, top, self._pool // 10, self._rng), seen)
            if more:
                candidates, worth = (
                    candidates + more,
                    np.concatenate([worth, model.worth(more)]),
                )
        return candidates[int(np.argmax(worth))]

    def _fresh(self, candidates: list[Parameters], seen: set[Any]) -> list[Parameters]:
        """Without those that were tried, or stand there twice."""
        named = {self._name(candidate): candidate for candidate in candidates}
        return [candidate for name, candidate in named.items() if name not in seen]

    def _name(self, parameters: Mapping[str, Any]) -> Any:
        return tuple(sorted((k, str(v)) for k, v in self._active(parameters).items()))

    def _values(self, trials: Sequence[FrozenTrial], num: int) -> Array:
        """(n, m) of what trials ended with, costs also of those that were stopped."""
        values = np.full((len(trials), num), np.nan)
        for row, trial in enumerate(trials):
            if trial.state == TrialState.COMPLETE:
                values[row] = trial.values
        if self._costs is not None and trials:
            known = self._costs([t.params for t in trials])
            values = np.where(np.isnan(values), known, values)
        return values

    def _process(self, objective: int, known: Description, targets: Array) -> Process:
        """A process on what is known of an objective; hyper-parameters are not always refitted."""
        num, hyper = self._fits.get(objective, (0, None))
        if hyper is not None and len(hyper.weights) != known.num_groups:
            num, hyper = 0, None
        due = len(targets) <= ALWAYS_REFITTED or len(targets) - num >= REFIT_EVERY
        refit = len(targets) != num and due
        process = Process(known, targets, start=hyper, refit=refit, rng=self._rng)
        if refit:
            self._fits[objective] = (len(targets), process.hyper)
        return process


class _Model:
    """Beliefs about all losses, for one proposal."""

    def __init__(
        self,
        sampler: EHVISampler,
        space: Space,
        tried: Sequence[Parameters],
        losses: Array,
        box: Box,
        running: Sequence[Parameters],
    ) -> None:
        self.sampler, self.box, self.losses = sampler, box, losses
        self.encoding = Encoding(space)
        self.scaling: tuple[Array, Array] | None = None
        everyone = self._describe([*tried, *running])
        self.processes: list[Process | None] = []
        pending = np.full((len(running), losses.shape[1]), np.nan)
        for m in range(losses.shape[1]):
            rows = np.flatnonzero(~np.isnan(losses[:, m]))
            targets = self._to_target(losses[rows, m], m)
            process = sampler._process(m, everyone.rows(rows), targets)
            if running:
                ahead = np.arange(len(tried), len(tried) + len(running))
                mean, _ = process.predict(everyone.rows(ahead))
                pending[:, m] = self._from_target(mean, m)
                process = Process(
                    everyone.rows(np.concatenate([rows, ahead])),
                    np.concatenate([targets, mean]),
                    start=process.hyper,
                    refit=False,
                )
            self.processes.append(process)
        whole = losses[~np.isnan(losses).any(axis=1)]
        self.front = _front(np.concatenate([whole, pending]) if running else whole)

    def front_rows(self) -> list[int]:
        """Rows of the trials that no other one beats, the newest first."""
        rows = np.flatnonzero(~np.isnan(self.losses).any(axis=1))
        inside = rows[(self.losses[rows] < 1).all(axis=1)]
        rows = inside if len(inside) else rows
        points = self.losses[rows]
        return [int(row) for row in rows[_best(points)]][::-1]

    def worth(self, candidates: Sequence[Parameters]) -> Array:
        """(n,) expected improvement of each."""
        described = self._describe(candidates)
        exact = np.full((len(candidates), self.losses.shape[1]), np.nan)
        if self.sampler._costs is not None:
            exact = self.box.losses(self.sampler._costs(candidates))
        beliefs = []
        for m, process in enumerate(self.processes):
            assert process is not None
            known = ~np.isnan(exact[:, m])
            shift = SHIFT if self._logged(m) else None
            mean, std = np.zeros(len(candidates)), np.zeros(len(candidates))
            if not known.all():
                mean, std = process.predict(described)
            told = self._to_target(np.where(known, exact[:, m], 0.0), m)
            beliefs.append(Belief(np.where(known, told, mean), np.where(known, 0.0, std), shift))
        return expected_improvement(beliefs, self.front, np.ones(self.losses.shape[1]))

    def _describe(self, candidates: Sequence[Parameters]) -> Description:
        active = [self.sampler._active(candidate) for candidate in candidates]
        if self.sampler._features is None:
            return self.encoding.describe(active)
        features = self.sampler._features(candidates)
        if self.scaling is None:
            deviation = features.std(axis=0)
            self.scaling = features.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
        mean, deviation = self.scaling
        return self.encoding.describe(active, (features - mean) / deviation, self.sampler._linear)

    def _logged(self, m: int) -> bool:
        return self.sampler._log_losses and not self.box.log[m]

    def _to_target(self, losses: Array, m: int) -> Array:
        return np.log(np.maximum(losses, 0.0) + SHIFT) if self._logged(m) else losses

    def _from_target(self, targets: Array, m: int) -> Array:
        return np.exp(targets) - SHIFT if self._logged(m) else targets


def _best(points: Array) -> Array:
    """(n,) whether no other point is nowhere worse and somewhere better."""
    worse = (points[:, np.newaxis] <= points).all(-1) & (points[:, np.newaxis] < points).any(-1)
    return np.asarray(~worse.any(axis=0))


def _front(points: Array) -> Array:
    return np.unique(points[_best(points)], axis=0)
