"""The sampler: believes, expects, proposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.samplers.ehvi.box import Box, default_box
from search.samplers.ehvi.curves import Curves, Seen
from search.samplers.ehvi.describing import Describer, Several, few, remembered
from search.samplers.ehvi.encoding import Encoding
from search.samplers.ehvi.model import Model
from search.samplers.ehvi.pool import Parameters, Space, neighbours, random_ones, recombined
from search.samplers.ehvi.process import Array, Description, Hyper, Process

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

ALWAYS_REFITTED = 40
"""Observations up to which hyper-parameters are fitted for every proposal ..."""
REFIT_EVERY, REFIT_SHARE = 4, 25
"""... and from which on after so many new ones, or one in so many of all, whichever is more."""
CLIMBS = 2
"""Times that the neighbours of the most promising candidates are looked at too."""
PROMISING = 8
FEWEST = 3
"""Results without which there is no model, however many candidates are in flight."""
IN_FLIGHT_PER_PICK = 16
"""Candidates in flight for each that is proposed at once: what the last of them does not know yet
is little beside what none of them knows."""
MOST_AT_ONCE = 32
PARENT = "parent"
"""User attribute of a trial from the weights of another: no draw that the start counts."""
STARTERS = 300
"""Random candidates of which an affordable one is taken before the model is used ..."""
FEWEST_COSTS = 4
"""... once so many costs are known."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """The trials so far: over, in flight, failed."""

    trials: Sequence[FrozenTrial]
    asked: Sequence[Parameters]
    num_over: int
    num_running: int
    maximize: Sequence[bool]


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
        priced: Sequence[Mapping[str, Any]] = (),
        curves: Callable[[int], Sequence[Seen]] | None = None,
        curve_of: int = 0,
        features: Callable[[Several], Array] | None = None,
        features_at_once: int = 16,
        pool: int = 1000,
        log_losses: bool = True,
    ) -> None:
        """Everything but the seed has a default that asks nothing of the caller.

        Args:
            seed: of all draws.
            startup: trials with a value in every objective before the model is used; one from the
                weights of another (user attribute `parent`) does not count.
            box: where hypervolume counts; None for one around the front, see `default_box`.
            space: distributions of all parameters; default is what all finished trials share.
            active: parameters -> those that matter, so that equal candidates are equal.
            costs: n candidates -> (n, m) values, NaN where unknown; known ones are taken as exact.
            priced: candidates that are no trials, and whose `costs` are known.
            curves: number of a trial -> what was seen of the objective `curve_of` on the way.
                Trials in flight and those that were stopped have some too. What was seen of
                another candidate than the trial's own is read as that one's.
            curve_of: index of that objective.
            features: n candidates -> (n, f) numbers of their networks, any scale.
            features_at_once: candidates whose features are asked for in one proposal; if there
                are more, those come first that are promising by features guessed from choices.
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
        self._active = remembered(active)
        self._costs = costs
        self._priced = tuple(priced)
        self._curves, self._curve_of = curves, curve_of
        self._features = features
        self._features_at_once = features_at_once
        self._pool = pool
        self._log_losses = log_losses
        self._fits: dict[int, tuple[int, Hyper]] = {}
        self._picked: list[Parameters] = []
        """Chosen together with the last proposal, to be proposed next."""

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
        if self._picked and self._picked[0].keys() == search_space.keys():
            return self._picked.pop(0)
        past = self._past(study, search_space, but=trial.number)
        seen = {self._name(parameters) for parameters in past.asked}
        candidates = self._fresh(random_ones(search_space, self._pool, self._rng), seen)
        if not candidates:
            return random_ones(search_space, 1, self._rng)[0]
        model = self._model(search_space, past)
        if model is None:
            return self._affordable(search_space, past, candidates)
        parents = [past.asked[row] for row in model.parents()]
        # of the relatives of good ones nearly as many as random ones
        candidates += self._fresh(
            neighbours(search_space, parents, self._pool // 2, self._rng)
            + recombined(search_space, parents, self._pool // 4, self._rng),
            seen,
        )
        at_once = min(MOST_AT_ONCE, max(1, past.num_running // IN_FLIGHT_PER_PICK))
        best, *self._picked = self._best(model, search_space, candidates, seen, at_once)
        return best

    def worth(
        self, study: Study, space: Mapping[str, BaseDistribution], candidates: Several
    ) -> Array | None:
        """(n,) expected growth of the hypervolume by each of some candidates of `space`.

        None while too little is known.
        """
        model = self._model(space, self._past(study, space))
        return None if model is None else model.worth(candidates, rough=False)

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

    def _past(self, study: Study, space: Space, but: int | None = None) -> Past:
        """All trials that have every parameter of `space`: first what is over, then the rest."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL)
        trials = [
            t
            for t in study.get_trials(deepcopy=False, states=states)
            if t.number != but and space.keys() <= t.params.keys()
        ]
        trials += [
            create_trial(
                state=TrialState.PRUNED, params=dict(each), distributions=dict(space), values=None
            )
            for each in self._priced
        ]
        order = {TrialState.COMPLETE: 0, TrialState.PRUNED: 0, TrialState.RUNNING: 1}
        trials.sort(key=lambda t: order.get(t.state, 2))
        return Past(
            trials=trials,
            asked=[{name: t.params[name] for name in space} for t in trials],
            num_over=sum(order.get(t.state) == 0 for t in trials),
            num_running=sum(order.get(t.state) == 1 for t in trials),
            maximize=[direction.name == "MAXIMIZE" for direction in study.directions],
        )

    def _model(self, space: Space, past: Past) -> Model | None:
        """Beliefs, once enough trials have a value in every objective."""
        values = self._values(past)
        whole = ~np.isnan(values).any(axis=1)
        draws = np.array([PARENT not in t.user_attrs for t in past.trials], dtype=bool)
        running = draws[past.num_over :][: past.num_running].sum()
        # with many in flight, a model of few results is better than as many draws again
        started = min(running, self._startup - FEWEST)
        if (whole & draws[: past.num_over]).sum() + max(0, started) < self._startup:
            return None
        box = self._box() or default_box(values[whole], past.maximize)
        curves, others = self._on_the_way(past, box)
        known = [*past.asked[: past.num_over + past.num_running], *others]
        describer = Describer(Encoding(space), self._active, self._features, known)
        return Model(
            describer,
            box.losses(values),
            [log or not self._log_losses for log in box.log],
            curves,
            self._process,
            num_ahead=past.num_running,
            known=None if self._costs is None else partial(self._known_losses, box),
            floor=0.0 if box.bounded else -np.inf,
        )

    def _affordable(self, space: Space, past: Past, candidates: list[Parameters]) -> Parameters:
        """The first candidate that costs, by one deviation, less than the reference; or nearly."""
        box = self._box()
        if box is None:
            return candidates[0]
        losses = box.losses(self._values(past))
        some, tried = candidates[:STARTERS], past.asked[: past.num_over]
        encoding = Encoding(space)
        known = encoding.describe([self._active(each) for each in tried])
        wanted = encoding.describe([self._active(each) for each in some])
        worst = np.zeros(len(some))
        for column in losses.T:
            rows = np.flatnonzero(~np.isnan(column))
            if len(rows) >= FEWEST_COSTS and (column[rows] > 1).any():
                process = Process(known.rows(rows), column[rows], rng=self._rng)
                mean, std = process.predict(wanted)
                worst = np.maximum(worst, mean + std)
        within = np.flatnonzero(worst <= 1)
        return some[int(within[0]) if len(within) else int(worst.argmin())]

    def _best(
        self,
        model: Model,
        space: Space,
        candidates: list[Parameters],
        seen: set[Any],
        at_once: int,
    ) -> list[Parameters]:
        """The most promising candidates, relatives of those looked at too, told exactly."""
        rough = self._features is not None and self._features_at_once < len(candidates)
        worth = model.worth(candidates, rough=rough)
        for _ in range(CLIMBS):
            top = [candidates[i] for i in np.argsort(-worth, kind="stable")[:PROMISING]]
            more = self._fresh(neighbours(space, top, self._pool // 10, self._rng), seen)
            if more:
                candidates = candidates + more
                worth = np.concatenate([worth, model.worth(more, rough=rough)])
        if not rough and at_once == 1:
            return [candidates[int(np.argmax(worth))]]
        closer = max(self._features_at_once, 2 * at_once) if rough else PROMISING * at_once
        best_first = [candidates[i] for i in np.argsort(-worth, kind="stable")[: 4 * closer]]
        some = self._fresh(best_first, set())[:closer]
        return [some[i] for i in model.picks(some, at_once)]

    def _fresh(self, candidates: list[Parameters], seen: set[Any]) -> list[Parameters]:
        """Without those that were tried, or stand there twice."""
        named = {self._name(candidate): candidate for candidate in candidates}
        return [candidate for name, candidate in named.items() if name not in seen]

    def _name(self, parameters: Mapping[str, Any]) -> Any:
        return tuple(self._active(parameters).items())

    def _values(self, past: Past) -> Array:
        """(n, m) of what is over; of those that were stopped, what is known of their costs."""
        trials = past.trials[: past.num_over]
        values = np.full((len(trials), len(past.maximize)), np.nan)
        for row, trial in enumerate(trials):
            if trial.state == TrialState.COMPLETE:
                values[row] = trial.values
        if self._costs is not None and trials:
            known = self._costs(past.asked[: past.num_over])
            values = np.where(np.isnan(values), known, values)
        return np.where(np.isfinite(values), values, np.nan)

    def _known_losses(self, box: Box, several: Several) -> Array:
        assert self._costs is not None
        return box.losses(self._costs(several))

    def _on_the_way(self, past: Past, box: Box) -> tuple[Curves | None, list[Parameters]]:
        """Losses at shares of a full training; candidates among theirs that are no trials."""
        if self._curves is None:
            return None, []
        known = past.num_over + past.num_running
        rows = {self._name(asked): row for row, asked in enumerate(past.asked[:known])}
        others: list[Parameters] = []
        points: dict[tuple[int, float], float] = {}
        num_trials = 0
        for row, trial in enumerate(past.trials[:known]):
            curve = self._curves(trial.number)
            if not curve and trial.state == TrialState.COMPLETE:
                curve = [Seen(1.0, trial.values[self._curve_of])]
            num_trials += bool(curve)
            for share, value, of in curve:
                at = row
                if of is not None:
                    at = rows.setdefault(self._name(of), known + len(others))
                    if at == known + len(others):
                        others.append(dict(of))
                points.setdefault((at, share), value)
        table = np.full((len(points), len(box.log)), np.nan)
        table[:, self._curve_of] = list(points.values())
        places, shares = zip(*points, strict=True) if points else ((), ())
        curves = Curves(
            self._curve_of,
            np.array(places, dtype=np.int64),
            np.array(shares, dtype=np.float64),
            box.losses(table)[:, self._curve_of],
            num_trials,
        )
        return curves, others

    def _process(self, objective: int, known: Description, targets: Array) -> Process:
        """A process on what is known of an objective; hyper-parameters are not always refitted."""
        total = len(targets)
        rows = few(total)
        known, targets = known.rows(rows), targets[rows]
        num, hyper = self._fits.get(objective, (0, None))
        if hyper is not None and len(hyper.weights) != known.num_groups:
            num, hyper = 0, None
        due = total <= ALWAYS_REFITTED or total - num >= max(REFIT_EVERY, total // REFIT_SHARE)
        refit = total != num and due
        process = Process(known, targets, start=hyper, refit=refit, rng=self._rng)
        if refit:
            self._fits[objective] = (total, process.hyper)
        return process
