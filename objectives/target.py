"""A target: a device with a deployment recipe."""

import math
import os
import time
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.agent import pinned
from objectives.device import describe_device
from objectives.measurement import Condition
from objectives.runtimes import Deployment, Runtime
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.runtimes.remote import PREFIX, probe
from objectives.timing import MAX_S, PRECISION, Clock, TimingPlan


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class Target:
    """Where and how the network will run."""

    device: str = "cpu"
    """`cpu`, `cuda`, `cuda:N`, or `ssh://USER@HOST[:PORT]`."""
    threads: int = Field(default=1, ge=1)
    """Threads of the runtime on a CPU."""
    cores: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Cores to which the runtime is pinned, counted from 0; empty: the system places it."""
    batch: int = Field(default=1, ge=1)
    """Inputs in one inference."""
    runtime: Runtime = OnnxRuntime()
    """How the network is deployed: a name of the table, with options."""

    def check(self) -> str | None:
        """The reason why this machine cannot measure on it, or None."""
        return self._check_cores() or self.runtime.check(self.device)

    def _check_cores(self) -> str | None:
        if not self.cores:
            return None
        if self.device.startswith("cuda"):
            return f"cores: {list(self.cores)} are of a CPU; leave them out for a GPU"
        if len(set(self.cores)) < self.threads:
            return (
                f"cores: {list(self.cores)} are fewer than threads: {self.threads}; name one core "
                "for each thread"
            )
        if self.threads > 1 and not isinstance(self.runtime, OnnxRuntime):
            return (
                f"cores: with {self.threads} threads only runtime onnxruntime can be pinned; "
                "PyTorch's threads exist already"
            )
        if self.device.startswith(PREFIX):
            return None
        if not hasattr(os, "sched_setaffinity"):
            return "cores: this system cannot pin a process; leave them out"
        here = os.sched_getaffinity(0)
        if missing := sorted(set(self.cores) - here):
            return f"cores: {missing} are not among {sorted(here)}, which this process may use"
        return None

    def timing(
        self, *, precision: float = PRECISION, max_s: float = MAX_S, limit_ms: float = math.inf
    ) -> TimingPlan:
        """How calls on it are timed."""
        return TimingPlan(
            clock=self.clock,
            precision=precision,
            max_s=max_s,
            limit_ms=limit_ms,
            batch=self.batch,
            cores=self.cores,
        )

    def deploy(self, network: nn.Module, calibration: Tensor, precision: str) -> Deployment:
        """`network` as its runtime deploys it; threads of the runtime start where it is pinned.

        Raises:
            DeploymentError: see `Runtime.deploy`.
        """
        with pinned(() if self.device.startswith(PREFIX) else self.cores):
            return self.runtime.deploy(
                network,
                calibration=calibration,
                precision=precision,
                device=self.device,
                threads=self.threads,
            )

    @property
    def clock(self) -> Clock:
        """CPU time where one thread computes and the system counts it, else wall time."""
        counted = hasattr(time, "thread_time_ns")
        several = self.device.startswith("cuda") or self.threads > 1
        return "cpu" if counted and not several else "wall"

    def description(self) -> dict[str, Condition]:
        """What identifies the device in a measurement's conditions."""
        if self.device.startswith(PREFIX):
            assert isinstance(self.runtime, OnnxRuntime), "checked by the runtime"
            return dict(probe(self.device, self.threads, self.runtime.python))
        return describe_device(self.device)

    def conditions(self) -> dict[str, Condition]:
        """What the target itself adds to a measurement's conditions."""
        pinned_to = {"pinned": ",".join(map(str, self.cores))} if self.cores else {}
        return {"target_device": self.device, "batch": self.batch, **pinned_to}
