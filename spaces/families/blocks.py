"""Small networks that several families are made of."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from spaces.families.layers import ACTIVATIONS, Activation, Norm

Squeeze = Literal[0, 2, 4, 8, 16]
"""`se`: hidden channels of a squeeze-and-excitation are the block's by this; 0 for none."""
Dropout = Annotated[float, Field(ge=0, lt=1)]


def convolution(
    channels: int,
    width: int,
    kernel: int,
    *,
    activation: Activation | None,
    norm: Norm = "batch",
    stride: int = 1,
    groups: int = 1,
) -> list[nn.Module]:
    """Convolution, normalisation and activation; the map keeps its size but for the stride.

    A 1 x 1 convolution with a stride takes every so many pixels by a pooling of 1 x 1 first: the
    same numbers, but its own gradient of few channels in channels-last layout writes past the end
    of a buffer (oneDNN issue 6035, in torch 2.14).
    """
    layers: list[nn.Module] = []
    if kernel == 1 and stride > 1:
        layers, stride = [nn.MaxPool2d(1, stride)], 1
    layers.append(
        nn.Conv2d(channels, width, kernel, stride, kernel // 2, groups=groups, bias=norm == "none")
    )
    layers += [nn.BatchNorm2d(width)] if norm == "batch" else []
    return layers + ([ACTIVATIONS[activation]()] if activation else [])


def squeeze_excitation(width: int, squeeze: int) -> list[nn.Module]:
    """A squeeze-and-excitation with `width // squeeze` hidden channels; nothing for 0."""
    return [SqueezeExcitation(width, max(1, width // squeeze))] if squeeze else []


def dropout(share: float) -> list[nn.Module]:
    """Dropout in training; nothing for 0."""
    return [nn.Dropout(share)] if share else []


def head(channels: int, outputs: int, share: float = 0.0) -> list[nn.Module]:
    """The map averaged to one value a channel, dropout, one linear layer."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return [*pool, *dropout(share), nn.Linear(channels, outputs)]


class SqueezeExcitation(nn.Module):
    """Each channel times a gate in [0, 1] that is computed of the averages of all channels.

    Source: Hu et al. 2018, arXiv:1709.01507, equations 2 to 4 (1 x 1 convolutions for the linear
    layers).
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The gated map, of the same shape."""
        gated: Tensor = x_BCHW * self.gate(x_BCHW)
        return gated


class Residual(nn.Module):
    """`after(body(x) + shortcut(x))`; an empty shortcut or `after` passes its input on.

    Source: He et al. 2016, arXiv:1512.03385, equations 1 and 2.
    """

    def __init__(
        self, body: list[nn.Module], shortcut: list[nn.Module], after: list[nn.Module]
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        self.shortcut = nn.Sequential(*shortcut)
        self.after = nn.Sequential(*after)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The sum; both branches leave the same shape."""
        output: Tensor = self.after(self.body(x_BCHW) + self.shortcut(x_BCHW))
        return output


class Parallel(nn.Module):
    """The maps of several branches of one input, joined along the channels."""

    def __init__(self, branches: list[list[nn.Module]]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, sum of the branches' channels, H, W)."""
        return torch.cat([branch(x_BCHW) for branch in self.branches], dim=1)


def shortcut(channels: int, width: int, stride: int, norm: Norm = "batch") -> list[nn.Module]:
    """What makes the input of a block fit its output: nothing, or a 1 x 1 convolution.

    Source: He et al. 2016, arXiv:1512.03385, section 3.3, option B.
    """
    if channels == width and stride == 1:
        return []
    return convolution(channels, width, 1, activation=None, norm=norm, stride=stride)
