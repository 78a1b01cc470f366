"""Objectives that need no training: what a network costs, counted or timed.

Each is a frozen dataclass whose fields are the YAML keys. All of them are minimised, none depends
on the values of the weights, so a candidate is priced before a second is spent on training it.
"""

import dataclasses
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from typing import ClassVar, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.agent import block_interval
from objectives.complexity import count_flops
from objectives.device import Turnstile
from objectives.energy import ROUND_S, ROUNDS, NoCounterError, energy_counter, energy_of_a_call
from objectives.measurement import Measurement, exact
from objectives.runtimes import Deployment
from objectives.runtimes.deployment import repeated
from objectives.target import Target
from objectives.timing import MAX_S, PRECISION
from objectives.units import parse_quantity


@plain_dataclass(frozen=True, kw_only=True)
class Subject:
    """What a cost is measured on: the compressed network and its deployments."""

    network: nn.Module
    inputs: Tensor
    """Real inputs (N, ...)."""
    targets: Mapping[str, Target]
    deployments: Mapping[str, Deployment]
    """Target name -> the network as deployed there."""
    turnstile: Turnstile


class Cost(Protocol):
    """A quantity known without training."""

    unit: ClassVar[str]

    @property
    def target(self) -> str | None:
        """The target it is measured on; None for what is counted."""

    @property
    def limit(self) -> str | int | float | None:
        """The largest value that may be deployed, as the study file writes it."""

    def measure(self, subject: Subject) -> Measurement:
        """Measure it on `subject`."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Flops:
    """FLOPs of one input: 2 for each multiply-add; after pruning, before quantizing.

    Biases, normalisation, activations and pooling are not counted (`objectives/complexity.py`).
    """

    limit: str | int | float | None = None
    """Largest number that may be deployed, such as `1 MFLOPs`."""
    unit: ClassVar[str] = "flops"
    target: ClassVar[str | None] = None

    def measure(self, subject: Subject) -> Measurement:
        """Count on meta tensors."""
        inputs = subject.inputs
        counted = count_flops(subject.network, tuple(inputs.shape[1:]), dtype=inputs.dtype)
        return exact(counted.total, "flops")


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Parameters:
    """Number of trainable numbers after pruning; buffers are not counted."""

    limit: str | int | float | None = None
    """Largest number that may be deployed, such as `100k`."""
    unit: ClassVar[str] = "parameters"
    target: ClassVar[str | None] = None

    def measure(self, subject: Subject) -> Measurement:
        """Count the elements of every parameter once."""
        return exact(sum(p.numel() for p in subject.network.parameters()), "parameters")


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Size:
    """Bytes of the file that the target's runtime loads."""

    target: str | None = None
    """Name of a target; may be left out where there is one."""
    limit: str | int | float | None = None
    """Largest file that may be deployed, such as `500 kB`."""
    compressed: bool = False
    """Weigh it as DEFLATE stores it: zeros of `sparsify` count little then. Random weights are
    about as large as trained ones (within 1%)."""
    unit: ClassVar[str] = "bytes"

    def measure(self, subject: Subject) -> Measurement:
        """Length of the artefact, with its graph and names."""
        deployment = subject.deployments[_required(self.target)]
        artefact = deployment.artefact
        stored = zlib.compress(artefact, level=9) if self.compressed else artefact
        conditions = {
            **deployment.conditions,
            **({"stored": "deflate"} if self.compressed else {}),
        }
        return exact(len(stored), "bytes", conditions)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Latency:
    """Milliseconds of one inference of `batch` inputs on a target, back to back.

    Inputs lie on the device already; warm-up and the first call are excluded.
    """

    target: str | None = None
    """Name of a target; may be left out where there is one."""
    limit: str | int | float | None = None
    """Longest inference that may be deployed, such as `2 ms`."""
    precision: float = Field(default=PRECISION, gt=0, lt=1)
    """Half width of the blocks' 95% interval, relative to the value, at which timing stops."""
    max_s: float = Field(default=MAX_S, gt=0)
    """Seconds of timing after which the interval is taken as it is, and flagged."""
    unit: ClassVar[str] = "ms"

    def measure(self, subject: Subject) -> Measurement:
        """Time the deployed network while nothing else of this user computes on the device."""
        name = _required(self.target)
        target, deployment = subject.targets[name], subject.deployments[name]
        plan = target.timing(
            precision=self.precision,
            max_s=self.max_s,
            limit_ms=math.inf if self.limit is None else parse_quantity(self.limit, self.unit),
        )
        inputs = subject.inputs
        taken = [deployment.time(inputs, target.batch, plan, subject.turnstile)]
        if taken[0].flags and taken[0].value <= plan.limit_ms:
            taken.append(deployment.time(inputs, target.batch, plan, subject.turnstile))
        # a doubtful value is taken again at once; of two doubtful ones the less doubtful is kept
        timed = min(taken, key=lambda m: (len(m.flags), m.high / m.low if m.low else math.inf))
        return dataclasses.replace(
            timed, conditions={**deployment.conditions, **target.conditions(), **timed.conditions}
        )


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Energy:
    """Millijoules of one inference of `batch` inputs on a target, back to back, idle included."""

    target: str | None = None
    """Name of a target; may be left out where there is one."""
    limit: str | int | float | None = None
    """Most energy that may be deployed, such as `5 mJ`."""
    seconds: float = Field(default=0.0, ge=0)
    """Seconds of one of the four readings; 0 for the least that the counter needs."""
    unit: ClassVar[str] = "mJ"

    def check(self, target: Target) -> str | None:
        """The reason why it cannot be measured on `target`, or None."""
        try:
            energy_counter(target.device)
        except NoCounterError as error:
            return f"energy: {error}; remove the objective or name another target"
        return None

    def measure(self, subject: Subject) -> Measurement:
        """Count over back-to-back calls while nothing else of this user computes."""
        name = _required(self.target)
        target, deployment = subject.targets[name], subject.deployments[name]
        counter = energy_counter(target.device)
        call = deployment.bind(repeated(subject.inputs, target.batch)[: target.batch])
        seconds = self.seconds or ROUND_S[target.device.partition(":")[0]]
        with subject.turnstile.quiet():
            values = [energy_of_a_call(call, counter, seconds) for _ in range(ROUNDS)]
        value, low, high = block_interval(values)
        return Measurement(
            value=value,
            unit=self.unit,
            low=low,
            high=high,
            samples=tuple(values),
            conditions={**deployment.conditions, **target.conditions()},
        )


def _required(target: str | None) -> str:
    assert target is not None, "the study file fills in the target"
    return target


COSTS: dict[str, type[Cost]] = {
    "flops": Flops,
    "parameters": Parameters,
    "size": Size,
    "latency": Latency,
    "energy": Energy,
}
