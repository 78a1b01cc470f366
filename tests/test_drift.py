"""Values taken on a slow machine: doubted, taken again, and told."""

from collections.abc import Mapping

import pytest
from views import CANDIDATE

from objectives.measurement import Measurement, exact
from objectives.timing import EARLY
from search.drift import flagged, readings_of, slowed
from search.evaluation import Evaluation
from search.prices import Prices


def latency(value: float, reference_ms: float, *flags: str) -> Measurement:
    return Measurement(
        value=value,
        unit="ms",
        low=value,
        high=value,
        details={"reference_ms": reference_ms},
        flags=flags,
    )


def test_slow_machine_is_told_from_its_own_usual_pace() -> None:
    readings = [0.040, 0.041, 0.039, 0.040, 0.066, 0.070]
    assert slowed(latency(1, 0.066), readings) == "the machine was 65% slower than usual"
    assert slowed(latency(1, 0.041), readings) is None
    assert slowed(latency(1, 0.030), readings) is None


def test_few_readings_and_values_without_one_say_nothing() -> None:
    assert slowed(latency(1, 0.066), [0.04] * 4) is None
    assert slowed(exact(12, "flops"), [0.04] * 10) is None


def test_readings_and_flags_concern_timed_values_only() -> None:
    found = {"flops": exact(12, "flops"), "latency": latency(1, 0.066, "wide")}
    assert readings_of([found, found]) == [0.066, 0.066]
    told = flagged(found, [0.04] * 5)
    assert told["flops"].flags == ()
    assert told["latency"].flags == ("wide", "the machine was 65% slower than usual")


def priced(key: str, costs: Mapping[str, Measurement]) -> Evaluation:
    return Evaluation(
        trial=1, candidate=CANDIDATE, rung=0, status="priced", deploy_key=key, measurements=costs
    )


def quiet_prices() -> Prices:
    """A study of which six networks have been priced in quiet."""
    return Prices({f"r{i}": (f"d{i}", {"latency": latency(1, 0.040)}) for i in range(6)})


@pytest.mark.parametrize("first", [latency(2, 0.066), latency(2, 0.040, "wide")])
def test_doubtful_price_is_taken_again_once_and_the_sound_one_kept(first: Measurement) -> None:
    prices = quiet_prices()
    sound = priced("new", {"latency": latency(1.2, 0.040)})
    assert prices.doubtful(priced("new", {"latency": first}))
    assert not prices.doubtful(sound)
    assert prices.settle("recipe", sound).measurements["latency"].value == 1.2
    assert prices.find("recipe") == ("new", sound.measurements)


def test_of_two_doubtful_prices_the_less_doubtful_is_kept_with_its_flags() -> None:
    prices = quiet_prices()
    first = priced("new", {"latency": latency(2, 0.040, "wide")})
    second = priced("new", {"latency": latency(3, 0.080, "wide")})
    assert prices.doubtful(first)
    assert not prices.doubtful(second)
    kept = prices.settle("recipe", second).measurements["latency"]
    assert (kept.value, kept.flags) == (2, ("wide",))


def test_sound_known_and_hopeless_prices_are_not_taken_again() -> None:
    prices = quiet_prices()
    assert not prices.doubtful(priced("new", {"latency": latency(1, 0.041)}))
    assert not prices.doubtful(priced("d3", {"latency": latency(2, 0.080)}))
    assert not prices.doubtful(priced("far", {"latency": latency(9, 0.080, EARLY)}))
