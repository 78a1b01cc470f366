"""Intervals against closed forms and other implementations."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from objectives.agent import block_interval, student_t
from objectives.measurement import exact, proportion

Z = 1.959963984540054
"""Quantile of the standard normal at 0.975."""

counts = st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
medians = st.lists(st.floats(0.01, 100), min_size=4, max_size=60)


def test_counted_value_is_its_own_interval() -> None:
    measured = exact(12, "flops", {"batch": 1})
    assert measured.low == measured.value == measured.high == 12
    assert measured.conditions == {"batch": 1}
    assert measured.samples == measured.flags == ()


@given(counts)
def test_ends_of_the_proportion_solve_the_score_equation(count: tuple[int, int]) -> None:
    """Wilson's ends are where the distance to the share is Z standard errors of the end."""
    successes, total = count
    measured = proportion(successes, total)
    for end in (measured.low, measured.high):
        error = math.sqrt(end * (1 - end) / total)
        if 0 < end < 1:
            assert abs(successes / total - end) == pytest.approx(Z * error, rel=1e-6, abs=1e-9)


@given(counts)
def test_proportion_agrees_with_scipy(count: tuple[int, int]) -> None:
    measured = proportion(*count)
    other = stats.binomtest(*count).proportion_ci(0.95, method="wilson")
    assert (measured.low, measured.high) == pytest.approx((other.low, other.high), abs=1e-9)


def test_nothing_right_of_ten_has_the_closed_form() -> None:
    measured = proportion(0, 10)
    assert measured.value == measured.low == 0
    assert measured.high == pytest.approx(Z**2 / (10 + Z**2))


@given(counts)
def test_proportion_mirrors_when_right_and_wrong_change_places(count: tuple[int, int]) -> None:
    successes, total = count
    right, wrong = proportion(successes, total), proportion(total - successes, total)
    assert (1 - wrong.high, 1 - wrong.low) == pytest.approx((right.low, right.high))


def test_four_times_the_samples_halve_the_interval() -> None:
    few, many = proportion(500, 1000), proportion(2000, 4000)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.01)


def test_wilson_interval_covers_the_truth_in_95_of_100_samples() -> None:
    rng, truth = np.random.default_rng(0), 0.9
    drawn = [proportion(int(k), 360) for k in rng.binomial(360, truth, size=2000)]
    covered = sum(m.low <= truth <= m.high for m in drawn) / len(drawn)
    assert 0.93 <= covered <= 0.97


@given(medians)
def test_block_interval_is_student_t_with_the_error_of_a_median(values: list[float]) -> None:
    middle, low, high = block_interval(values)
    deviation = stats.iqr(values) / 1.349
    error = math.sqrt(math.pi / 2) * deviation / math.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    assert middle == statistics.median(values)
    assert high - middle == pytest.approx(half, rel=1e-2, abs=1e-9)
    assert low == pytest.approx(max(0, middle - (high - middle)), rel=1e-9)


@pytest.mark.parametrize("freedom", range(3, 61))
def test_quantile_of_student_t(freedom: int) -> None:
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.01)


def test_interval_for_the_next_measurement_adds_the_spread_of_two_visits() -> None:
    steady = [10.0] * 20
    assert block_interval(steady) == (10.0, 10.0, 10.0)
    middle, low, high = block_interval(steady, 0.01)
    half = stats.t.ppf(0.975, 19) * math.sqrt(2) * 0.1
    assert (high - middle, middle - low) == pytest.approx((half, half), rel=0.01)


def test_interval_for_the_next_measurement_covers_it_in_about_95_of_100() -> None:
    """Two visits, each at its own speed (1%), each with noisy blocks (2%)."""
    rng = np.random.default_rng(0)

    def visit() -> list[float]:
        return list(10 * (1 + 0.01 * rng.normal()) * (1 + 0.02 * rng.normal(size=15)))

    covered = 0
    for _ in range(1000):
        (_, low, high), (value, _, _) = block_interval(visit(), 0.01), block_interval(visit())
        covered += low <= value <= high
    assert 920 <= covered <= 990


@given(medians, st.randoms(use_true_random=False))
def test_block_interval_does_not_depend_on_the_order(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert block_interval(shuffled) == block_interval(values)


def test_few_blocks_give_their_range() -> None:
    assert block_interval([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)


def test_one_slow_block_does_not_widen_the_interval() -> None:
    calm = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.01, 0.99, 1.0]
    disturbed = [*calm[:-1], 50.0]
    _, low, high = block_interval(disturbed)
    assert high - low < 0.05


def test_block_interval_covers_the_median_in_about_95_of_100_measurements() -> None:
    rng = np.random.default_rng(0)
    intervals = [block_interval(rng.normal(10, 1, size=15).tolist()) for _ in range(1000)]
    covered = sum(low <= 10 <= high for _, low, high in intervals) / len(intervals)
    assert 0.90 <= covered <= 0.98
