"""A target: a device with a deployment recipe."""

import time

from pydantic import Field
from pydantic.dataclasses import dataclass

from objectives.device import describe_device
from objectives.measurement import Condition
from objectives.runtimes import Runtime
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.runtimes.remote import PREFIX, probe
from objectives.timing import Clock


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class Target:
    """Where and how the network will run."""

    device: str = "cpu"
    """`cpu`, `cuda`, `cuda:N`, or `ssh://USER@HOST[:PORT]`."""
    threads: int = Field(default=1, ge=1)
    """Threads of the runtime on a CPU."""
    batch: int = Field(default=1, ge=1)
    """Inputs in one inference."""
    runtime: Runtime = OnnxRuntime()
    """How the network is deployed: a name of the table, with options."""

    def check(self) -> str | None:
        """The reason why this machine cannot measure on it, or None."""
        return self.runtime.check(self.device)

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
        return {"target_device": self.device, "batch": self.batch}
