"""The gate: which limits are broken, by how much, and the sentence that says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives.costs import Flops, Latency
from objectives.measurement import Measurement, exact
from search.strategy.gate import broken_limit, violations
from search.study import Objective

ACCURACY = Objective(name="accuracy", unit="ratio", direction="maximize", limit=0.9, cost=None)
FLOPS = Objective(name="flops", unit="flops", direction="minimize", limit=None, cost=Flops())
LATENCY = Objective(
    name="latency", unit="ms", direction="minimize", limit=2.0, cost=Latency(target="cpu")
)
OBJECTIVES = (ACCURACY, FLOPS, LATENCY)


def measured(**values: float) -> dict[str, Measurement]:
    units = {objective.name: objective.unit for objective in OBJECTIVES}
    return {name: exact(value, units[name]) for name, value in values.items()}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (0.0, 0.0)),
        ({"latency": 5.0}, (3.0, 0.0)),
        ({"latency": 1.5}, (-0.5, 0.0)),
        ({"latency": 2.0, "flops": 1e9}, (0.0, 0.0)),
        ({"latency": 1.0, "accuracy": 0.5}, (-1.0, 0.4)),
        ({"latency": 1.0, "accuracy": 0.95}, (-1.0, -0.05)),
    ],
    ids=str,
)
def test_violations_stand_costs_first_then_the_score_and_are_0_while_unknown(
    values: dict[str, float], expected: tuple[float, ...]
) -> None:
    assert violations(OBJECTIVES, measured(**values)) == pytest.approx(expected)


def test_objectives_without_limit_have_no_violation() -> None:
    assert violations((FLOPS,), measured(flops=1e12)) == ()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, None),
        ({"latency": 2.0}, None),
        ({"latency": 2.0001, "accuracy": 1.0}, "latency 2.00 ms > limit 2.00 ms"),
        ({"latency": 5.0}, "latency 5.00 ms > limit 2.00 ms"),
        ({"latency": 0.01, "flops": 1e15}, None),
        ({"latency": 1.0, "accuracy": 0.8}, "accuracy 80.00% < limit 90.00%"),
        ({"accuracy": 0.9}, None),
    ],
    ids=str,
)
def test_broken_limit_is_told_with_value_and_limit(
    values: dict[str, float], sentence: str | None
) -> None:
    assert broken_limit(OBJECTIVES, measured(**values)) == sentence


@given(
    st.dictionaries(
        st.sampled_from(["accuracy", "flops", "latency"]), st.floats(0, 10, allow_subnormal=False)
    )
)
def test_a_limit_is_broken_exactly_where_a_violation_is_positive(values: dict[str, float]) -> None:
    found = violations(OBJECTIVES, measured(**values))
    assert len(found) == 2
    assert (broken_limit(OBJECTIVES, measured(**values)) is not None) == any(v > 0 for v in found)
