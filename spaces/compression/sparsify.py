"""Single weights become zero: the file compresses better, nothing is computed faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from spaces.compression.step import Applied, StepError

SPARSE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.RNNBase, nn.MultiheadAttention)
"""Modules whose weights may become zero; look-up tables and normalisations are left alone."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Sparsify:
    """Zero the weights of least magnitude, the same share in every layer.

    FLOPs stay as they are counted and no runtime here is faster for it (masked or not, a
    convolution took as long); `size` falls where it is asked for as `compressed`. Zeros stay zero
    through every later fine-tune.

    Source: Han et al. 2015, arXiv:1506.02626 (magnitude); Mishra et al. 2021, arXiv:2104.08378
    (two of four).
    """

    pattern: Literal["none", "unstructured", "2:4"] = "none"
    """`unstructured`: the least of a layer; `2:4`: the least two of every four weights that follow
    each other along the inputs of a layer; layers whose inputs do not divide by four stay."""
    share: float = Field(default=0.5, ge=0, lt=1)
    """Share of the weights to zero; `2:4` zeroes half."""
    finetune_epochs: int = Field(default=1, ge=0)
    """Epochs of training after the weights are gone; 0 only where a later step trains."""

    def idle(self) -> bool:
        """No pattern, or a share of 0, zeroes nothing."""
        return self.pattern == "none" or (self.pattern == "unstructured" and self.share == 0)

    def canonical(self) -> "Sparsify":
        """`2:4` has its own share."""
        if self.pattern != "2:4":
            return self
        return Sparsify(pattern=self.pattern, finetune_epochs=self.finetune_epochs)

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Zero weights in place; the record holds how many of which parameter."""
        if self.idle():
            return Applied()
        zeroed = {}
        for name, weight in sparse_weights(network):
            kept = _two_of_four(weight) if self.pattern == "2:4" else _largest(weight, self.share)
            if kept is not None:
                with torch.no_grad():
                    weight.mul_(kept)
                zeroed[name] = int((~kept).sum())
        if not any(zeroed.values()):
            raise StepError(
                f"sparsify: no layer of this network has weights for pattern {self.pattern}; "
                "leave sparsify out or ask for another share or pattern"
            )
        return Applied(
            record={"zeroed": zeroed, "finetune_epochs": self.finetune_epochs},
            finetune_epochs=self.finetune_epochs,
        )


def sparse_weights(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """(dotted name, parameter of 2 or more dimensions) of the layers that may be sparse."""
    return [
        (f"{prefix}.{name}".removeprefix("."), parameter)
        for prefix, module in network.named_modules()
        if isinstance(module, SPARSE)
        for name, parameter in _own_parameters(module)
        if parameter.dim() >= 2
    ]


def _own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Its parameters, also those on which a parametrization computes."""
    yield from module.named_parameters(recurse=False)
    if is_parametrized(module):
        for name, parameter in module.named_parameters():
            if name.startswith("parametrizations.") and name.endswith(".original"):
                yield name, parameter


@contextmanager
def held_zeros(network: nn.Module) -> Iterator[None]:
    """Keep weights that are exactly 0 now at 0 while the body trains: they get no gradient.

    Momentum, moments and weight decay of a weight of 0 without gradients are 0 in every optimizer.
    """
    hooks = [
        weight.register_hook(_masked(weight.detach() != 0))  # type: ignore[no-untyped-call]  # torch's
        for _, weight in sparse_weights(network)
        if weight.requires_grad and bool((weight == 0).any())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _masked:  # a function with a memory
    """Zeroes gradients where the mask is false."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def __call__(self, gradient: Tensor) -> Tensor:
        self.mask = self.mask.to(gradient.device)
        return gradient * self.mask


def _largest(weight: Tensor, share: float) -> Tensor:
    """Mask of all but `floor(share n)` of the n weights, the smallest, which are zeroed."""
    count = int(share * weight.numel())
    least = weight.detach().abs().flatten().topk(count, largest=False, sorted=False).indices
    kept = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    kept[least] = False
    return kept.view_as(weight)


def _two_of_four(weight: Tensor) -> Tensor | None:
    """Mask of the two largest of every four along dimension 1; None if that does not divide."""
    if weight.shape[1] % 4:
        return None
    last = weight.detach().abs().movedim(1, -1)
    fours = last.reshape(*last.shape[:-1], -1, 4)
    largest = fours.topk(2, dim=-1).indices
    kept = torch.zeros_like(fours, dtype=torch.bool).scatter(-1, largest, True)
    return kept.flatten(-2).movedim(-1, 1)
