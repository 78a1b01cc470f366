"""torch.compile: the module as generated code. About 15 s a network, so for fronts, not prices."""

import shutil
from typing import ClassVar, Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.device import missing_device
from objectives.runtimes.deployment import Deployment, DeploymentError, check_parity
from objectives.runtimes.module import DTYPES, Placed, deployment_of


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Compile:
    """The module compiled by Inductor; every batch size is compiled for itself."""

    mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    """As torch.compile names them; `reduce-overhead` uses CUDA graphs on a GPU."""
    precisions: ClassVar[frozenset[str]] = frozenset(DTYPES)

    def check(self, device: str) -> str | None:
        """Inductor needs a C++ compiler on the CPU."""
        if device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            return "runtime compile needs a C++ compiler (g++ or clang++) on a CPU"
        return missing_device(device)

    def deploy(
        self, network: nn.Module, *, calibration: Tensor, precision: str, device: str, threads: int
    ) -> Deployment:
        """Compile a copy of `network` on its first call, and check its answers."""
        placed = Placed(network, calibration, precision, device, runtime="compile")
        compiled = torch.compile(placed.module, mode=self.mode, dynamic=False)
        deployed = deployment_of(
            placed,
            compiled,
            calibration,
            threads=threads,
            conditions={"runtime": "compile", "mode": self.mode, "precision": precision},
        )
        try:
            if precision == "fp32":
                check_parity(network, deployed.run, calibration[:8])
        except DeploymentError:
            raise
        except Exception as error:
            told = str(error).strip().splitlines()[0]
            raise DeploymentError(f"torch.compile failed: {told}") from error
        return deployed
