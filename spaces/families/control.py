"""Policies and dynamics models: from the latest readings of a machine to its next command."""

import dataclasses
import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.families.dense import Dropout, Norm, Width, dense, each
from spaces.families.inputs import refusal
from spaces.families.layers import Activation
from spaces.families.recurrent import Cell, Stack
from spaces.part import PER_STAGE


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Control:
    """Hidden layers over the latest readings, feed-forward or with a state, and a linear head.

    Input (features,), or (window, features) with the latest reading last. `mlp` reads the window
    as one vector; `recurrent` reads it in order and answers from its last state.
    """

    body: Literal["mlp", "recurrent"] = "mlp"
    depth: int = Field(default=2, ge=1, le=8)
    """Number of hidden layers."""
    width: Annotated[Width | tuple[Width, ...], PER_STAGE] = 64
    """Units of a hidden layer."""
    history: int = Field(default=0, ge=0)
    """Latest readings of the window that are read; 0 for all."""
    activation: Activation = "tanh"
    """Of `mlp`; a cell has its own."""
    norm: Norm = "none"
    """Of `mlp`."""
    cell: Cell = "gru"
    """Of `recurrent`."""
    dropout: Dropout = 0.0
    """Share of units that a training step leaves out: of each layer of `mlp`, before the head of
    `recurrent`."""

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Readings; a state needs a window to read."""
        if vocabulary or len(input_shape) not in (1, 2):
            takes = "readings (features,) or (window, features)"
            return refusal("control", takes, input_shape, vocabulary)
        if self.body == "recurrent" and len(input_shape) == 1:
            return (
                "control: body recurrent reads a window of readings (window, features), not one "
                f"of {input_shape[0]} features"
            )
        window = input_shape[0] if len(input_shape) == 2 else 1
        if self.history > window:
            return f"control: history {self.history} is longer than the window of {window}"
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "Control":
        """Values for each layer that exists; without the choices of the other body."""
        foreign = ("cell",) if self.body == "mlp" else ("activation", "norm")
        window = input_shape[0] if len(input_shape) == 2 else 1
        return dataclasses.replace(
            self,
            width=each(self.width, self.depth),
            history=self.history or window,
            **{name: vars(Control())[name] for name in foreign},
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose body and head."""
        *window, features = input_shape
        widths, history = each(self.width, self.depth), self.history or math.prod(window)
        latest = [_Latest(history)] if window and history < window[0] else []
        if self.body == "recurrent":
            thinned = [nn.Dropout(self.dropout)] if self.dropout else []
            body = [Stack(self.cell, features, widths, reads="last"), *thinned]
        else:
            hidden = dense(
                features * history,
                widths,
                activation=self.activation,
                norm=self.norm,
                dropout=self.dropout,
            )
            body = [nn.Flatten(), *hidden]
        return nn.Sequential(*latest, *body, nn.Linear(widths[-1], outputs))


class _Latest(nn.Module):
    """The last `steps` readings of a window."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, window, features) -> (B, steps, features)."""
        return x_BTF[:, -self.steps :]
