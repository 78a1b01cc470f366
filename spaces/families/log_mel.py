"""From a waveform to its spectrogram on the mel scale, as fixed convolutions.

Shapes: B sounds, S samples, T frames, M bands. Nothing here is trained: the tables are buffers, so
they count for the size of the file and for FLOPs, not as parameters.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-4
"""Added to the power before its logarithm: 40 dB below the mean power of standardised sound."""


class LogMel(nn.Module):
    """Logarithm of the power in mel bands, frame by frame.

    A frame is `window` samples, the next starts `hop` later; a rest at the end is not read. Each
    band is normalised over the batch, as its level depends on the voice and the microphone.
    """

    waves_F1W: Tensor
    bands_MF1: Tensor

    def __init__(self, *, rate_hz: int, window: int, hop: int, bands: int) -> None:
        super().__init__()
        self.hop, self.rates = hop, window // 2 + 1
        self.register_buffer("waves_F1W", fourier(window).unsqueeze(1))
        self.register_buffer("bands_MF1", mel_bands(rate_hz, window, bands).unsqueeze(2))
        self.norm = nn.BatchNorm1d(bands)

    def forward(self, x_BS: Tensor) -> Tensor:
        """(B, S) -> (B, M, T)."""
        parts_B2FT = functional.conv1d(x_BS.unsqueeze(1), self.waves_F1W, stride=self.hop)
        squares_B2FT = parts_B2FT * parts_B2FT
        power_BFT = squares_B2FT[:, : self.rates] + squares_B2FT[:, self.rates :]
        mel_BMT = functional.conv1d(power_BFT, self.bands_MF1)
        y_BMT: Tensor = self.norm((mel_BMT + FLOOR).log())
        return y_BMT


def frames(samples: int, window: int, hop: int) -> int:
    """Whole frames in a sound."""
    return (samples - window) // hop + 1


def fourier(window: int) -> Tensor:
    """(2 F, window): Hann times the cosines, then the sines, of F = window // 2 + 1 rates.

    Scaled so that noise of variance 1 has power 1 at every rate but the first and last.

    Source: Harris 1978, doi:10.1109/PROC.1978.10837, equation 27 (Hann, periodic); the discrete
    Fourier transform.
    """
    time_W = torch.arange(window, dtype=torch.float64)
    rate_F1 = torch.arange(window // 2 + 1, dtype=torch.float64).unsqueeze(1)
    angle_FW = 2 * math.pi / window * (rate_F1 * time_W % window)
    hann_W = 0.5 - 0.5 * (2 * math.pi / window * time_W).cos()
    waves_FW = torch.cat([angle_FW.cos(), -angle_FW.sin()]) * hann_W
    return (waves_FW / hann_W.square().sum().sqrt()).float()


def mel_bands(rate_hz: int, window: int, bands: int) -> Tensor:
    """(bands, window // 2 + 1): triangles, equally wide in mel, from 0 to half the sampling rate.

    Each sums to 1, so that noise of variance 1 has power 1 in every band; one too narrow to hold
    a rate of the window is 0.

    Source: mel = 2595 log10(1 + Hz / 700): O'Shaughnessy 1987, Speech Communication, page 150;
    triangles as in Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420.
    """
    top_mel = 2595 * math.log10(1 + rate_hz / 2 / 700)
    corners_mel = torch.linspace(0, top_mel, bands + 2, dtype=torch.float64)
    corners_hz = 700 * (10 ** (corners_mel / 2595) - 1)
    rates_hz = torch.arange(window // 2 + 1, dtype=torch.float64) * rate_hz / window
    low, centre, high = (corners_hz[i : i + bands].unsqueeze(1) for i in range(3))
    rising, falling = (rates_hz - low) / (centre - low), (high - rates_hz) / (high - centre)
    triangles_MF = torch.minimum(rising, falling).clamp(min=0)
    return (triangles_MF / triangles_MF.sum(1, keepdim=True).clamp(min=1e-12)).float()
