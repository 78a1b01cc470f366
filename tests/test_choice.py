"""Domains: reading them, their members, drawing from them."""

import doctest
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces import choice
from spaces.choice import (
    Choice,
    ChoiceError,
    Domain,
    Fixed,
    Range,
    Values,
    draw,
    members,
    read_domain,
    representatives,
)


def test_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(choice).failed == 0


@pytest.mark.parametrize(
    ("raw", "domain"),
    [
        (3, Fixed(3)),
        ("relu", Fixed("relu")),
        (False, Fixed(False)),
        ([3], Fixed(3)),
        ([3, 5], Values((3, 5))),
        ([5, 3, "max"], Values((5, 3, "max"))),
        ({"low": 1, "high": 8}, Range(1, 8)),
        ({"low": 8, "high": 64, "step": 8}, Range(8, 64, 8)),
        ({"low": 0, "high": 1, "step": 0.25}, Range(0.0, 1.0, 0.25)),
        ({"low": 1, "high": 2.5}, Range(1.0, 2.5)),
        ({"low": 1e-3, "high": 1e-1, "log": True}, Range(1e-3, 1e-1, None, True)),
        ({"low": 4, "high": 4}, Fixed(4)),
    ],
    ids=str,
)
def test_raw_domain_is_read_as(raw: object, domain: Domain) -> None:
    assert read_domain(raw) == domain


@pytest.mark.parametrize(
    ("raw", "path", "problem"),
    [
        ([], (), "is empty"),
        ([3, 5, 3], (2,), "3 stands twice"),
        ([1, 1.0], (1,), "stands twice"),
        ([3, [5]], (1,), "not a single value"),
        ([3, None], (1,), "not a single value"),
        (None, (), "neither a value, nor a list"),
        ({}, (), "lacks low or high"),
        ({"low": 1}, (), "lacks low or high"),
        ({"low": 1, "high": 3, "stp": 1}, (), "has the key 'stp'"),
        ({"low": 3, "high": 1}, ("low",), "low 3 is above high 1"),
        ({"low": "1", "high": 3}, ("low",), "must be a number"),
        ({"low": True, "high": 3}, ("low",), "must be a number"),
        ({"low": 1, "high": float("inf")}, ("high",), "must be a number"),
        ({"low": 1, "high": float("nan")}, ("high",), "must be a number"),
        ({"low": 1, "high": 3, "step": 0}, ("step",), "not positive"),
        ({"low": 1, "high": 3, "step": -1}, ("step",), "not positive"),
        ({"low": 0, "high": 3, "log": True}, ("low",), "above 0"),
        ({"low": -1.0, "high": 3, "log": True}, ("low",), "above 0"),
        ({"low": 1, "high": 3, "log": "yes"}, ("log",), "true or false"),
        ({"low": 1, "high": 3, "log": True, "step": 1}, ("step",), "takes no step"),
    ],
    ids=str,
)
def test_domain_that_cannot_be_is_refused_at_its_place(
    raw: object, path: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(ChoiceError, match=problem) as caught:
        read_domain(raw)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (Fixed("a"), ("a",)),
        (Values((5, 3)), (5, 3)),
        (Range(1, 4), (1, 2, 3, 4)),
        (Range(8, 30, 8), (8, 16, 24)),
        (Range(0.0, 0.3, 0.1), (0.0, 0.1, 0.2, 0.3)),
        (Range(0.0, 0.35, 0.1), (0.0, 0.1, 0.2, 0.3)),
        (Range(1, 3, None, True), (1, 2, 3)),
        (Range(0.0, 1.0), None),
        (Range(0.1, 1.0, None, True), None),
    ],
    ids=str,
)
def test_members_of_a_domain_are(domain: Domain, expected: tuple[Any, ...] | None) -> None:
    assert members(domain) == expected


def test_long_domain_is_represented_by_its_ends() -> None:
    assert representatives(Range(1, 100_000)) == (1, 100_000)
    assert representatives(Range(0.0, 1.0)) == (0.0, 1.0)
    assert representatives(Range(1, 4)) == (1, 2, 3, 4)


def test_long_list_is_represented_by_all_of_it() -> None:
    values = tuple(range(0, 3000, 2))
    assert representatives(Values(values)) == values


numbers = st.one_of(st.integers(1, 50), st.integers(1, 5000).map(lambda n: n / 100))


@st.composite
def domains(draw_from: st.DrawFn) -> Domain:
    if draw_from(st.booleans()):
        raw: object = draw_from(st.lists(st.integers(0, 30), min_size=1, unique=True))
    else:
        low, high = sorted(draw_from(st.tuples(numbers, numbers)))
        shape = draw_from(st.sampled_from([{}, {"step": 0.7}, {"step": 3}, {"log": True}]))
        raw = {"low": low, "high": high, **shape}
    return read_domain(raw)


@given(domains(), st.integers(0, 9))
def test_drawn_value_is_a_member_of_the_domain(domain: Domain, seed: int) -> None:
    value, possible = draw(domain, np.random.default_rng(seed)), members(domain)
    if possible is not None:
        assert value in possible
    else:
        assert isinstance(domain, Range)
        assert isinstance(value, float)
        assert domain.low <= value <= domain.high


@given(domains())
def test_members_are_ordered_distinct_and_inside_the_bounds(domain: Domain) -> None:
    possible = members(domain)
    if possible is not None and isinstance(domain, Range):
        assert list(possible) == sorted(set(possible))
        assert possible[0] == domain.low
        assert possible[-1] <= domain.high
        assert {type(value) for value in possible} == {int if domain.whole else float}


def test_draws_are_even_over_values_and_over_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(draw(Values(("a", "b", "c")), rng) for _ in range(3000))
    assert all(900 < count < 1100 for count in counts.values())
    log = Range(1e-4, 1e-2, None, True)
    below = sum(float(draw(log, rng)) < 1e-3 for _ in range(2000))
    assert 900 < below < 1100


def test_choice_is_active_only_if_all_conditions_hold() -> None:
    conditional = Choice("c", Fixed(1), when=(("a", (1, 2)), ("b", ("x",))))
    assert conditional.active({"a": 2, "b": "x"})
    assert not conditional.active({"a": 3, "b": "x"})
    assert not conditional.active({"a": 2, "b": "y"})
    assert not conditional.active({"b": "x"})
    assert Choice("c", Fixed(1)).active({})
