"""What the runtimes that call a torch module share: placing, running, shipping."""

import copy
import io
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from objectives.device import describe_device
from objectives.gpu_clock import gpu_ms
from objectives.measurement import Condition
from objectives.runtimes.deployment import Deployment, DeploymentError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Forward = Callable[[Tensor], Tensor]


class Placed:
    """A copy of a network on a device in a precision, pictures channels-last."""

    def __init__(
        self, network: nn.Module, example: Tensor, precision: str, device: str, *, runtime: str
    ) -> None:
        if precision not in DTYPES:
            raise DeploymentError(f"runtime {runtime} does not run {precision}")
        self.device, self.dtype = device, DTYPES[precision]
        self.layout = torch.channels_last if example.dim() == 4 else torch.preserve_format
        module = copy.deepcopy(network).eval().to(device=device, dtype=self.dtype)
        self.module = module.to(memory_format=self.layout)

    def place(self, inputs: Tensor) -> Tensor:
        """Inputs (N, ...) on the CPU -> as the module takes them; ids stay ids."""
        dtype = self.dtype if inputs.is_floating_point() else inputs.dtype
        return inputs.to(device=self.device, dtype=dtype, memory_format=self.layout)

    def forward(self, inputs: Tensor) -> Tensor:
        """The module's own call on placed inputs."""
        output: Tensor = self.module(inputs)
        return output


def deployment_of(
    placed: Placed,
    forward: Forward,
    example: Tensor,
    *,
    threads: int,
    conditions: dict[str, Condition],
) -> Deployment:
    """A deployment whose inference is `forward` on placed inputs; outputs return as float32."""
    on_gpu = placed.device.startswith("cuda")

    def run(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return forward(placed.place(inputs)).float().cpu()

    def launch(inputs: Tensor) -> Callable[[], object]:
        ready = placed.place(inputs)

        def call() -> None:
            if not on_gpu:
                torch.set_num_threads(threads)
            with torch.inference_mode():
                forward(ready)

        return call

    def bind(inputs: Tensor) -> Callable[[], object]:
        call = launch(inputs)

        def ended() -> None:
            call()
            torch.cuda.synchronize(placed.device)

        return ended if on_gpu else call

    def kernels_ms(batches: Sequence[Tensor]) -> float:
        return gpu_ms([launch(inputs) for inputs in batches], placed.device)

    return Deployment(
        run=run,
        bind=bind,
        kernels_ms=kernels_ms if on_gpu else None,
        artefact=_state_bytes(placed.module),
        file="model.pt2",
        ship=lambda: export_program(placed.module, placed.place(example[:2])),
        conditions={
            "torch": torch.__version__,
            "threads": threads,
            **describe_device(placed.device),
            **conditions,
        },
    )


def export_program(module: nn.Module, example: Tensor) -> bytes:
    """The bytes of a torch.export program of `module`, batch size free.

    Raises:
        DeploymentError: it cannot be exported, such as for control flow that depends on data.
    """
    shapes = ({0: torch.export.Dim("batch")},)
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,), dynamic_shapes=shapes)
            torch.export.save(program, buffer)
    except Exception as error:
        raise DeploymentError(f"torch.export failed: {str(error).splitlines()[0]}") from error
    return buffer.getvalue()


def _state_bytes(module: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    return buffer.getvalue()
