"""Bodies that read a sentence: from vectors of words to one vector.

Shapes: B sentences, L positions, E numbers a word, F features. Each body is called with x_BLE and
real_BL1, 1 where there is a word and 0 where there is padding; it answers (B, F), and the answer
does not depend on how much padding follows the words.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from spaces.attention import Attention
from spaces.families.recurrent import Cell, Stack

LONGEST = 10_000.0
"""Longest wavelength of the positions, in units of 2 pi words (Vaswani et al. 2017)."""


class Mean(nn.Module):
    """The mean of the words, then `layers`; 0 of an empty sentence.

    Source: Joulin et al. 2016, arXiv:1607.01759 (no layers); Iyyer et al. 2015,
    doi:10.3115/v1/P15-1162 (deep averaging networks).
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
        """(B, L, E) -> (B, F)."""
        y_BF: Tensor = self.layers(mean_of_words(x_BLE, real_BL1))
        return y_BF


class Convolutions(nn.Module):
    """Convolutions over the words with ReLU, then the largest value of each channel.

    Padding is 0 in front of every layer, as the border of a sentence is.

    Source: Kim 2014, arXiv:1408.5882 (one layer; there several kernels side by side).
    """

    def __init__(self, inputs: int, width: int, layers: int, kernel: int) -> None:
        super().__init__()
        widths = (inputs, *(width,) * layers)
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2)
            for before, after in pairwise(widths)
        )

    def forward(self, x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
        """(B, L, E) -> (B, F)."""
        x_BEL, real_B1L = x_BLE.transpose(1, 2), real_BL1.transpose(1, 2)
        for layer in self.layers:
            x_BEL = layer(x_BEL).relu() * real_B1L
        return x_BEL.amax(2)


class Recurrent(nn.Module):
    """The mean of the states after each word.

    It reads forward only: a state that came from the end would have read the padding.
    """

    def __init__(self, cell: Cell, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.stack = Stack(cell, inputs, (width,) * layers, reads="all")

    def forward(self, x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
        """(B, L, E) -> (B, F)."""
        return mean_of_words(self.stack(x_BLE) * real_BL1, real_BL1)


class Transformer(nn.Module):
    """Blocks of attention and two linear layers, normalised before each; the mean of the words.

    Source: Vaswani et al. 2017, arXiv:1706.03762; normalisation before the layers as in Xiong et
    al. 2020, arXiv:2002.04745.
    """

    positions_LE: Tensor

    def __init__(
        self, length: int, size: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("positions_LE", sinusoids(length, size))
        self.blocks = nn.ModuleList(
            _Block(length, size, width, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(size)

    def forward(self, x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
        """(B, L, E) -> (B, E)."""
        x_BLE = x_BLE + self.positions_LE
        for block in self.blocks:
            x_BLE = block(x_BLE, real_BL1)
        return mean_of_words(self.norm(x_BLE) * real_BL1, real_BL1)


class _Block(nn.Module):
    def __init__(self, length: int, size: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(size, heads, length)
        self.wide, self.narrow = nn.Linear(size, width), nn.Linear(width, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
        attended_BLE = self.attention(self.attention_norm(x_BLE), real_BL1)
        x_BLE = x_BLE + self.dropout(attended_BLE)
        y_BLE: Tensor = x_BLE + self.dropout(self.narrow(self.wide(self.norm(x_BLE)).relu()))
        return y_BLE


def mean_of_words(x_BLE: Tensor, real_BL1: Tensor) -> Tensor:
    """(B, L, E), 0 at padding -> (B, E): the mean over the words, 0 where there are none."""
    return x_BLE.sum(1) / real_BL1.sum(1).clamp(min=1)


def sinusoids(length: int, size: int) -> Tensor:
    """(length, size): sines of a position in the even columns, cosines in the odd ones.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    position_L1 = torch.arange(length).unsqueeze(1)
    rate_E = LONGEST ** -(torch.arange(size) // 2 * 2 / size)
    angles_LE = position_L1 * rate_E
    even_E = torch.arange(size) % 2 == 0
    return torch.where(even_E, angles_LE.sin(), angles_LE.cos())
