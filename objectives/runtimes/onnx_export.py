"""From a module to the bytes of an ONNX file."""

import io
import warnings
from typing import Literal

import onnx
import torch
from torch import Tensor, nn

Exporter = Literal["torchscript", "dynamo"]

INPUT, OUTPUT = "input", "output"
SCOPES = "name_scopes"
"""End of the key under which a node of the dynamo exporter names the modules that it is of."""
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
    return _without_traces(program.model_proto)


def _without_traces(model: onnx.ModelProto) -> bytes:
    """The file without what the exporter notes for its own authors; scopes of layers stay.

    Stack traces name files of this machine. All of it is a fifth of a small network's file.
    """
    for holder in (model.graph, *model.graph.initializer, *model.graph.value_info):
        holder.ClearField("metadata_props")
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key.endswith(SCOPES)]
        node.ClearField("metadata_props")
        node.metadata_props.extend(kept)
    return bytes(model.SerializeToString())


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
