"""The roofline of this device: what it computes and moves at best, each measured.

Work that does `flops` and moves `bytes` takes at least max(flops / peak, bytes / bandwidth).
Source: Williams, Waterman and Patterson 2009, doi:10.1145/1498765.1498785, section 3; one
bandwidth for each cache besides the memory as in Ilic et al. 2014, doi:10.1109/L-CA.2013.6.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from objectives.call_timing import CallTimer, limit_threads
from objectives.measurement import Measurement

MATRICES = {"cpu": (256, 512, 1024), "cuda": (2048, 4096, 8192)}
"""Sides of the products among which the fastest is the peak."""
ASSUMED_CACHES = (("L2 assumed", 2**18), ("L3 assumed", 2**25))
"""Where the system does not tell: small enough for most, and large enough."""
MEMORY_BYTES = (2**26, 2**30)
"""Least and most bytes of the arrays that measure the memory: 4 times the last cache between."""
FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Level:
    """A cache, or the memory."""

    name: str
    capacity_bytes: float
    """What it holds; infinite for the memory."""
    bandwidth: Measurement
    """Bytes a second, read and written."""


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """What the device can do at best in float32, with some number of threads."""

    peak: Measurement
    """FLOPs a second of the fastest matrix product."""
    levels: tuple[Level, ...]
    """From the smallest cache measured to the memory."""
    call: Measurement
    """Milliseconds of an eager call that has next to nothing to compute: no layer is faster."""

    def level(self, moved_bytes: int) -> Level:
        """The smallest level that holds what a layer moves."""
        return next(level for level in self.levels if moved_bytes <= level.capacity_bytes)

    def ridge(self, moved_bytes: int) -> float:
        """FLOPs a byte from which on a layer is bound by computing."""
        return self.peak.value / self.level(moved_bytes).bandwidth.value

    def attainable(self, flops: int, moved_bytes: int) -> float:
        """FLOPs a second at best: min(peak, intensity x bandwidth)."""
        bandwidth = self.level(moved_bytes).bandwidth.value
        return min(self.peak.value, flops / moved_bytes * bandwidth) if moved_bytes else 0.0

    def time_ms(self, flops: int, moved_bytes: int) -> float:
        """Milliseconds at the roof; also of a layer without FLOPs, which only moves."""
        moving = moved_bytes / self.level(moved_bytes).bandwidth.value
        return 1e3 * max(flops / self.peak.value, moving)


@lru_cache
def measure_roofline(device: str, threads: int) -> Roofline:
    """Peak, bandwidths and call of this device; measured once a process, about 2 s on a CPU.

    On CUDA convolutions may use TF32 by PyTorch's default; the peak is then one in TF32 too.
    """
    timer = CallTimer(device, threads, 1)
    caches = cache_sizes(device)
    least, most = MEMORY_BYTES
    memory_bytes = min(most, max(least, 4 * max(size for _, size in caches)))
    places: list[tuple[str, float, int]] = [(name, size, size // 2) for name, size in caches]
    places.append(("memory", math.inf, memory_bytes))
    with limit_threads(threads), torch.inference_mode(), _convolutions_precision():
        one = torch.ones(1, device=device)
        return Roofline(
            peak=max((_peak(side, timer) for side in MATRICES[timer.kind]), key=_value),
            levels=tuple(
                Level(name=name, capacity_bytes=held, bandwidth=_bandwidth(used, timer))
                for name, held, used in places
            ),
            call=timer.time(lambda: torch.relu(one)),
        )


def cache_sizes(device: str) -> tuple[tuple[str, int], ...]:
    """(name, bytes) of the caches that one core, or a GPU as a whole, has above the first."""
    if device.startswith("cuda"):
        return (("L2", torch.cuda.get_device_properties(device).L2_cache_size),)
    found = {}
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, kind, size = (
            (folder / name).read_text().strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction" and int(level) > 1:
            found[int(level)] = parse_size(size)
    return tuple((f"L{n}", size) for n, size in sorted(found.items())) or ASSUMED_CACHES


def parse_size(text: str) -> int:
    """Bytes of a cache as Linux writes them.

    >>> parse_size("512K")
    524288
    """
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1], 1)
    return int(text.rstrip("KMG")) * factor


def _peak(side: int, timer: CallTimer) -> Measurement:
    left, right, product = (torch.rand(side, side, device=timer.device) for _ in range(3))
    timed = timer.time(lambda: torch.mm(left, right, out=product))
    return _rate(timed, 2 * side**3, "flops/s", {"kernel": "matrix product", "side": side})


def _bandwidth(used_bytes: int, timer: CallTimer) -> Measurement:
    """The faster of two kernels: a triad writes too, a matrix times a vector only reads."""
    return max(_triad(used_bytes, timer), _read(used_bytes, timer), key=_value)


def _triad(used_bytes: int, timer: CallTimer) -> Measurement:
    """Bytes a second of a = b + s c, three arrays; what a write reads first is not counted.

    Source: McCalpin 1995, Memory bandwidth and machine balance (STREAM).
    """
    count = used_bytes // (3 * FLOAT_BYTES)
    a, b, c = (torch.rand(count, device=timer.device) for _ in range(3))
    timed = timer.time(lambda: torch.add(b, c, alpha=0.5, out=a))
    return _rate(timed, 3 * count * FLOAT_BYTES, "bytes/s", {"kernel": "triad"})


def _read(used_bytes: int, timer: CallTimer) -> Measurement:
    """Bytes a second of a matrix times a vector: a linear layer at batch 1."""
    rows, columns = max(1, used_bytes // (2**10 * FLOAT_BYTES)), 2**10
    matrix = torch.rand(rows, columns, device=timer.device)
    vector, product = (torch.rand(n, device=timer.device) for n in (columns, rows))
    timed = timer.time(lambda: torch.mv(matrix, vector, out=product))
    moved = (rows * columns + rows + columns) * FLOAT_BYTES
    return _rate(timed, moved, "bytes/s", {"kernel": "matrix times vector"})


def _rate(
    timed: Measurement, work: float, unit: str, conditions: Mapping[str, str | int]
) -> Measurement:
    """Work a second, from milliseconds a call."""
    per_s = 1e3 * work
    return Measurement(
        value=per_s / timed.value,
        unit=unit,
        low=per_s / timed.high,
        high=per_s / (timed.low or min(timed.samples)),
        samples=tuple(per_s / sample for sample in timed.samples),
        conditions={**timed.conditions, **conditions},
        flags=timed.flags,
    )


def _value(measured: Measurement) -> float:
    return measured.value


@contextmanager
def _convolutions_precision() -> Iterator[None]:
    """Matrix products on CUDA as exact as convolutions are, by whatever is set for these."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32
    try:
        yield
    finally:
        products.allow_tf32 = before
