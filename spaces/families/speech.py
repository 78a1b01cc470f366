"""Keyword spotting: from a waveform to a word, the spectrogram computed inside the network."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.families.dense import Dropout, Width, each
from spaces.families.inputs import refusal
from spaces.families.layers import ACTIVATIONS, Activation
from spaces.families.log_mel import LogMel, frames, mel_bands
from spaces.families.recurrent import Cell, Stack
from spaces.part import PER_STAGE


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Speech:
    """Waveform (samples,) -> log mel spectrogram -> body -> dropout -> linear head.

    `conv2d`: stages of a convolution over bands and time, batch norm, activation, halved while
    there is something to halve; the mean of the map. `separable`: the same, stages after the first
    split into a convolution a channel and one over channels. `recurrent`: layers over the frames;
    the mean of their states. Silence behind the word counts as sound.

    Source: Sainath and Parada 2015 (conv2d); Zhang et al. 2017, arXiv:1711.07128 (separable,
    recurrent).
    """

    rate_hz: int = Field(default=8000, ge=1000, le=192_000)
    """Sampling rate of the task's sound."""
    window_ms: float = Field(default=32.0, gt=0, le=1000)
    """Length of a frame, in milliseconds."""
    hop_ms: float = Field(default=16.0, gt=0, le=1000)
    """From the start of a frame to that of the next, in milliseconds."""
    bands: int = Field(default=32, ge=1, le=256)
    """Mel bands of the spectrogram."""
    body: Literal["conv2d", "separable", "recurrent"] = "conv2d"
    depth: int = Field(default=3, ge=1, le=8)
    """Number of stages or recurrent layers."""
    width: Annotated[Width | tuple[Width, ...], PER_STAGE] = 32
    """Channels or units of a stage."""
    kernel: Literal[3, 5, 7] = 3
    """Side of the convolutions."""
    activation: Activation = "relu"
    """Of the convolutions."""
    cell: Cell = "gru"
    """Of `recurrent`."""
    dropout: Dropout = 0.0
    """Share of features that a training step leaves out before the head."""

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return round(self.window_ms * self.rate_hz / 1000)

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return round(self.hop_ms * self.rate_hz / 1000)

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """A waveform that holds a frame, and a window that tells the bands apart."""
        if vocabulary or len(input_shape) != 1:
            return refusal("speech", "a waveform (samples,)", input_shape, vocabulary)
        sound = f"the sound of {input_shape[0]} samples at {self.rate_hz} Hz"
        for name, samples in (("window", self.window), ("hop", self.hop)):
            if samples > input_shape[0]:
                return f"speech: {name}_ms {vars(self)[name + '_ms']:g} is longer than {sound}"
        if self.hop < 1 or self.window < 4:
            return (
                f"speech: a window of {self.window} samples every {self.hop} is too short; "
                f"at {self.rate_hz} Hz a window takes 4 samples and a hop 1 or more"
            )
        if frames(input_shape[0], self.window, self.hop) < 2:
            return f"speech: window_ms {self.window_ms:g} leaves only one frame of {sound}"
        empty = int((mel_bands(self.rate_hz, self.window, self.bands).sum(1) == 0).sum())
        if empty:
            return (
                f"speech: {self.bands} bands are too many for window_ms {self.window_ms:g}: "
                f"{empty} of them would hold no frequency"
            )
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "Speech":
        """Values for each stage that exists; without the choices of the other bodies."""
        foreign = ("kernel", "activation") if self.body == "recurrent" else ("cell",)
        return dataclasses.replace(
            self,
            width=each(self.width, self.depth),
            **{name: vars(Speech())[name] for name in foreign},
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose spectrogram, body and head."""
        front = LogMel(rate_hz=self.rate_hz, window=self.window, hop=self.hop, bands=self.bands)
        widths = each(self.width, self.depth)
        if self.body == "recurrent":
            body: nn.Module = _OverTime(Stack(self.cell, self.bands, widths, reads="all"))
        else:
            map_size = (self.bands, frames(input_shape[0], self.window, self.hop))
            body = nn.Sequential(_AsPicture(), *self._stages(widths, map_size))
        head = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(widths[-1], outputs))
        return nn.Sequential(front, body, head)

    def _stages(self, widths: tuple[int, ...], map_size: tuple[int, int]) -> list[nn.Module]:
        """Convolutions over (bands, frames) and the mean of what is left of the map."""
        layers: list[nn.Module] = []
        height, width = map_size
        for before, after in zip((1, *widths), widths, strict=False):
            apart = self.body == "separable" and bool(layers)
            layers += self._convolution(before, before, before) if apart else []
            layers += self._convolution(before, after, 1, 1 if apart else self.kernel)
            if min(height, width) > 1:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
        return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()]

    def _convolution(
        self, before: int, after: int, groups: int, kernel: int | None = None
    ) -> list[nn.Module]:
        side = kernel or self.kernel
        return [
            nn.Conv2d(before, after, side, padding=side // 2, groups=groups, bias=False),
            nn.BatchNorm2d(after),
            ACTIVATIONS[self.activation](),
        ]


class _AsPicture(nn.Module):
    """One channel of bands x frames."""

    def forward(self, x_BMT: Tensor) -> Tensor:
        """(B, bands, frames) -> (B, 1, bands, frames)."""
        return x_BMT.unsqueeze(1)


class _OverTime(nn.Module):
    """The mean over the frames of the states of a recurrent stack."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, x_BMT: Tensor) -> Tensor:
        """(B, bands, frames) -> (B, width)."""
        states_BTF: Tensor = self.stack(x_BMT.transpose(1, 2))
        return torch.mean(states_BTF, 1)
