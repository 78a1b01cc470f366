"""Rungs: who trains on, by rank among those who came as far."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.pareto import Array, non_dominated, ranks
from search.strategy.rungs import Rung

steps = st.integers(0, 5).map(float)
tables = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, 2), elements=steps))
reductions = st.floats(1, 8)

LADDER = np.array([(k, k) for k in range(9)], dtype=np.float64)
"""Nine points, each dominated by all before it: ranks 0 to 8."""


def rung_of(table: Array) -> Rung:
    rung = Rung(table.shape[1])
    for losses in table:
        rung.add(losses)
    return rung


def passes(losses: Array, peers: Array, reduction: float) -> tuple[bool, int]:
    return rung_of(peers).passes(losses, reduction)


@given(st.integers(1, 40).flatmap(lambda n: arrays(np.float64, (n, 3), elements=steps)))
def test_ranks_kept_up_to_date_are_those_of_sorting_anew(table: Array) -> None:
    rung = Rung(3)
    for number, losses in enumerate(table):
        before = rung.rank(losses)
        rung.add(losses)
        found = ranks(table[: number + 1])
        assert rung.ranks.tolist() == found.tolist()
        assert before == found[-1]


@pytest.mark.parametrize("place", range(9))
def test_one_in_three_passes_a_rung_of_nine(place: int) -> None:
    peers = np.delete(LADDER, place, axis=0)
    assert passes(LADDER[place], peers, reduction=3.0) == (place < 3, place)


def test_first_at_a_rung_passes() -> None:
    assert passes(np.array([7.0, 7.0]), np.zeros((0, 2)), reduction=3.0) == (True, 0)


@pytest.mark.parametrize(
    ("reduction", "passing"), [(1.0, 9), (2.0, 5), (3.0, 3), (4.0, 3), (9.0, 1), (100.0, 1)]
)
def test_share_that_passes_is_rounded_up(reduction: float, passing: int) -> None:
    decisions = [
        passes(LADDER[k], np.delete(LADDER, k, axis=0), reduction)[0] for k in range(len(LADDER))
    ]
    assert decisions == [True] * passing + [False] * (9 - passing)


def test_candidate_that_is_best_somewhere_passes_however_good_others_are() -> None:
    better_elsewhere = np.array([(0.0, 5.0 + k) for k in range(20)])
    slow_but_exact = np.array([9.0, 4.9])
    assert passes(slow_but_exact, better_elsewhere, reduction=3.0) == (True, 0)


def test_equals_are_not_in_each_others_way() -> None:
    same = np.tile([1.0, 1.0], (10, 1))
    assert passes(same[0], same, reduction=3.0) == (True, 0)


@given(tables, reductions)
def test_whoever_is_on_the_front_of_a_rung_passes(table: Array, reduction: float) -> None:
    for index in np.flatnonzero(non_dominated(table)):
        assert passes(table[index], np.delete(table, index, axis=0), reduction) == (True, 0)


@given(tables)
def test_reduction_of_1_lets_all_pass(table: Array) -> None:
    for index in range(len(table)):
        assert passes(table[index], np.delete(table, index, axis=0), 1.0)[0]


@given(tables.filter(lambda table: len(table) >= 4))
def test_worst_of_many_is_stopped(table: Array) -> None:
    worst = table.max(axis=0) + 1
    assert not passes(worst, table, reduction=3.0)[0]


@given(tables, reductions)
def test_those_who_pass_are_no_worse_than_those_who_do_not(table: Array, reduction: float) -> None:
    found = [
        passes(table[index], np.delete(table, index, axis=0), reduction)
        for index in range(len(table))
    ]
    passed = [rank for go_on, rank in found if go_on]
    stopped = [rank for go_on, rank in found if not go_on]
    assert max(passed) < min(stopped, default=math.inf)


def test_many_that_come_at_once_have_the_ranks_of_those_that_came_singly() -> None:
    table = np.random.default_rng(0).integers(0, 9, (400, 3)).astype(np.float64)
    rung = rung_of(table[:300])
    assert len(rung) == 300
    assert rung.ranks.tolist() == ranks(table[:300]).tolist()
    for number in range(300, 400):
        before = rung.rank(table[number])
        rung.add(table[number])
        assert before == rung.ranks[-1]
    assert rung.ranks.tolist() == ranks(table).tolist()
