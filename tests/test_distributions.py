"""Domains as Optuna's distributions, and its answers as members of the domains again."""

import math
from typing import Any

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

from search.samplers.distributions import distribution, distributions, member
from spaces.choice import Choice, Domain, Fixed, Range, Values, members, read_domain

optuna.logging.disable_default_handler()

Int, Float, Categorical = IntDistribution, FloatDistribution, CategoricalDistribution

EXPECTED: list[tuple[object, BaseDistribution]] = [
    ([1, 2, 3], Int(1, 3)),
    ([8, 16, 24], Int(8, 24, step=8)),
    ([3, 5], Int(3, 5, step=2)),
    ([5, 3], Categorical((5, 3))),
    ([1, 2, 4], Categorical((1, 2, 4))),
    ([0.0, 0.25, 0.5, 0.75], Float(0.0, 0.75, step=0.25)),
    ([0, 0.5, 1], Float(0.0, 1.0, step=0.5)),
    ([0.3, 0.4, 0.5], Float(0.3, 0.5, step=0.1)),
    ([0.1, 0.3, 0.5, 0.7, 0.9, 1.1], Float(0.1, 1.1, step=0.2)),
    ([0.001, 0.01, 0.1], Categorical((0.001, 0.01, 0.1))),
    (["none", "int8"], Categorical(("none", "int8"))),
    ([False, True], Categorical((False, True))),
    ([1, "two"], Categorical((1, "two"))),
    ({"low": 8, "high": 64, "step": 8}, Int(8, 64, step=8)),
    ({"low": 8, "high": 30, "step": 8}, Int(8, 24, step=8)),
    ({"low": 1, "high": 100, "log": True}, Int(1, 100, log=True)),
    ({"low": 0.0, "high": 1.0}, Float(0.0, 1.0)),
    ({"low": 1e-3, "high": 1e-1, "log": True}, Float(1e-3, 1e-1, log=True)),
    ({"low": 0.0, "high": 0.3, "step": 0.1}, Float(0.0, 0.3, step=0.1)),
    ({"low": 0.0, "high": 0.35, "step": 0.1}, Float(0.0, 0.3, step=0.1)),
    ({"low": 0.0, "high": 1.0, "step": 5.0}, Categorical((0.0,))),
]


@pytest.mark.parametrize(("raw", "expected"), EXPECTED, ids=str)
def test_domain_becomes(raw: object, expected: BaseDistribution) -> None:
    assert distribution(read_domain(raw)) == expected


def test_distributions_keep_the_order_of_the_choices() -> None:
    choices = (Choice("b", Values((1, 2))), Choice("a", Range(0.0, 1.0)))
    assert list(distributions(choices)) == ["b", "a"]


# --- every member can be proposed, and every proposal is a member ---

decimals = st.integers(-2000, 2000).map(lambda n: n / 1000)
steps = st.integers(1, 500).map(lambda n: n / 1000)


@st.composite
def domains(draw: st.DrawFn) -> Domain:
    """Domains of every kind, as a study file writes them."""
    low, step = draw(decimals), draw(steps)
    whole, wide = draw(st.integers(-50, 50)), draw(st.integers(1, 9))
    count = draw(st.integers(2, 12))
    raw: object = draw(
        st.sampled_from(
            [
                [float(f"{low + k * step:.12g}") for k in range(count)],
                [whole + k * wide for k in range(count)],
                {"low": low, "high": float(f"{low + count * step:.12g}"), "step": step},
                {"low": whole, "high": whole + count * wide, "step": wide},
                {"low": whole, "high": whole + count},
                {"low": abs(whole) + 1, "high": abs(whole) + count + 1, "log": True},
                {"low": low, "high": low + step},
                {"low": step, "high": step + count, "log": True},
                draw(st.lists(decimals, min_size=2, max_size=6, unique=True)),
                draw(st.lists(st.text(max_size=3), min_size=2, max_size=6, unique=True)),
                [False, True],
                [2, "one", 1.5, True],
            ]
        )
    )
    return read_domain(raw)


def grid(found: BaseDistribution) -> list[Any]:
    """Every value that Optuna can propose."""
    if isinstance(found, CategoricalDistribution):
        return list(found.choices)
    assert isinstance(found, IntDistribution | FloatDistribution)
    assert found.step is not None
    return [
        found.low + k * found.step
        for k in range(round((found.high - found.low) / found.step + 1e-9) + 1)
    ]


@given(domains())
def test_what_optuna_can_propose_are_the_members_of_a_finite_domain(domain: Domain) -> None:
    expected = members(domain)
    found = distribution(domain)
    if expected is None:
        assert isinstance(found, FloatDistribution)
        assert isinstance(domain, Range)
        assert (found.low, found.high, found.step) == (domain.low, domain.high, None)
    else:
        assert tuple(member(domain, value) for value in grid(found)) == expected


@settings(max_examples=40, deadline=None)
@given(domains(), st.integers(0, 99))
def test_value_asked_of_optuna_is_a_member_of_its_own_type(domain: Domain, seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask({"choice": distribution(domain)})
    value = member(domain, trial.params["choice"])
    possible = members(domain)
    if possible is None:
        assert isinstance(domain, Range)
        assert domain.low <= value <= domain.high
    else:
        assert [(type(v), v) for v in possible].count((type(value), value)) == 1


@given(domains())
def test_member_leaves_members_as_they_are(domain: Domain) -> None:
    for value in members(domain) or ():
        found = member(domain, value)
        assert (type(found), found) == (type(value), value)


def test_value_that_a_float_step_blurred_is_the_nearest_member() -> None:
    domain = Range(0.0, 0.3, 0.1)
    assert member(domain, 0.1 + 0.2) == 0.3
    assert member(domain, np.nextafter(0.2, 1)) == 0.2
    assert math.isclose(member(Range(0.0, 1.0), 0.123), 0.123)


def test_whole_numbers_in_a_list_of_floats_keep_their_type() -> None:
    domain = Values((0, 0.5, 1))
    assert [repr(member(domain, value)) for value in (0.0, 0.5, 1.0)] == ["0", "0.5", "1"]


def test_fixed_value_needs_no_distribution_but_has_a_member() -> None:
    assert member(Fixed("relu"), "relu") == "relu"
