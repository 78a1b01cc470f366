"""Timing of synthetic calls: blocks, clocks and flags; no assertion on speed."""

import fcntl
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from objectives.agent import (
    MAX_BLOCKS,
    MIN_BLOCKS,
    level,
    percentiles,
    reference_call,
    time_blocks,
)
from objectives.device import Turnstile
from objectives.target import Target
from objectives.timing import TimingPlan, measurement, time_calls


@pytest.fixture
def turnstile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turnstile:
    """A turnstile that nobody else uses; its lock files lie below `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Turnstile(tmp_path.name)


def work() -> int:
    return sum(range(2000))


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_value_lies_among_its_blocks_and_inside_its_interval(
    clock: str, turnstile: Turnstile
) -> None:
    measured = time_calls([work], TimingPlan(clock=clock, max_s=0.1), turnstile)
    assert MIN_BLOCKS <= len(measured.samples) <= MAX_BLOCKS
    assert measured.unit == "ms"
    assert measured.conditions["clock"] == clock
    assert 0 < measured.low <= measured.value <= measured.high
    assert min(measured.samples) <= measured.value <= max(measured.samples)


def test_interval_that_stays_too_wide_is_flagged(turnstile: Turnstile) -> None:
    rng = random.Random(0)
    plan = TimingPlan(clock="wall", precision=1e-6, max_s=1e-3, warmup=1)
    measured = time_calls([lambda: time.sleep(rng.uniform(0, 0.006))], plan, turnstile)
    assert len(measured.samples) == MIN_BLOCKS
    assert any("wider than" in flag for flag in measured.flags)


def test_sleeping_is_wall_time_but_no_cpu_time_and_flagged_there(turnstile: Turnstile) -> None:
    def sleep() -> None:
        time.sleep(0.002)

    wall, cpu = (
        time_calls([sleep], TimingPlan(clock=clock, max_s=0.05, warmup=1), turnstile)
        for clock in ("wall", "cpu")
    )
    assert wall.value >= 2.0
    assert cpu.value < wall.value
    assert "only 0% of the calls ran undisturbed" in cpu.flags
    assert not any("undisturbed" in flag for flag in wall.flags)


def test_calls_are_taken_in_turn(turnstile: Turnstile) -> None:
    taken: Counter[int] = Counter()

    def call(index: int) -> Callable[[], object]:
        def count() -> None:
            taken[index] += 1
            time.sleep(1e-3)

        return count

    time_calls([call(i) for i in range(3)], TimingPlan(clock="wall", max_s=0.01), turnstile)
    assert set(taken) == {0, 1, 2}
    # every block starts with the first call, so it may lead by one a block
    assert max(taken.values()) - min(taken.values()) <= MAX_BLOCKS + 1


@pytest.mark.parametrize(("max_s", "least"), [(1.0, 3), (1e-3, 1)])
def test_slow_call_is_taken_three_times_a_block_if_there_is_time(
    turnstile: Turnstile, max_s: float, least: int
) -> None:
    calls: list[float] = []

    def slow() -> None:
        calls.append(0.0)
        time.sleep(0.02)

    plan = TimingPlan(clock="wall", precision=1e9, max_s=max_s, warmup=2)
    measured = time_calls([slow], plan, turnstile)
    assert len(measured.samples) == MIN_BLOCKS
    assert len(calls) == 2 + least * MIN_BLOCKS


def test_limit_that_is_clearly_broken_ends_timing_after_two_blocks(turnstile: Turnstile) -> None:
    plan = TimingPlan(clock="wall", precision=1e-9, limit_ms=1.0, warmup=2)
    measured = time_calls([lambda: time.sleep(2e-3)], plan, turnstile)
    assert len(measured.samples) == 2
    assert measured.flags == ("timing ended early: the limit is clearly broken",)
    assert measured.value > 1.3


def test_limit_that_is_nearly_kept_is_timed_to_the_end(turnstile: Turnstile) -> None:
    plan = TimingPlan(clock="wall", precision=1e9, limit_ms=1.9, warmup=2)
    measured = time_calls([lambda: time.sleep(2e-3)], plan, turnstile)
    assert len(measured.samples) == MIN_BLOCKS
    assert measured.flags == ()


def test_details_say_what_the_median_does_not(turnstile: Turnstile) -> None:
    measured = time_calls([work], TimingPlan(clock="cpu", max_s=0.05, batch=4), turnstile)
    details = measured.details
    assert 0 < details["p50"] <= details["p90"] <= details["p99"]
    assert details["per_second"] == pytest.approx(4000 / measured.value)
    assert details["first_ms"] > 0
    assert details["reference_ms"] > 0
    assert 0 <= details["undisturbed"] <= 1


def test_cpu_value_is_an_undisturbed_call_and_wall_value_the_median() -> None:
    samples = [1.0] * 10 + [2.0] * 90
    assert level(samples, "cpu") == 1.0
    assert level(samples, "wall") == 2.0


def test_percentiles_agree_with_numpy() -> None:
    samples = random.Random(0).choices(range(1000), k=357)
    found = percentiles(samples)
    assert list(found.values()) == pytest.approx(np.percentile(samples, [50, 90, 99]))


def test_machine_that_changes_its_speed_meanwhile_is_flagged(turnstile: Turnstile) -> None:
    timed = time_blocks([work], clock="cpu", max_s=0.01, reference=reference_call())
    timed = {**timed, "undisturbed": 1.0, "value": 1.0, "blocks": [1.0] * 6}
    moved = measurement({**timed, "reference_moved": 0.2}, TimingPlan(clock="cpu"))
    assert moved.flags == ("the machine became 20% slower",)
    calm = measurement({**timed, "reference_moved": 0.02}, TimingPlan(clock="cpu"))
    assert calm.flags == ()


def test_device_is_quiet_during_calls_and_free_after(turnstile: Turnstile, tmp_path: Path) -> None:
    seen: set[bool] = set()

    def room_is_free() -> bool:
        (room,) = tmp_path.rglob("*.room")
        descriptor = os.open(room, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    time_calls([lambda: seen.add(room_is_free())], TimingPlan(clock="wall", max_s=0.01), turnstile)
    assert seen == {False}
    assert room_is_free()


def test_target_takes_the_wall_clock_where_the_system_counts_no_cpu_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Target().clock == "cpu"
    assert Target(threads=2).clock == "wall"
    monkeypatch.delattr(time, "thread_time_ns")
    assert Target().clock == "wall"
