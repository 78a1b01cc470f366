"""ONNX Runtime: the exported file in a session, as a customer would run it."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives import agent
from objectives.device import describe_device, missing_device
from objectives.runtimes.deployment import Deployment, DeploymentError, check_parity
from objectives.runtimes.onnx_export import INPUT, Exporter, export_onnx
from objectives.runtimes.onnx_precision import PRECISIONS
from objectives.runtimes.remote import (
    PREFIX,
    RemoteDeployment,
    TargetAwayError,
    address_problem,
    probe,
)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class OnnxRuntime:
    """An ONNX file in one ONNX Runtime session; batch normalisation is folded by the runtime."""

    exporter: Exporter = "torchscript"
    """`torchscript` prices fast; the file that `search.export` ships is made by `dynamo`."""
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    """Who computes; `cuda` and `tensorrt` need device cuda and an ONNX Runtime built with them."""
    python: str = "python3"
    """Interpreter with numpy and onnxruntime on a host over ssh."""
    precisions: ClassVar[frozenset[str]] = frozenset(PRECISIONS)
    """No bf16: ONNX Runtime 1.32 refuses such a convolution on the CPU (InvalidGraph)."""

    def check(self, device: str) -> str | None:
        """The provider must fit the device and be installed; a host must answer."""
        if device.startswith(PREFIX):
            return self._check_host(device)
        kind = device.partition(":")[0]
        if (kind == "cuda") != (self.provider != "cpu"):
            remedy = "use runtime eager" if self.provider == "cpu" else "use provider cpu"
            return (
                f"runtime onnxruntime with provider {self.provider} does not run on device "
                f"{device!r}; {remedy}, or provider cuda on device cuda"
            )
        return missing_device(device) or self._missing_provider()

    def deploy(
        self, network: nn.Module, *, calibration: Tensor, precision: str, device: str, threads: int
    ) -> Deployment:
        """Export `network`, check the file against it, and quantize it where asked."""
        import onnxruntime

        if precision not in self.precisions:
            raise DeploymentError(f"runtime onnxruntime does not run {precision}")
        calibration = calibration.contiguous()
        artefact = self._exported(network, calibration, precision, threads)
        run, bind = open_session(artefact, threads, self.provider, device)
        conditions = {
            "runtime": "onnxruntime",
            "precision": precision,
            "exporter": self.exporter,
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
            "threads": threads,
        }
        if self.provider != "cpu":
            conditions["provider"] = self.provider
        common: dict[str, Any] = {
            "run": run,
            "bind": bind,
            "artefact": artefact,
            "file": "model.onnx",
            "ship": lambda: artefact,
        }
        if device.startswith(PREFIX):
            return RemoteDeployment(
                **common,
                conditions={**conditions, **probe(device, threads, self.python)},
                device=device,
                threads=threads,
                precision=precision,
                python=self.python,
            )
        return Deployment(**common, conditions={**conditions, **describe_device(device)})

    def _exported(
        self, network: nn.Module, calibration: Tensor, precision: str, threads: int
    ) -> bytes:
        """The file; as float it answered like the network."""
        try:
            artefact = export_onnx(network, calibration, self.exporter)
        except Exception as error:
            raise DeploymentError(f"ONNX export failed: {_first_line(error)}") from error
        run, _ = open_session(artefact, threads)
        check_parity(network, run, calibration[:8])
        try:
            return PRECISIONS[precision](artefact, calibration)
        except Exception as error:
            told = f"{precision} quantization failed: {_first_line(error)}"
            raise DeploymentError(told) from error

    def _missing_provider(self) -> str | None:
        import onnxruntime

        if PROVIDERS[self.provider] in onnxruntime.get_available_providers():
            return None
        return f"this build of onnxruntime has no provider {self.provider}; install one that has"

    def _check_host(self, device: str) -> str | None:
        if problem := address_problem(device):
            return problem
        if self.provider != "cpu":
            return f"a host over ssh is timed with provider cpu, not {self.provider}"
        try:
            probe(device, 1, self.python)
        except TargetAwayError as error:
            return str(error)
        return None


def open_session(
    model: bytes, threads: int, provider: str = "cpu", device: str = "cpu"
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Callable[[], object]]]:
    """(run, bind) of an ONNX file, as `Deployment` describes them."""
    session = agent.open_session(model, threads, [PROVIDERS[provider]])

    def run(inputs: Tensor) -> Tensor:
        output = session.run(None, {INPUT: np.ascontiguousarray(inputs.numpy())})[0]
        return torch.from_numpy(output)

    def bind(inputs: Tensor) -> Callable[[], object]:
        if provider != "cpu":
            return _bound_on_gpu(session, inputs, int(device.partition(":")[2] or 0))
        feed = {INPUT: np.ascontiguousarray(inputs.numpy())}
        return lambda: session.run(None, feed)

    return run, bind


def _bound_on_gpu(session: Any, inputs: Tensor, index: int) -> Callable[[], object]:
    """An inference whose inputs and outputs stay on GPU `index`; it waits for the end."""
    import onnxruntime

    placed = onnxruntime.OrtValue.ortvalue_from_numpy(
        np.ascontiguousarray(inputs.numpy()), "cuda", index
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input(INPUT, placed)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", index)

    def call() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return call


def _first_line(error: Exception) -> str:
    reason = error.__cause__ or error  # torch's exporter keeps the reason in the cause
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0]
