"""CUDA graphs: the kernels of one inference, recorded once and launched together.

At batch 1 small networks spend their time launching kernels; a graph launches all of them at once.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.device import missing_device
from objectives.runtimes.deployment import Deployment, DeploymentError
from objectives.runtimes.module import DTYPES, Forward, Placed, deployment_of

WARM_UP = 3
"""Calls on a side stream before recording: cuDNN chooses its kernels there."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class CudaGraph:
    """The eager module recorded as a CUDA graph for each batch size; inputs are copied in."""

    precisions: ClassVar[frozenset[str]] = frozenset(DTYPES)

    def check(self, device: str) -> str | None:
        """Only on a GPU."""
        if not device.startswith("cuda"):
            return f"runtime cuda_graph runs on device cuda, not {device!r}"
        return missing_device(device)

    def deploy(
        self, network: nn.Module, *, calibration: Tensor, precision: str, device: str, threads: int
    ) -> Deployment:
        """Record a graph the first time that a batch size is seen."""
        placed = Placed(network, calibration, precision, device, runtime="cuda_graph")
        graphs: dict[int, Forward] = {}

        def forward(inputs: Tensor) -> Tensor:
            if len(inputs) not in graphs:
                graphs[len(inputs)] = _record(placed.forward, inputs)
            return graphs[len(inputs)](inputs)

        return deployment_of(
            placed,
            forward,
            calibration,
            threads=threads,
            conditions={"runtime": "cuda_graph", "precision": precision},
        )


def _record(forward: Callable[[Tensor], Tensor], example: Tensor) -> Forward:
    """`forward` as a graph: inputs of the example's shape -> outputs, valid until the next call.

    Raises:
        DeploymentError: something in it cannot be recorded, such as a copy to the CPU.
    """
    static = example.clone()
    stream = torch.cuda.Stream(device=example.device)  # type: ignore[no-untyped-call]  # torch's stub
    stream.wait_stream(torch.cuda.current_stream(example.device))
    try:
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                forward(static)
        torch.cuda.current_stream(example.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = forward(static)
    except RuntimeError as error:
        told = str(error).strip().splitlines()[0]
        raise DeploymentError(f"the network cannot be recorded as a CUDA graph: {told}") from error

    def replay(inputs: Tensor) -> Tensor:
        static.copy_(inputs)
        graph.replay()
        return outputs

    return replay
