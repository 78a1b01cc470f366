"""A GPU's own clock: how long its kernels take, beside what a caller waits."""

import statistics
from collections.abc import Callable, Sequence

import torch

CALLS, WARM_UP = 50, 5


def gpu_ms(launches: Sequence[Callable[[], object]], device: str) -> float:
    """Milliseconds between two CUDA events around one launch: median of 50, launches in turn.

    A launch returns before its kernels end, so the queue stays filled where launching is faster
    than computing: then this is the kernels' time alone, and the wall clock's value lies above it
    by what launching and waiting cost. Where launching is slower, both are about equal.
    """
    with torch.cuda.device(device):
        for number in range(WARM_UP):
            launches[number % len(launches)]()
        torch.cuda.synchronize()
        ends = [_timed(launches[number % len(launches)]) for number in range(CALLS)]
        torch.cuda.synchronize()
        return statistics.median(float(first.elapsed_time(last)) for first, last in ends)


def _timed(launch: Callable[[], object]) -> tuple[torch.cuda.Event, torch.cuda.Event]:
    """Events before and after one launch, as the GPU passes them."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch's stub
    first.record()
    launch()
    last.record()
    return first, last
