"""Energy of one inference, where the device has a counter; else the objective is refused.

The counter is that of the whole processor package or GPU: what others compute beside counts too,
and so does what the device draws when idle. Nothing is estimated from a model.
"""

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
ROUNDS = 4
"""Readings of which each gives one value: the least of which an interval can be told."""
ROUND_S = {"cpu": 0.5, "cuda": 2.0}
"""Seconds of one reading: RAPL counts every millisecond, NVML's counter moves in 20 to 100 ms."""

Counter = Callable[[], float]
"""Millijoules drawn so far."""


class NoCounterError(RuntimeError):
    """This device has no energy counter that may be read; the message says why."""


def energy_counter(device: str) -> Counter:
    """The counter of `device`.

    Raises:
        NoCounterError: there is none, or it may not be read.
    """
    kind, _, index = device.partition(":")
    if kind == "cuda":
        return _nvml_counter(int(index or 0))
    if kind == "cpu":
        return _rapl_counter(POWERCAP)
    raise NoCounterError(f"energy cannot be measured on {device}")


def _nvml_counter(index: int) -> Counter:
    """NVML's total energy since the driver was loaded; Volta or newer."""
    try:
        from cuda.bindings import nvml  # type: ignore[import-untyped]  # no stubs

        nvml.init_v2()
        handle = nvml.device_get_handle_by_index_v2(index)
        nvml.device_get_total_energy_consumption(handle)
    except Exception as error:
        told = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise NoCounterError(f"cuda:{index} has no energy counter: {told}") from error
    return lambda: float(nvml.device_get_total_energy_consumption(handle))


def _rapl_counter(folder: Path) -> Counter:
    """The sum of all processor packages by RAPL, which counts microjoules and wraps around."""
    packages = [
        zone
        for zone in sorted(folder.glob("*"))
        if (zone / "name").is_file() and (zone / "name").read_text().startswith("package")
    ]
    if not packages:
        raise NoCounterError(f"this processor shows no energy counter in {folder}")
    try:
        tops = [int((zone / "max_energy_range_uj").read_text()) for zone in packages]
        last = [int((zone / "energy_uj").read_text()) for zone in packages]
    except PermissionError as error:
        raise NoCounterError(f"{error.filename} may be read by its owner only") from error
    total_uj = 0

    def read() -> float:
        nonlocal last, total_uj
        now = [int((zone / "energy_uj").read_text()) for zone in packages]
        total_uj += sum((new - old) % top for new, old, top in zip(now, last, tops, strict=True))
        last = now
        return total_uj * 1e-3

    return read


def energy_of_a_call(call: Callable[[], object], counter: Counter, seconds: float) -> float:
    """Millijoules a call over `seconds` of back-to-back calls."""
    call()
    calls, end, before = 0, time.perf_counter() + seconds, counter()
    while time.perf_counter() < end:
        call()
        calls += 1
    return (counter() - before) / max(1, calls)
