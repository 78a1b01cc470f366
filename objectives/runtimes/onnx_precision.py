"""From a float32 ONNX file to one of fewer bits: one function a precision, one table."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import Tensor

from objectives.runtimes.onnx_export import INPUT


def _int8(model: bytes, calibration: Tensor) -> bytes:
    """Static int8: activations unsigned, weights signed per channel, ranges from `calibration`.

    onnxruntime's defaults (signed activations, per tensor) are up to 5 times slower on x86.
    Weights use 7 of their 8 bits: on an x86 CPU without VNNI the products of two full bytes are
    added in pairs that overflow 16 bits, so that the file would answer worse there than elsewhere
    (digits: the float network's answer in .881 of the cases, with 7 bits in .997).
    What leads to a logarithm stays float (`feeding_logarithms`).
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, NDArray[np.generic]]] = iter(
                [{INPUT: calibration.numpy()}]
            )

        def get_next(self) -> dict[str, NDArray[np.generic]] | None:
            return next(self.batches, None)

    def quantize(prepared: Path, quantized: Path) -> None:
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

    return _by_file(model, quantize)


def _int8_dynamic(model: bytes, calibration: Tensor) -> bytes:
    """Weights of matrix products and LSTM in 8 bits (7 used, as in `int8`), per channel.

    Activations are rounded by their own range at each call. Convolutions stay: as ConvInteger they
    take 5 times as long as float (measured). Without preprocessing an LSTM's weights sit behind
    other nodes and would silently stay float.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def quantize(prepared: Path, quantized: Path) -> None:
        quantize_dynamic(
            prepared,
            quantized,
            op_types_to_quantize=["MatMul", "LSTM"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )

    made = _by_file(model, quantize)
    return _with_any(made, {"MatMulInteger", "DynamicQuantizeLSTM"}, "linear layer or LSTM")


def _int4(model: bytes, calibration: Tensor) -> bytes:
    """Weights of matrix products in 4 bits, symmetric, one scale for 32; computed in int8.

    ONNX Runtime takes MatMul only, so a linear layer's Gemm becomes MatMul and Add before.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    with _quiet_logging():
        products = ONNXModel(onnx.load_from_string(model))
        products.replace_gemm_with_matmul()
        quantizer = MatMulNBitsQuantizer(
            products.model, block_size=32, is_symmetric=True, accuracy_level=4
        )
        quantizer.process()
    made = bytes(quantizer.model.model.SerializeToString())
    return _with_any(made, {"MatMulNBits"}, "linear layer")


def _fp16(model: bytes, calibration: Tensor) -> bytes:
    """Weights and activations in 16 bits; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values below 16 bits' smallest become that
        halved = convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True)
    return bytes(halved.SerializeToString())


PRECISIONS: dict[str, Callable[[bytes, Tensor], bytes]] = {
    "fp32": lambda model, calibration: model,
    "fp16": _fp16,
    "int8": _int8,
    "int8_dynamic": _int8_dynamic,
    "int4": _int4,
}
"""Precision -> (float32 ONNX file, real inputs) -> the file in that precision."""


def feeding_logarithms(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that lead to a logarithm, it included, as a spectrogram does.

    It tells small values apart, which 8 bits between 0 and the largest one make equal: on spoken
    digits a network of accuracy .977 was left with .113, and like this has .973.
    """
    wanted = {value for node in model.graph.node if node.op_type == "Log" for value in node.output}
    names = []
    for node in reversed(model.graph.node):  # what a node reads stands before it
        if wanted.intersection(node.output):
            wanted.update(node.input)
            names.append(node.name)
    return names


def _by_file(model: bytes, quantize: Callable[[Path, Path], None]) -> bytes:
    """What `quantize` makes of the preprocessed model; onnxruntime's functions want files."""
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder, _quiet_logging():
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        _preprocess(model, prepared)
        quantize(prepared, quantized)
        return quantized.read_bytes()


def _preprocess(model: bytes, prepared: Path) -> None:
    """Infer shapes, fold and fuse; without symbolic shapes where those cannot be inferred.

    ONNX Runtime 1.32 stops at a reshape whose shape is itself computed, as the older exporter
    writes it for slices of waveforms.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(onnx.load_from_string(model), prepared)
    except AssertionError:
        quant_pre_process(onnx.load_from_string(model), prepared, skip_symbolic_shape=True)


def _with_any(model: bytes, wanted: set[str], layers: str) -> bytes:
    """`model`, which has one of the operations `wanted`.

    Raises:
        ValueError: it has none.
    """
    if wanted & {node.op_type for node in onnx.load_from_string(model).graph.node}:
        return model
    raise ValueError(f"the network has no {layers}; leave this scheme out")


class _quiet_logging:  # reads as a statement
    """The quantizer logs advice through the root logger; keep it off the user's screen."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.level)
