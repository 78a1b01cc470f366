"""Dominance, ranks, hypervolume and knee against hand cases and independent implementations."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from optuna._hypervolume import compute_hypervolume

from search.pareto import Array, Scale, hypervolume, knee, losses, non_dominated, ranks

numbers = st.one_of(
    st.integers(0, 4).map(lambda step: step / 4),  # many ties
    st.floats(0, 1.25, allow_subnormal=False),
)


def points(most: int = 8) -> st.SearchStrategy[Array]:
    """(n, m) losses with ties and duplicates, some beyond the reference."""
    shapes = st.tuples(st.integers(0, most), st.integers(1, 4))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=numbers))


def dominates(a: Array, b: Array) -> bool:
    return bool((a <= b).all() and (a < b).any())


# --- dominance ---

TWO_DIMENSIONAL = [
    #  rest of the front  point  kept?
    ([(2, 2)], (1, 1), True),
    ([(2, 2)], (1, 2), True),
    ([(2, 2)], (1, 3), True),
    ([(2, 2)], (2, 2), True),
    ([(2, 2)], (2, 3), False),
    ([(2, 2)], (3, 3), False),
    ([(1, 3), (3, 1)], (2, 2), True),
    ([(1, 3), (3, 1)], (3, 3), False),
    ([(1, 3), (3, 1)], (1, 4), False),
    ([(1, 3), (3, 1)], (0, 9), True),
    ([], (5, 5), True),
]


@pytest.mark.parametrize(("front", "point", "kept"), TWO_DIMENSIONAL)
def test_point_is_kept_unless_another_is_as_good_everywhere_and_better_somewhere(
    front: list[tuple[int, int]], point: tuple[int, int], kept: bool
) -> None:
    table = np.array([*front, point], dtype=np.float64)
    assert non_dominated(table)[-1] == kept


def test_dominated_members_leave_when_a_better_point_comes() -> None:
    table = np.array([(1, 3), (2, 2), (3, 1), (1, 1)], dtype=np.float64)
    assert non_dominated(table).tolist() == [False, False, False, True]


def test_equal_points_are_all_kept() -> None:
    table = np.array([(1, 3), (1, 3), (2, 2), (1, 4)], dtype=np.float64)
    assert non_dominated(table).tolist() == [True, True, True, False]


def test_front_of_nothing_is_nothing() -> None:
    assert non_dominated(np.zeros((0, 3))).tolist() == []
    assert ranks(np.zeros((0, 3))).tolist() == []


@given(points())
def test_kept_points_are_those_that_nothing_dominates(table: Array) -> None:
    expected = [not any(dominates(other, point) for other in table) for point in table]
    assert non_dominated(table).tolist() == expected


@given(points(), st.randoms(use_true_random=False))
def test_order_of_the_points_does_not_change_the_front(table: Array, random: Any) -> None:
    order = list(range(len(table)))
    random.shuffle(order)
    assert non_dominated(table[order]).tolist() == non_dominated(table)[order].tolist()


@given(points())
def test_every_other_point_is_dominated_by_a_member(table: Array) -> None:
    kept = non_dominated(table)
    members = table[kept]
    assert not any(dominates(a, b) for a in members for b in members)
    assert all(any(dominates(member, other) for member in members) for other in table[~kept])


@given(points(), st.data())
def test_dominated_point_changes_neither_front_nor_hypervolume(
    table: Array, data: st.DataObject
) -> None:
    if not len(table):
        return
    worse = table[data.draw(st.integers(0, len(table) - 1))] + data.draw(
        arrays(np.float64, table.shape[1], elements=st.sampled_from([0.0, 0.25, 1.0]))
    )
    longer = np.vstack([table, worse])
    assert hypervolume(longer) == pytest.approx(hypervolume(table), abs=1e-12)
    if any(dominates(point, worse) for point in table):
        assert non_dominated(longer).tolist() == [*non_dominated(table).tolist(), False]


@given(points())
def test_rank_is_the_number_of_fronts_to_take_away_first(table: Array) -> None:
    expected = np.full(len(table), -1)
    rank = 0
    while (left := expected < 0).any():
        front = [
            index
            for index in np.flatnonzero(left)
            if not any(dominates(other, table[index]) for other in table[left])
        ]
        expected[front] = rank
        rank += 1
    assert ranks(table).tolist() == expected.tolist()


# --- signs ---


def test_only_maximised_columns_change_sign() -> None:
    values = np.array([[0.9, 2.0], [0.5, 1.0]])
    assert losses(values, ["maximize", "minimize"]).tolist() == [[-0.9, 2.0], [-0.5, 1.0]]


def test_nan_is_refused_since_it_would_hide_a_point() -> None:
    with pytest.raises(ValueError, match="NaN"):
        losses(np.array([[0.9, math.nan]]), ["maximize", "minimize"])


# --- hypervolume ---


def by_inclusion_and_exclusion(table: Array) -> float:
    """Volume of the union of the boxes [point, 1], one term for every subset of the points."""
    boxes = [point for point in table if (point < 1).all()]
    return math.fsum(
        (-1) ** (size + 1) * np.prod(1 - np.max(subset, axis=0))
        for size in range(1, len(boxes) + 1)
        for subset in combinations(boxes, size)
    )


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_staircase_has_the_area_of_its_squares(n: int) -> None:
    # 1 + 2 + ... + n of the n x n squares lie behind the anti-diagonal
    table = np.array([(step / n, (n - 1 - step) / n) for step in range(n)])
    assert hypervolume(table) == pytest.approx((n * n - n * (n - 1) / 2) / n**2)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_single_point_has_the_volume_of_its_box(dimensions: int) -> None:
    point = np.linspace(0.1, 0.6, dimensions)
    assert hypervolume(point[np.newaxis]) == pytest.approx(math.prod(1 - point))


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_points_on_the_axes_leave_out_the_corner_before_them_only(dimensions: int) -> None:
    assert hypervolume(np.eye(dimensions) * 0.9) == pytest.approx(1 - 0.9**dimensions)


def test_ideal_point_has_all_and_the_reference_nothing() -> None:
    assert hypervolume(np.zeros((1, 3))) == 1.0
    assert hypervolume(np.ones((1, 3))) == 0.0
    assert hypervolume(np.zeros((0, 3))) == 0.0


def test_point_beyond_the_reference_does_not_count() -> None:
    inside = np.array([(0.5, 0.5)])
    beyond = np.array([(0.5, 0.5), (0.0, 1.0), (0.0, 7.0), (2.0, 2.0)])
    assert hypervolume(beyond) == hypervolume(inside) == 0.25


@given(points(6))
def test_hypervolume_is_that_of_inclusion_and_exclusion(table: Array) -> None:
    assert hypervolume(table) == pytest.approx(by_inclusion_and_exclusion(table), abs=1e-9)


@given(points(20))
def test_hypervolume_is_that_of_optuna(table: Array) -> None:
    inside = table[(table < 1).all(axis=1)]
    expected = compute_hypervolume(inside, np.ones(table.shape[1])) if len(inside) else 0.0
    assert hypervolume(table) == pytest.approx(expected, abs=1e-9)


@given(points(), points())
def test_more_points_never_lose_volume(table: Array, more: Array) -> None:
    if table.shape[1] == more.shape[1]:
        assert hypervolume(np.vstack([table, more])) >= hypervolume(table) - 1e-12


@given(points())
def test_front_has_the_volume_of_all(table: Array) -> None:
    assert hypervolume(table[non_dominated(table)]) == pytest.approx(hypervolume(table), abs=1e-12)


# --- the box of the hypervolume ---

SCALE = Scale(
    ideal={"accuracy": 1.0, "latency": 0.01},
    reference={"accuracy": 0.1, "latency": 1.0},
    log={"accuracy": False, "latency": True},
)
NAMES = ["accuracy", "latency"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1.0, 0.01), (0.0, 0.0)),
        ((0.1, 1.0), (1.0, 1.0)),
        ((0.55, 0.1), (0.5, 0.5)),
        ((0.0, 100.0), (10 / 9, 2.0)),
        ((1.0, 0.001), (0.0, 0.0)),
    ],
)
def test_axis_runs_from_the_ideal_to_the_reference_linear_for_scores_and_log_for_costs(
    values: tuple[float, float], expected: tuple[float, float]
) -> None:
    assert SCALE.unit_losses(np.array([values]), NAMES)[0] == pytest.approx(expected)


def test_columns_follow_the_order_of_the_names() -> None:
    one = SCALE.unit_losses(np.array([[0.55, 1.0]]), NAMES)
    other = SCALE.unit_losses(np.array([[1.0, 0.55]]), NAMES[::-1])
    assert one.tolist() == other[:, ::-1].tolist()


def test_unit_of_a_cost_does_not_matter() -> None:
    in_us = Scale(
        ideal={**SCALE.ideal, "latency": 10.0},
        reference={**SCALE.reference, "latency": 1000.0},
        log=SCALE.log,
    )
    values = np.array([[0.7, 0.03], [0.3, 0.2]])
    assert in_us.unit_losses(values * [1, 1000], NAMES) == pytest.approx(
        SCALE.unit_losses(values, NAMES)
    )


# --- knee ---


@pytest.mark.parametrize(
    ("table", "index"),
    [
        ([(0.0, 1.0), (0.3, 0.3), (1.0, 0.0)], 1),
        ([(0.0, 0.4), (0.3, 0.3), (0.4, 0.0)], 0),  # 0.4 < sqrt(0.18); the first of two equal
        ([(0.4, 0.0), (0.3, 0.3), (0.1, 0.2)], 2),
        ([(0.9, 0.9)], 0),
    ],
)
def test_knee_is_the_member_nearest_to_the_ideal(
    table: list[tuple[float, float]], index: int
) -> None:
    assert knee(np.array(table)) == index
