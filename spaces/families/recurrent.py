"""Recurrent layers on top of each other, each with a width of its own."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

Cell = Literal["gru", "lstm"]
CELLS: dict[Cell, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class Stack(nn.Module):
    """Layers that read a sequence in order, from its start; states begin at 0.

    Source: Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000 (`lstm`); Cho
    et al. 2014, arXiv:1406.1078 (`gru`).
    """

    def __init__(
        self, cell: Cell, inputs: int, widths: Sequence[int], *, reads: Literal["last", "all"]
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CELLS[cell](before, width, batch_first=True)
            for before, width in pairwise((inputs, *widths))
        )
        self.last = reads == "last"

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, time, features) -> the last layer's states: (B, width), or (B, time, width)."""
        for layer in self.layers:
            x_BTF, _ = layer(x_BTF)
        return x_BTF[:, -1] if self.last else x_BTF
