"""Changes to waveforms (N, samples), before any front end turns them into spectra.

SpecAugment (Park et al. 2019, arXiv:1904.08779) masks a log-mel spectrogram, which lies inside the
network. Here its time mask is a silence, and its frequency mask stops a band of the whole
recording, even on a scale of Hz, not of mel. Time warping is left out, as it gave them least.
"""

import torch
from torch import Generator, Tensor

from spaces.augmentation.draws import stretches, uniform


def shift_time(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Move each waveform by up to `share` of its length, earlier or later; silence comes in."""
    count, samples = inputs.shape
    offset = (uniform(count, generator) * share * samples).round().long()[:, None]
    source = torch.arange(samples) - offset
    heard = ((source >= 0) & (source < samples)).to(inputs.device)
    return inputs.gather(1, source.clamp(0, samples - 1).to(inputs.device)) * heard


def mask_time(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Silence one stretch of each waveform, of up to `share` of its length."""
    count, samples = inputs.shape
    return inputs.masked_fill(stretches(samples, count, share, generator).to(inputs.device), 0)


def mask_frequency(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Stop one band of each waveform, up to `share` of 0 Hz to half the sampling rate."""
    count, samples = inputs.shape
    spectrum = torch.fft.rfft(inputs)
    stopped = stretches(spectrum.shape[1], count, share, generator).to(inputs.device)
    passed: Tensor = torch.fft.irfft(spectrum.masked_fill(stopped, 0), n=samples)
    return passed
