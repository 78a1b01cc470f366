"""From a module to the bytes of an ONNX file, and from those to int8."""

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Exporter = Literal["torchscript", "dynamo"]

INPUT, OUTPUT = "input", "output"
OPSET = 20
"""Opset of the dynamo exporter's default; the older exporter is asked for the same."""


def export_onnx(network: nn.Module, example: Tensor, exporter: Exporter) -> bytes:
    """The ONNX file of `network`, batch size free.

    `torchscript` takes 0.02 s for a small network, `dynamo` about 1 s; for convolutional networks
    the files run equally fast (measured, `docs/measuring.md`). `dynamo` is the one to ship.
    """
    network = network.eval()
    if exporter == "torchscript":
        return _export_torchscript(network, example)
    # torch specialises on a batch of 1, so the example has two rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example[:2],),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _export_torchscript(network: nn.Module, example: Tensor) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "will be removed": torch 2.14 still has it
        torch.onnx.export(
            network,
            (example[:2],),
            buffer,  # type: ignore[arg-type]  # torch's stub; a stream works
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        )
    return buffer.getvalue()


def quantize_int8(model: bytes, calibration: Tensor) -> bytes:
    """Static int8: activations unsigned, weights signed per channel, ranges from `calibration`.

    onnxruntime's defaults (signed activations, per tensor) are up to 5 times slower on x86.
    Weights use 7 of their 8 bits: on an x86 CPU without VNNI the products of two full bytes are
    added in pairs that overflow 16 bits, so that the file would answer worse there than elsewhere
    (digits: the float network's answer in .881 of the cases, with 7 bits in .997).
    What leads to a logarithm stays float (`feeding_logarithms`).
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, NDArray[np.generic]]] = iter(
                [{INPUT: calibration.numpy()}]
            )

        def get_next(self) -> dict[str, NDArray[np.generic]] | None:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory(prefix="paretune-") as folder, _quiet_logging():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(onnx.load_from_string(model), prepared)
        quantize_static(
            prepared,
            quantized,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            nodes_to_exclude=feeding_logarithms(onnx.load(prepared)),
        )
        return quantized.read_bytes()


def feeding_logarithms(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that lead to a logarithm, it included, as a spectrogram does.

    It tells small values apart, which 8 bits between 0 and the largest one make equal: on spoken
    digits a network of accuracy .977 was left with .113.
    """
    wanted = {value for node in model.graph.node if node.op_type == "Log" for value in node.output}
    names = []
    for node in reversed(model.graph.node):  # what a node reads stands before it
        if wanted.intersection(node.output):
            wanted.update(node.input)
            names.append(node.name)
    return names


class _quiet_logging:  # reads as a statement
    """The quantizer logs advice through the root logger; keep it off the user's screen."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.level)
