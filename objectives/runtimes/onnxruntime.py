"""ONNX Runtime on the CPU: the exported file in a session, as a customer would run it."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from objectives.device import describe_device
from objectives.runtimes.deployment import Deployment, DeploymentError, check_parity
from objectives.runtimes.onnx_export import INPUT, Exporter, export_onnx, quantize_int8


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class OnnxRuntime:
    """An ONNX file in one ONNX Runtime session; batch normalisation is folded by the runtime."""

    exporter: Exporter = "torchscript"
    """`torchscript` prices fast; the file that `search.export` ships is made by `dynamo`."""
    precisions: ClassVar[frozenset[str]] = frozenset({"fp32", "int8"})
    """No bf16: ONNX Runtime 1.32 refuses such a convolution on the CPU (InvalidGraph)."""

    def check(self, device: str) -> str | None:
        """Only the CPU provider is used so far."""
        if device != "cpu":
            return f"runtime onnxruntime runs on device cpu, not {device!r}; use runtime eager"
        return None

    def deploy(
        self, network: nn.Module, *, calibration: Tensor, precision: str, device: str, threads: int
    ) -> Deployment:
        """Export `network`, check the file against it, and quantize it where asked."""
        import onnxruntime

        if precision not in self.precisions:
            raise DeploymentError(f"runtime onnxruntime does not run {precision}")
        calibration = calibration.contiguous()
        try:
            artefact = export_onnx(network, calibration, self.exporter)
        except Exception as error:
            raise DeploymentError(f"ONNX export failed: {_first_line(error)}") from error
        run, _ = open_session(artefact, threads)
        check_parity(network, run, calibration[:8])
        if precision == "int8":
            try:
                artefact = quantize_int8(artefact, calibration)
            except Exception as error:
                raise DeploymentError(f"int8 quantization failed: {_first_line(error)}") from error
        run, bind = open_session(artefact, threads)
        return Deployment(
            run=run,
            bind=bind,
            artefact=artefact,
            conditions={
                "runtime": "onnxruntime",
                "precision": precision,
                "exporter": self.exporter,
                "onnxruntime": onnxruntime.__version__,
                "torch": torch.__version__,
                "threads": threads,
                **describe_device(device),
            },
        )


def open_session(
    model: bytes, threads: int
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Callable[[], object]]]:
    """(run, bind) of an ONNX file, as `Deployment` describes them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # idle workers must not spin: with 2 threads that burns 0.9 CPU seconds a second between calls
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(inputs: Tensor) -> Tensor:
        output = session.run(None, {INPUT: np.ascontiguousarray(inputs.numpy())})[0]
        return torch.from_numpy(output)

    def bind(inputs: Tensor) -> Callable[[], object]:
        feed = {INPUT: np.ascontiguousarray(inputs.numpy())}
        return lambda: session.run(None, feed)

    return run, bind


def _first_line(error: Exception) -> str:
    reason = error.__cause__ or error  # torch's exporter keeps the reason in the cause
    return (str(reason).strip().splitlines() or [type(reason).__name__])[0]
