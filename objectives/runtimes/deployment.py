"""What a runtime makes of a network: something that runs, and the bytes one would ship."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from objectives.agent import PARITY_TOLERANCE
from objectives.device import Turnstile
from objectives.measurement import Condition, Measurement
from objectives.timing import TimingPlan, time_calls


class DeploymentError(RuntimeError):
    """The network cannot be deployed like this, or the artefact answers differently."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployed network: what is timed, scored and shipped."""

    run: Callable[[Tensor], Tensor]
    """Inputs (N, ...) on the CPU -> outputs (N, ...) on the CPU, any N."""
    bind: Callable[[Tensor], Callable[[], object]]
    """Inputs (N, ...) -> a call without arguments that is one inference; used for timing."""
    artefact: bytes
    """What the size objective weighs: an ONNX model, or the state dict of a torch module."""
    conditions: Mapping[str, Condition]
    file: str
    """Name of the shipped file; its ending says what loads it."""
    ship: Callable[[], bytes]
    """Makes the bytes of that file."""
    kernels_ms: Callable[[Sequence[Tensor]], float] | None = None
    """Batches of inputs -> milliseconds of one inference by the GPU's own clock; None on a CPU."""

    def time(
        self, inputs: Tensor, batch: int, plan: TimingPlan, turnstile: Turnstile
    ) -> Measurement:
        """Milliseconds of one inference of `batch` of the real `inputs` (N, ...)."""
        enough = repeated(inputs, batch)
        batches = [
            enough.roll(-shift, 0)[:batch].contiguous() for shift in range(min(8, len(inputs)))
        ]
        timed = time_calls([self.bind(each) for each in batches], plan, turnstile)
        if self.kernels_ms is None:
            return timed
        with turnstile.quiet():
            gpu_ms = self.kernels_ms(batches)
        return dataclasses.replace(timed, details={**timed.details, "gpu_ms": gpu_ms})


def repeated(inputs: Tensor, least: int) -> Tensor:
    """`inputs` (N, ...) as often as it takes to have `least` rows."""
    return inputs.repeat(-(-least // len(inputs)), *[1] * (inputs.dim() - 1))


@runtime_checkable
class Runtime(Protocol):
    """A way to deploy a network. Implementations are frozen dataclasses; fields are YAML keys."""

    precisions: ClassVar[frozenset[str]]
    """What it can run: of fp32, bf16, fp16, int8, int8_dynamic, int4."""

    def check(self, device: str) -> str | None:
        """The reason why it cannot run on `device`, or None."""

    def deploy(
        self,
        network: nn.Module,
        *,
        calibration: Tensor,
        precision: str,
        device: str,
        threads: int,
    ) -> Deployment:
        """Deploy `network` in `precision`.

        `calibration`: real inputs (N, ...), N >= 2: example for tracing, ranges for quantizing.

        Raises:
            DeploymentError: it cannot be exported, or the artefact differs from the network.
        """


def check_parity(network: nn.Module, run: Callable[[Tensor], Tensor], inputs: Tensor) -> float:
    """The largest difference between `run` and `network` on `inputs`, relative to the output.

    Raises:
        DeploymentError: it is above `PARITY_TOLERANCE`.
    """
    with torch.no_grad():
        expected = network(inputs)
    actual = run(inputs)
    if actual.shape != expected.shape:
        raise DeploymentError(
            f"the deployed file returns shape {tuple(actual.shape)}, "
            f"the network {tuple(expected.shape)}"
        )
    scale = max(1.0, float(expected.abs().max()))
    difference = float((actual - expected).abs().max()) / scale
    if not difference <= PARITY_TOLERANCE:
        raise DeploymentError(
            f"the deployed file differs from the network by {difference:.1e} of the largest "
            f"output (allowed: {PARITY_TOLERANCE:.0e})"
        )
    return difference
