"""A target: a device with a deployment recipe."""

from pydantic import Field
from pydantic.dataclasses import dataclass

from objectives.measurement import Condition
from objectives.runtimes import Runtime
from objectives.runtimes.onnxruntime import OnnxRuntime


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid", "arbitrary_types_allowed": True})
class Target:
    """Where and how the network will run."""

    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N`."""
    threads: int = Field(default=1, ge=1)
    """Threads of the runtime on a CPU."""
    batch: int = Field(default=1, ge=1)
    """Inputs in one inference."""
    runtime: Runtime = OnnxRuntime()
    """How the network is deployed: a name of the table, with options."""

    def check(self) -> str | None:
        """The reason why this machine cannot measure on it, or None."""
        return self.runtime.check(self.device)

    def conditions(self) -> dict[str, Condition]:
        """What the target itself adds to a measurement's conditions."""
        return {"target_device": self.device, "batch": self.batch}
