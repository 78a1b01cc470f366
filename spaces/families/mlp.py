"""A multilayer perceptron: linear layers on a flattened input."""

import dataclasses
import math
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from spaces.families.dense import Dropout, Norm, Width, dense, each
from spaces.families.inputs import refusal
from spaces.families.layers import Activation
from spaces.part import PER_STAGE


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class MLP:
    """`depth` x (linear, norm, activation, dropout) and a linear head.

    Input of any shape, flattened: a row of a table, a window of readings, a small picture.
    """

    depth: int = Field(default=2, ge=0, le=16)
    """Number of hidden layers; 0 for a linear model."""
    width: Annotated[Width | tuple[Width, ...], PER_STAGE] = 64
    """Units of a hidden layer."""
    activation: Activation = "relu"
    norm: Norm = "none"
    """Normalisation of a hidden layer, before its activation."""
    dropout: Dropout = 0.0
    """Share of a hidden layer's units that a training step leaves out."""
    residual: bool = False
    """A hidden layer as wide as the one before it adds what it reads."""

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Numbers, of whatever shape."""
        if vocabulary or not input_shape:
            return refusal("mlp", "numbers (features,) or of more axes", input_shape, vocabulary)
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "MLP":
        """Values for each layer that exists; no choice of layers where there are none."""
        if self.depth == 0:
            return MLP(depth=0, width=())
        widths = each(self.width, self.depth)
        adds = self.residual and any(before == after for before, after in pairwise(widths))
        return dataclasses.replace(self, width=widths, residual=adds)

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose the layers and the head."""
        inputs, widths = math.prod(input_shape), each(self.width, self.depth)
        hidden = dense(
            inputs,
            widths,
            activation=self.activation,
            norm=self.norm,
            dropout=self.dropout,
            residual=self.residual,
        )
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear((inputs, *widths)[-1], outputs))
