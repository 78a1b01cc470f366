"""What a network computes: FLOPs by module, and what was not counted."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.utils.flop_counter import FlopCounterMode

KNOWN_ZEROS: dict[type[nn.Module], str] = {
    nn.BatchNorm1d: "element-wise; folded into the convolution before it when deployed",
    nn.BatchNorm2d: "element-wise; folded into the convolution before it when deployed",
    nn.BatchNorm3d: "element-wise; folded into the convolution before it when deployed",
    nn.LayerNorm: "element-wise, not counted by torch.utils.flop_counter",
    nn.GroupNorm: "element-wise, not counted by torch.utils.flop_counter",
    nn.RMSNorm: "element-wise, not counted by torch.utils.flop_counter",
    nn.PReLU: "element-wise, not counted by torch.utils.flop_counter",
    nn.Embedding: "a table look-up",
    nn.EmbeddingBag: "a table look-up and a sum",
    NonDynamicallyQuantizableLinear: "counted in the attention that owns it, which never calls it",
}
"""Modules whose parameters cost no counted FLOPs, each with the reason."""


@dataclass(frozen=True, kw_only=True)
class FlopCount:
    """FLOPs of one forward pass, 2 for each multiply-add; biases and activations not counted."""

    total: int
    by_module: Mapping[str, int]
    """Dotted module name -> FLOPs spent in it and below it."""
    zeros: Mapping[str, str]
    """Modules with parameters that were counted as zero, with the reason."""


class UncountedError(ValueError):
    """A module has parameters, costs no counted FLOPs, and is not known to be free."""


def count_flops(network: nn.Module, input_shape: tuple[int, ...], *, batch: int = 1) -> FlopCount:
    """Count the FLOPs of `network` on inputs of shape (batch, *input_shape).

    Counted on *meta* tensors: on CPU tensors LSTM and attention run as fused operations that
    the counter does not know and silently counts as zero.

    Raises:
        UncountedError: a module with parameters shows no FLOPs and is not in `KNOWN_ZEROS`.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    example = torch.empty((batch, *input_shape), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(example)
    root = type(shadow).__name__
    by_module = {
        name.removeprefix(f"{root}."): int(sum(operations.values()))
        for name, operations in counter.get_flop_counts().items()
        if name.startswith(f"{root}.")
    }
    total = int(counter.get_total_flops())
    # named_modules() calls the network itself ""
    zeros = _zeros(shadow, {**by_module, "": total})
    return FlopCount(total=total, by_module=by_module, zeros=zeros)


def _zeros(network: nn.Module, by_module: Mapping[str, int]) -> dict[str, str]:
    zeros = {}
    for name, module in network.named_modules():
        owns = any(True for _ in module.parameters(recurse=False))
        if not owns or by_module.get(name, 0):
            continue
        reasons = [reason for kind, reason in KNOWN_ZEROS.items() if isinstance(module, kind)]
        if not reasons:
            place = f"module {name}" if name else "the network itself"
            raise UncountedError(
                f"{place} ({type(module).__name__}) has parameters but no counted FLOPs; "
                "drop 'flops' from the objectives or replace the module"
            )
        zeros[name] = reasons[0]
    return zeros
