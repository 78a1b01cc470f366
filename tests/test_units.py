"""Quantities as people write them."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives import units
from objectives.units import UNITS, format_quantity, parse_quantity


def test_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(units).failed == 0


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("0.05 ms", "ms", 0.05),
        ("50us", "ms", 0.05),
        ("50 µs", "ms", 0.05),
        ("2 s", "ms", 2000),
        ("1.5 h", "ms", 5.4e6),
        ("2MB", "bytes", 2e6),
        ("2 MiB", "bytes", 2**21),
        ("500 kB", "bytes", 5e5),
        ("10 MFLOPs", "flops", 1e7),
        ("10M", "flops", 1e7),
        ("1e6", "flops", 1e6),
        ("1e3 k", "flops", 1e6),
        (1_000, "flops", 1000),
        ("100k", "parameters", 1e5),
        ("1.2 T", "parameters", 1.2e12),
        ("1_000", "parameters", 1000),
        ("95%", "ratio", 0.95),
        (0.95, "ratio", 0.95),
        ("-3", "ratio", -3),
        ("3.2 lux", "lux", 3.2),
        (3.2, "lux", 3.2),
    ],
)
def test_quantity_has_this_value_in_its_base_unit(
    text: str | float, unit: str, value: float
) -> None:
    assert parse_quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "problem"),
    [
        ("2", "ms", "has no unit"),
        (2, "bytes", "has no unit"),
        ("2 MB", "ms", "has the unit 'MB'"),
        ("2 ms", "flops", "has the unit 'ms'"),
        ("fast", "ms", "is not a quantity"),
        ("", "ms", "is not a quantity"),
        ("2 ms 3", "ms", "is not a quantity"),
        ("nan ms", "ms", "is not a quantity"),
        (True, "flops", "is not a quantity"),
        ("1.2.3 ms", "ms", "is not a number"),
        ("_ ms", "ms", "is not a number"),
        ("2 J", "lux", "has the unit 'J'"),
    ],
)
def test_what_is_no_such_quantity_is_refused(text: str | float, unit: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_quantity(text, unit)


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "" not in UNITS[unit]])
def test_error_names_every_spelling_that_would_do(unit: str) -> None:
    with pytest.raises(ValueError, match="write one of") as caught:
        parse_quantity("1 parsec", unit)
    assert all(spelling in str(caught.value) for spelling in UNITS[unit])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (166_528, "flops", "167 kFLOPs"),
        (1.5e9, "flops", "1.50 GFLOPs"),
        (2e13, "flops", "20.0 TFLOPs"),
        (12, "parameters", "12.0"),
        (123_456, "parameters", "123 k"),
        (0.0123, "ms", "12.3 us"),
        (2.0, "ms", "2.00 ms"),
        (61_000, "ms", "61.0 s"),
        (999.6, "bytes", "1.00 kB"),
        (9.996, "ms", "10.0 ms"),
        (99.96, "ms", "100 ms"),
        (-9.996, "ms", "-10.0 ms"),
        (0, "bytes", "0.00 B"),
        (0.97214, "ratio", "97.21%"),
        (1.23456, "lux", "1.235 lux"),
        (0.00123456, "mJ", "1.23 uJ"),
    ],
)
def test_quantity_is_shown_as(value: float, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


@given(st.floats(1e-3, 1e15), st.sampled_from(["ms", "bytes", "flops", "parameters"]))
def test_shown_quantity_reads_back_as_nearly_the_same(value: float, unit: str) -> None:
    shown = format_quantity(value, unit)
    assert parse_quantity(shown, unit) == pytest.approx(value, rel=5.1e-3, abs=1e-2)


@given(st.floats(1, 9.99e14), st.sampled_from(["ms", "bytes", "flops", "parameters"]))
def test_shown_quantity_has_three_digits_unless_it_is_larger(value: float, unit: str) -> None:
    digits = [c for c in format_quantity(value, unit).split()[0] if c.isdigit()]
    whole = format_quantity(value, unit).split()[0].partition(".")[0]
    assert len(digits) == max(3, len(whole))
