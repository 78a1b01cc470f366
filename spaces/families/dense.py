"""Stacks of linear layers: the body of one family, and a part of several."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal, TypeVar

from pydantic import Field
from torch import Tensor, nn

from spaces.families.layers import ACTIVATIONS, Activation

T = TypeVar("T")
Width = Annotated[int, Field(ge=1, le=8192)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Norm = Literal["none", "batch", "layer"]

NORMS: dict[Norm, type[nn.Module]] = {
    "none": nn.Identity,
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
}


class Residual(nn.Module):
    """Adds what `body` makes of its input to the input. Source: He et al. 2016, equation 1."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, F) -> (B, F)."""
        y_BF: Tensor = x_BF + self.body(x_BF)
        return y_BF


def dense(
    inputs: int,
    widths: Iterable[int],
    *,
    activation: Activation,
    norm: Norm = "none",
    dropout: float = 0.0,
    residual: bool = False,
) -> list[nn.Module]:
    """Hidden layers (B, inputs) -> (B, last width), each linear, normalised, bent, thinned out.

    `residual`: a layer as wide as the hidden layer before it adds what it reads.
    """
    layers: list[nn.Module] = []
    for before, width in pairwise((inputs, *widths)):
        adds = residual and bool(layers) and before == width
        parts = [
            nn.Linear(before, width, bias=norm == "none"),
            *([NORMS[norm](width)] if norm != "none" else []),
            ACTIVATIONS[activation](),
            *([nn.Dropout(dropout)] if dropout else []),
        ]
        layers += [Residual(nn.Sequential(*parts))] if adds else parts
    return layers


def each(value: T | tuple[T, ...], stages: int) -> tuple[T, ...]:
    """One value a stage; a tuple may be longer (values of stages that do not exist)."""
    return value[:stages] if isinstance(value, tuple) else (value,) * stages
