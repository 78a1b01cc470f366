"""One named decision and its domain: a fixed value, some values, or a range."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Scalar = str | int | float | bool

MOST_VALUES = 1_000_000
"""More steps than this in a range are a slip of the pen, and would fill the memory."""


class ChoiceError(ValueError):
    """A domain that cannot be read: `path` below the choice, and what is wrong with it."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True)
class Fixed:
    """One value: nothing to decide."""

    value: Any
    """A scalar; of a field that is marked `WHOLE`, a list or mapping."""


@dataclass(frozen=True)
class Values:
    """Several values in file order; numbers with a constant step are ordered."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones if both bounds are."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether its values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Domain = Fixed | Values | Range


@dataclass(frozen=True)
class Choice:
    """A decision: `name` is its dotted path, such as `architecture.convnet.width.2`."""

    name: str
    domain: Domain
    when: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    """(other choice, values it must have one of); inactive unless all hold."""

    def active(self, values: Mapping[str, Scalar]) -> bool:
        """Whether it matters, given the values of the active choices before it."""
        return all(other in values and values[other] in wanted for other, wanted in self.when)


def read_domain(raw: object) -> Domain:
    """A scalar, a list of scalars or `{low, high, step, log}` as a domain.

    >>> read_domain([3, 5])
    Values(values=(3, 5))

    Raises:
        ChoiceError: neither of these, or an empty or contradictory one.
    """
    if isinstance(raw, Scalar):
        _check_finite(raw)
        return Fixed(raw)
    if isinstance(raw, list):
        return _read_values(raw)
    if isinstance(raw, dict):
        return _read_range(raw)
    raise ChoiceError(f"{raw!r} is neither a value, nor a list of values, nor {{low, high}}")


def _read_values(raw: list[object]) -> Domain:
    if not raw:
        raise ChoiceError("the list of values is empty; name at least one")
    for index, value in enumerate(raw):
        if not isinstance(value, Scalar):
            raise ChoiceError(f"{value!r} is not a single value", (index,))
        if any(value == other for other in raw[:index]):
            raise ChoiceError(f"{value!r} stands twice in the list; remove one", (index,))
        _check_finite(value, (index,))
    values = tuple(value for value in raw if isinstance(value, Scalar))
    return Values(values) if len(values) > 1 else Fixed(values[0])


def _read_range(raw: dict[str, object]) -> Domain:
    unknown = [key for key in raw if key not in ("low", "high", "step", "log")]
    if unknown or "low" not in raw or "high" not in raw:
        problem = f"has the key {unknown[0]!r}" if unknown else "lacks low or high"
        raise ChoiceError(f"a range {problem}; write {{low: 1, high: 8, step: 1, log: false}}")
    low, high = (_number(raw, key) for key in ("low", "high"))
    step = _number(raw, "step") if raw.get("step") is not None else None
    log = raw.get("log", False)
    if not isinstance(log, bool):
        raise ChoiceError(f"log is {log!r}; it is true or false", ("log",))
    if low > high:
        raise ChoiceError(f"low {low} is above high {high}; exchange them", ("low",))
    if step is not None and step <= 0:
        raise ChoiceError(f"step {step} is not positive", ("step",))
    if log and low <= 0:
        raise ChoiceError(f"low {low} on a log scale; it must be above 0", ("low",))
    if log and step is not None:
        raise ChoiceError("a log range takes no step; remove one of the two", ("step",))
    if isinstance(low, float) or isinstance(high, float) or isinstance(step, float):
        low, high = float(low), float(high)
        step = None if step is None else float(step)
    span = Range(low, high, step, log)
    if (span.whole or step is not None) and high - low >= MOST_VALUES * (step or 1):
        raise ChoiceError(f"a range of over {MOST_VALUES:,} values; give a larger step")
    return Fixed(low) if low == high else span


def _number(raw: dict[str, object], key: str) -> int | float:
    value = raw[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ChoiceError(f"{key} is {value!r}; it must be a number", (key,))
    _check_finite(value, (key,))
    return value


def _check_finite(value: Scalar, path: tuple[str | int, ...] = ()) -> None:
    """Refuse numbers that a float cannot hold."""
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        raise ChoiceError(f"{value!r} is out of range; it must be a number below 1e308", path)


def members(domain: Domain) -> tuple[Scalar, ...] | None:
    """All values of a finite domain in order, None for a continuous range."""
    if isinstance(domain, Fixed):
        return (domain.value,)
    if isinstance(domain, Values):
        return domain.values
    if domain.whole:
        return tuple(range(int(domain.low), int(domain.high) + 1, int(domain.step or 1)))
    if domain.step is None:
        return None
    count = math.floor((domain.high - domain.low) / domain.step + 1e-9) + 1
    return tuple(float(f"{domain.low + index * domain.step:.12g}") for index in range(count))


def representatives(domain: Domain) -> tuple[Scalar, ...]:
    """The values whose legality decides that of the domain: all, or both ends of a long range."""
    values = members(domain)
    if isinstance(domain, Range) and (values is None or len(values) > 1000):
        return (domain.low, domain.high)
    assert values is not None, domain
    return values


def draw(domain: Domain, rng: np.random.Generator) -> Scalar:
    """One value at random: uniform over the values, the range, or the range's logarithm."""
    values = members(domain)
    if isinstance(domain, Range) and domain.log:
        value = math.exp(rng.uniform(math.log(domain.low), math.log(domain.high)))
        value = min(max(value, domain.low), domain.high)
        return round(value) if domain.whole else value
    if values is None:
        assert isinstance(domain, Range), domain
        return float(rng.uniform(domain.low, domain.high))
    return values[int(rng.integers(len(values)))]
