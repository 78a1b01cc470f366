"""Timing of synthetic calls: blocks, clocks and flags; no assertion on speed."""

import fcntl
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from objectives.device import Turnstile
from objectives.timing import MAX_BLOCKS, MIN_BLOCKS, TimingPlan, time_calls


@pytest.fixture
def turnstile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turnstile:
    """A turnstile that nobody else uses; its lock files lie below `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Turnstile(tmp_path.name)


def work() -> int:
    return sum(range(2000))


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_value_is_the_median_of_blocks_inside_its_interval(
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


def test_slow_call_is_taken_three_times_a_block(turnstile: Turnstile) -> None:
    calls: list[float] = []

    def slow() -> None:
        calls.append(0.0)
        time.sleep(0.02)

    plan = TimingPlan(clock="wall", precision=1e-9, max_s=1e-3, warmup=2)
    measured = time_calls([slow], plan, turnstile)
    assert len(measured.samples) == MIN_BLOCKS
    assert len(calls) == 2 + 3 * MIN_BLOCKS


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
