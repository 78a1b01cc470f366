"""PyTorch as it is: the module itself, called."""

import copy
import io
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.device import describe_device, missing_device
from objectives.runtimes.deployment import Deployment, DeploymentError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


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
        if precision not in DTYPES:
            raise DeploymentError(f"runtime eager does not run {precision}")
        dtype = DTYPES[precision]
        pictures = calibration.dim() == 4
        layout = torch.channels_last if pictures else torch.preserve_format
        module = copy.deepcopy(network).eval().to(device=device, dtype=dtype)
        module = module.to(memory_format=layout)
        on_gpu = device.startswith("cuda")

        def place(inputs: Tensor) -> Tensor:
            return inputs.to(device=device, dtype=dtype, memory_format=layout)

        def run(inputs: Tensor) -> Tensor:
            with torch.inference_mode():
                output: Tensor = module(place(inputs))
            return output.float().cpu()

        def bind(inputs: Tensor) -> Callable[[], object]:
            placed = place(inputs)

            def call() -> None:
                if not on_gpu:
                    torch.set_num_threads(threads)
                with torch.inference_mode():
                    module(placed)
                if on_gpu:
                    torch.cuda.synchronize(device)

            return call

        return Deployment(
            run=run,
            bind=bind,
            artefact=_state_bytes(module),
            conditions={
                "runtime": "eager",
                "precision": precision,
                "torch": torch.__version__,
                "threads": threads,
                **describe_device(device),
            },
        )


def _state_bytes(module: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.getvalue()
