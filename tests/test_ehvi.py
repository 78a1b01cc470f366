"""Our sampler: boxes, expectations, the process, and what it does with strange studies."""

import ast
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from scipy.optimize import check_grad

import search.samplers.ehvi
from search.samplers.ehvi import Box, EHVISampler, Seen, process
from search.samplers.ehvi.box import best, default_box
from search.samplers.ehvi.boxes import free_boxes
from search.samplers.ehvi.encoding import Encoding, draw, nudge
from search.samplers.ehvi.improvement import Belief, expected_improvement
from search.samplers.ehvi.model import Model
from search.samplers.ehvi.process import (
    Array,
    Description,
    Hyper,
    Process,
    covariance,
    squared_distances,
)

optuna.logging.disable_default_handler()


def points(num: int, losses: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((num, losses)) * 1.2


def volume(front: Array) -> float:
    inside = front[(front < 1).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=np.ones(front.shape[1]))) if len(inside) else 0.0


# --- the free region and what a point gains there ---


@settings(max_examples=60, deadline=None)
@given(num=st.integers(0, 12), losses=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_boxes_fill_exactly_what_the_front_leaves_free(num: int, losses: int, seed: int) -> None:
    front = np.round(points(num, losses, seed), 1)  # ties among coordinates
    lower, upper = free_boxes(front, np.ones(losses))
    assert (lower < upper).all()
    free = np.prod(upper - np.maximum(lower, 0.0), axis=1).sum()
    assert free + volume(front) == pytest.approx(1.0)


@pytest.mark.parametrize(("losses", "most"), [(1, 1), (2, 16), (3, 31)])
def test_boxes_are_few(losses: int, most: int) -> None:
    simplex = np.random.default_rng(0).dirichlet(np.ones(losses), 15) * 0.9
    assert len(free_boxes(simplex, np.ones(losses))[0]) <= most


@settings(max_examples=40, deadline=None)
@given(num=st.integers(0, 8), losses=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_known_losses_gain_the_difference_of_hypervolumes(
    num: int, losses: int, seed: int
) -> None:
    front, new = points(num, losses, seed), points(5, losses, seed + 1)
    sure = [Belief(new[:, m], np.zeros(5)) for m in range(losses)]
    gained = [volume(np.vstack([front, point])) - volume(front) for point in new]
    assert expected_improvement(sure, *free_boxes(front, np.ones(losses))) == pytest.approx(
        gained, abs=1e-9
    )


@pytest.mark.parametrize("losses", [2, 3, 4])
@pytest.mark.parametrize("shift", [None, 0.05])
def test_expectation_is_what_draws_gain_in_the_mean(losses: int, shift: float | None) -> None:
    rng, front = np.random.default_rng(1), points(6, losses)
    mean, std = np.full(losses, 0.3), np.linspace(0.0, 0.2, losses)
    if shift is not None:
        mean = np.log(mean + shift)
    beliefs = [Belief(mean[[m]], std[[m]], shift) for m in range(losses)]
    drawn = rng.normal(mean, std, size=(4000, losses))
    drawn = drawn if shift is None else np.exp(drawn) - shift
    gained = np.array([volume(np.vstack([front, point])) for point in drawn]) - volume(front)
    error = 4 * gained.std() / math.sqrt(len(gained))
    [expected] = expected_improvement(beliefs, *free_boxes(front, np.ones(losses)))
    assert abs(expected - gained.mean()) < error + 1e-12


def test_loss_beyond_the_reference_is_worth_nothing_and_an_infinite_one_neither() -> None:
    beliefs = [Belief(np.array([1.5, np.inf]), np.zeros(2)), Belief(np.zeros(2), np.ones(2))]
    assert expected_improvement(
        beliefs, *free_boxes(np.zeros((0, 2)), np.ones(2))
    ) == pytest.approx([0, 0])


def test_points_of_equal_losses_are_all_kept() -> None:
    assert best(np.array([[0.0, 1], [0, 1], [1, 0], [1, 1]])).tolist() == [True, True, True, False]


def test_default_box_lies_around_the_front_in_the_objectives_own_sign() -> None:
    values = np.array([[0.9, 10.0], [0.5, 5.0], [0.4, 20.0]])
    box = default_box(values, [True, False])
    assert box.ideal == (0.9, 5.0)
    assert box.reference == pytest.approx((0.46, 10.5))
    assert box.losses(values)[:2].max() < 1


# --- the process ---


def described(num: int, seed: int = 0) -> Description:
    rng = np.random.default_rng(seed)
    return Description(rng.random((num, 4)), np.array([0, 0, 1, 2]), np.array([3]))


def test_gradient_is_that_of_the_objective() -> None:
    known, means = described(12), process.prior(3)[0]
    unit = np.sin(5 * known.columns[:, 0]) + known.columns[:, 3]
    linear = known.columns[:, [3]] @ known.columns[:, [3]].T
    args = (process._distances(known), linear, unit, *process.prior(3))
    error = check_grad(
        lambda v: process._objective(v, *args)[0],
        lambda v: process._objective(v, *args)[1],
        means + 0.3,
    )
    assert error < 1e-4


def test_kernel_is_that_of_the_groups_weights() -> None:
    known = described(5)
    hyper = Hyper(np.log([0.5, 2.0, 1.0]), 0.1, -1.0, -4.0)
    a, b = known.columns[0], known.columns[3]
    distance = 0.5 * ((a - b)[:2] ** 2).sum() + 2 * (a - b)[2] ** 2 + (a - b)[3] ** 2
    expected = math.exp(0.1 - distance) + math.exp(-1) * a[3] * b[3]
    assert covariance(known, known, hyper)[0, 3] == pytest.approx(expected)


def test_process_finds_what_matters_and_knows_where_it_knows_little() -> None:
    known, unseen = described(60), described(200, seed=1)
    made = Process(known, np.exp(known.columns[:, 0]))
    mean, std = made.predict(unseen)
    assert np.abs(mean - np.exp(unseen.columns[:, 0])).max() < 0.1
    far = Description(unseen.columns + 50.0, unseen.groups, unseen.linear)
    assert made.predict(far)[1].min() > 5 * std.max()


def test_belief_in_candidates_ahead_changes_no_mean_and_makes_surer() -> None:
    known, ahead = described(10), described(3, seed=1)
    made = Process(known, known.columns[:, 0])
    mean, std = made.predict(ahead)
    again, surer = made.believing(ahead, mean).predict(ahead)
    assert again == pytest.approx(mean, abs=1e-3)
    assert (surer < std).all()


def test_targets_that_are_all_equal_are_no_trouble() -> None:
    mean, _ = Process(described(8), np.full(8, 3.0)).predict(described(4, seed=1))
    assert mean == pytest.approx(np.full(4, 3.0))


# --- choices as numbers ---

SPACE: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "flag": CategoricalDistribution([False, True]),
    "width": CategoricalDistribution([8, 16, 64]),
    "depth": IntDistribution(1, 5, step=2),
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "size": IntDistribution(1, 100, log=True),
    "share": FloatDistribution(0.0, 1.0),
    "grid": FloatDistribution(0.0, 0.3, step=0.1),
    "only": CategoricalDistribution(["x"]),
}
BASE = {
    "kind": "a",
    "flag": False,
    "width": 8,
    "depth": 1,
    "lr": 1e-4,
    "size": 1,
    "share": 0.0,
    "grid": 0.0,
    "only": "x",
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"kind": "b"}, 1.0),
        ({"kind": "c"}, 1.0),
        ({"flag": True}, 1.0),
        ({"width": 16}, 0.25),
        ({"width": 64}, 1.0),
        ({"depth": 3}, 0.25),
        ({"lr": 1e-1}, 1.0),
        ({"share": 0.5}, 0.25),
        ({"kind": "b", "depth": 5}, 2.0),
    ],
    ids=str,
)
def test_candidates_are_as_far_apart_as_their_choices(
    changed: dict[str, Any], expected: float
) -> None:
    pair = Encoding(SPACE).describe([BASE, {**BASE, **changed}])
    assert squared_distances(pair, pair)[0, 1] == pytest.approx(expected)


def test_inactive_choices_are_equal_to_each_other_and_unlike_any_value() -> None:
    without = {k: v for k, v in BASE.items() if k != "kind"}
    three = Encoding(SPACE).describe([without, without, BASE])
    distances = squared_distances(three, three)
    assert distances[0, 1] == 0
    assert distances[0, 2] >= 1


@pytest.mark.parametrize("name", SPACE)
def test_draws_and_nudges_stay_in_the_domain(name: str) -> None:
    kind, rng = SPACE[name], np.random.default_rng(0)
    values = draw(kind, 40, rng)
    values += [nudge(kind, value, rng) for value in values]
    assert all(kind._contains(kind.to_internal_repr(value)) for value in values)
    assert kind.single() or len(set(map(str, values))) > 1


# --- the sampler ---

GRID: dict[str, BaseDistribution] = {
    name: CategoricalDistribution(list(range(6))) for name in ("a", "b", "c")
}
BOX = Box((1.0, 1.0), (0.0, 20.0), (False, True))
EVERYTHING = [dict(zip(GRID, values, strict=True)) for values in product(range(6), repeat=3)]


def values_of(p: Mapping[str, Any]) -> list[float]:
    """Score and cost of a point of the grid: a and b help and cost, c has a best value."""
    score = 1 - math.exp(-0.3 * (p["a"] + p["b"])) - 0.1 * abs(p["c"] - 2)
    return [score, 1.0 + p["a"] + 2 * p["b"]]


def searched(
    asks: int,
    *,
    values: Callable[[Mapping[str, Any]], Sequence[float] | None] = values_of,
    directions: Sequence[str] = ("maximize", "minimize"),
    space: Mapping[str, BaseDistribution] = GRID,
    **options: Any,
) -> optuna.Study:
    """Ask and tell; a candidate without values is pruned."""
    study = optuna.create_study(
        directions=list(directions),
        sampler=EHVISampler(**{"seed": 0, "startup": 4, "space": space, "pool": 60, **options}),
    )
    for _ in range(asks):
        trial = study.ask(dict(space))
        told = values(trial.params)
        if told is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, told)
    return study


def costs_of(several: Sequence[Mapping[str, Any]]) -> Array:
    return np.array([[np.nan, values_of(p)[1]] for p in several])


def reached(study: optuna.Study) -> float:
    """Hypervolume in `BOX`, as a share of what is there."""
    table = BOX.losses(np.array([values_of(p) for p in EVERYTHING]))
    found = BOX.losses(np.array([t.values for t in study.trials if t.values]))
    return volume(np.maximum(found, 0)) / volume(np.maximum(table, 0))


def typically_reached(**options: Any) -> float:
    """After trying a ninth of the grid; median over seeds. Random candidates reach .77."""
    return statistics.median(
        reached(searched(24, box=lambda: BOX, seed=seed, **options)) for seed in range(9)
    )


@pytest.mark.parametrize("options", [{}, {"costs": costs_of}], ids=["modelled", "known"])
def test_front_of_a_grid_is_found_in_a_ninth_of_its_points(options: dict[str, Any]) -> None:
    assert typically_reached(**options) > 0.85


def test_same_seed_same_proposals() -> None:
    first, second, other = (searched(10, seed=seed) for seed in (0, 0, 1))
    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_no_candidate_is_proposed_twice_until_all_were() -> None:
    small = {name: GRID[name] for name in ("a", "b")}
    study = searched(36, space=small, values=lambda p: values_of({**p, "c": 0}))
    assert len({tuple(t.params.values()) for t in study.trials}) == 36
    trial = study.ask(dict(small))
    assert set(trial.params) == set(small)


def test_space_of_one_point_is_proposed() -> None:
    one = {"a": CategoricalDistribution([3])}
    assert searched(2, space=one, values=lambda p: [1.0, 2.0]).trials[1].params == {"a": 3}


def test_proposals_take_those_in_flight_into_account() -> None:
    study = searched(12, box=lambda: BOX, costs=costs_of)
    batch = [tuple(study.ask(dict(GRID)).params.values()) for _ in range(8)]
    assert len(set(batch)) == 8


def test_batch_is_proposed_from_one_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    study, fits = searched(12, box=lambda: BOX, costs=costs_of), []

    class Counted(Process):
        def __init__(self, *arguments: Any, refit: bool = True, **options: Any) -> None:
            fits.append(refit)
            super().__init__(*arguments, refit=refit, **options)

    monkeypatch.setattr("search.samplers.ehvi.sampler.Process", Counted)
    for _ in range(32):
        study.ask(dict(GRID))
    assert sum(fits) == 2  # the score's, the cost's


def test_many_in_flight_are_proposed_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 32 in flight 2 come of each model, and no candidate twice."""
    study, models = searched(12, box=lambda: BOX, costs=costs_of), []

    class Counted(Model):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            models.append(len(arguments))
            super().__init__(*arguments, **options)

    monkeypatch.setattr("search.samplers.ehvi.sampler.Model", Counted)
    batch = [tuple(study.ask(dict(GRID)).params.values()) for _ in range(40)]
    assert len(set(batch)) == 40
    assert len(models) == 32 + 4
    assert max(t.number for t in study.trials) == 51


def test_model_starts_with_few_results_where_many_are_in_flight() -> None:
    """With 4 to start: 3 that are done and 1 that runs will do, 2 and 2 will not."""
    for done, in_flight, modelled in ((3, 1, True), (2, 2, False), (3, 0, False)):
        study = searched(done, box=lambda: BOX)
        for _ in range(in_flight):
            study.ask(dict(GRID))
        worth = study.sampler.worth(study, GRID, EVERYTHING[:3])  # type: ignore[attr-defined]
        assert (worth is not None) == modelled


@pytest.mark.parametrize(
    "values",
    [
        lambda p: None,
        lambda p: [0.5, 3.0],
        lambda p: [0.5, float(1 + p["a"])],
        lambda p: [float(p["a"]), 3.0],
        lambda p: [-5.0 - p["a"], 100.0 + p["b"]],
        lambda p: values_of(p) if p["a"] > 2 else None,
    ],
    ids=["all pruned", "all equal", "constant score", "constant cost", "outside", "half pruned"],
)
@pytest.mark.parametrize("box", [None, BOX], ids=["own box", "given box"])
def test_strange_results_end_in_proposals(
    values: Callable[[Mapping[str, Any]], Sequence[float] | None], box: Box | None
) -> None:
    study = searched(12, values=values, box=lambda: box)
    assert len(study.trials) == 12
    assert all(set(trial.params) == set(GRID) for trial in study.trials)


@pytest.mark.parametrize("cost", [math.nan, math.inf, 1e300, 0.0, -1.0])
def test_strange_costs_end_in_proposals(cost: float) -> None:
    def some_strange(several: Sequence[Mapping[str, Any]]) -> Array:
        return np.array([[np.nan, cost if p["a"] == 1 else values_of(p)[1]] for p in several])

    assert reached(searched(24, box=lambda: BOX, costs=some_strange)) > 0.5


def test_features_that_cannot_be_told_do_not_matter() -> None:
    def features(several: Sequence[Mapping[str, Any]]) -> Array:
        return np.array(
            [[np.nan, p["a"] + p["b"] if p["c"] else np.nan, 7.0] for p in several], dtype=float
        )

    for at_once in (5, 1000):
        assert typically_reached(features=features, features_at_once=at_once) > 0.85


def test_features_are_asked_of_few_candidates() -> None:
    asked: list[int] = []

    def features(several: Sequence[Mapping[str, Any]]) -> Array:
        asked.append(len(several))
        return np.array([[p["a"] + p["b"]] for p in several], dtype=float)

    searched(14, box=lambda: BOX, features=features, features_at_once=9)
    assert asked
    assert max(asked) <= 14


def test_curves_of_stopped_trials_teach() -> None:
    """All but the first three are stopped after a tenth of their training, when they look bad."""
    asked: dict[int, Mapping[str, Any]] = {}

    def curve(trial: int) -> Sequence[Seen]:
        score = values_of(asked[trial])[0]
        return [Seen(0.1, score - 0.2), Seen(1.0, score)][: 2 if trial < 3 else 1]

    def late_score(seed: int, **options: Any) -> float:
        sampler = EHVISampler(
            seed=seed, startup=3, space=GRID, pool=60, box=lambda: BOX, costs=costs_of, **options
        )
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        asked.clear()
        for number in range(24):
            trial = study.ask(dict(GRID))
            asked[number] = trial.params
            if number < 3:
                study.tell(trial, values_of(trial.params))
            else:
                study.tell(trial, state=TrialState.PRUNED)
        return float(np.mean([values_of(p)[0] for number, p in asked.items() if number > 9]))

    taught = statistics.mean(late_score(seed, curves=curve) for seed in range(9))
    untaught = statistics.mean(late_score(seed) for seed in range(9))
    assert taught > untaught + 0.05


def test_what_was_seen_of_another_candidate_is_read_as_that_ones() -> None:
    """Every trial tells the scores of ten others besides: fewer trials reach as much."""

    def told(mistaken: bool) -> float:
        def curve(trial: int) -> Sequence[Seen]:
            places = np.random.default_rng(trial).choice(len(EVERYTHING), 10)
            others = [EVERYTHING[place] for place in places]
            return [Seen(1.0, values_of(p)[0], None if mistaken else p) for p in others]

        return typically_reached(curves=curve)

    assert told(mistaken=False) > typically_reached() + 0.02 > told(mistaken=True)


def test_start_keeps_to_what_is_affordable_as_far_as_prices_tell() -> None:
    """Two of three candidates are beyond the reference; the prices of ten others are known."""
    tight, rng = Box((1.0, 1.0), (0.0, 7.0), (False, True)), np.random.default_rng(5)
    priced = [EVERYTHING[i] for i in rng.choice(len(EVERYTHING), 12, replace=False)]

    def affordable(**options: Any) -> int:
        study = searched(12, box=lambda: tight, startup=100, costs=costs_of, **options)
        return sum(values_of(t.params)[1] <= 7 for t in study.trials)

    assert affordable(priced=priced) >= 11


def test_three_and_four_objectives_are_searched() -> None:
    for more in (1, 2):
        study = searched(
            14,
            values=lambda p, more=more: [*values_of(p), *([float(p["c"])] * more)],
            directions=["maximize", "minimize", *["minimize"] * more],
        )
        assert len(study.best_trials) > 1


def test_plain_study_that_defines_by_running_may_use_it() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_int("y", 1, 9)
        if trial.suggest_categorical("kind", ["plain", "deep"]) == "deep":
            trial.suggest_float("z", 0, 1)
        return x + y, (x - 1) ** 2 + y

    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=EHVISampler(seed=0, startup=4, pool=50)
    )
    study.optimize(objective, n_trials=14)
    assert len(study.trials) == 14


def test_package_needs_nothing_of_ours() -> None:
    folder = Path(search.samplers.ehvi.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                name = f"{node.module}."
                assert not name.startswith(("search.", "spaces.", "objectives.")) or (
                    name.startswith("search.samplers.ehvi.")
                )
