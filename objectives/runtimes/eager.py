"""PyTorch as it is: the module itself, called."""

from typing import ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.device import missing_device
from objectives.runtimes.deployment import Deployment
from objectives.runtimes.module import DTYPES, Placed, deployment_of


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Eager:
    """The module called from Python, pictures channels-last; batch normalisation is not folded."""

    precisions: ClassVar[frozenset[str]] = frozenset(DTYPES)

    def check(self, device: str) -> str | None:
        """Eager runs on whatever torch has."""
        return missing_device(device)

    def deploy(
        self, network: nn.Module, *, calibration: Tensor, precision: str, device: str, threads: int
    ) -> Deployment:
        """Copy `network` to `device` in `precision`; outputs come back as float32."""
        placed = Placed(network, calibration, precision, device, runtime="eager")
        return deployment_of(
            placed,
            placed.forward,
            calibration,
            threads=threads,
            conditions={"runtime": "eager", "precision": precision},
        )
