"""Short calls timed on a device by themselves: single layers, the kernels that find its roofs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from objectives.device import MACHINE, Turnstile, describe_device
from objectives.measurement import Measurement
from objectives.timing import Clock, TimingPlan, time_calls

PRECISION, MAX_S = 0.03, 0.2
"""Asked of one call's timing: a network has dozens of layers."""


class CallTimer:
    """Times calls on a device while nobody else of ours computes there."""

    def __init__(self, device: str, threads: int, batch: int) -> None:
        self.device, self.kind = device, device.partition(":")[0]
        clock: Clock = "cpu" if self.kind == "cpu" and threads == 1 else "wall"
        self.plan = TimingPlan(
            clock=clock, precision=PRECISION, max_s=MAX_S, warmup=5, batch=batch
        )
        self.conditions = {
            "torch": torch.__version__,
            "threads": threads,
            "batch": batch,
            **describe_device(device),
        }
        self.turnstile = Turnstile(MACHINE)

    def time(self, call: Callable[[], object]) -> Measurement:
        """Milliseconds of one call, on a GPU until it has ended."""

        def ended() -> None:
            call()
            torch.cuda.synchronize(self.device)

        timed = time_calls([ended if self.kind == "cuda" else call], self.plan, self.turnstile)
        return Measurement(
            **{**vars(timed), "conditions": {**self.conditions, **timed.conditions}}
        )


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """PyTorch computes with so many threads, afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
