"""Changes to waveforms, tables and texts against what they must leave alone."""

import math

import pytest
import torch
from torch import Generator, Tensor

from spaces.augmentation import Augmentation

MANY = 2000


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def changed(augmentation: Augmentation, inputs: Tensor, seed: int = 0) -> Tensor:
    return augmentation(inputs, torch.arange(len(inputs)), seeded(seed))[0]


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(99))


def assert_one_stretch(chosen: Tensor, share: float) -> None:
    """Each row of `chosen` (N, size) has one stretch at most; lengths even up to `share`."""
    starts = (chosen[:, 1:] & ~chosen[:, :-1]).sum(1) + chosen[:, 0].long()
    assert (starts <= 1).all()
    lengths = chosen.double().mean(1)
    assert 0.97 * share < float(lengths.max()) <= share + 0.5 / chosen.shape[1]
    assert float(lengths.mean()) == pytest.approx(share / 2, rel=0.05)
    assert float(lengths.std()) == pytest.approx(share / math.sqrt(12), rel=0.05)
    middle = chosen.double().mean(0).view(2, -1).mean(1)
    assert float(middle[0]) == pytest.approx(float(middle[1]), rel=0.1)


def test_shifted_waveform_is_heard_later_or_earlier_with_silence_around() -> None:
    inputs = numbers(MANY, 100).abs() + 1
    outputs = changed(Augmentation(time_shift=0.3), inputs)
    offsets = []
    for before, after in zip(inputs, outputs, strict=True):
        heard = after.nonzero()[:, 0]
        first, last = int(heard[0]), int(heard[-1])
        offset = first if first else last - 99
        whole = torch.zeros(100)
        whole[first : last + 1] = before[first - offset : last + 1 - offset]
        assert torch.equal(after, whole)
        offsets.append(offset)
    found = torch.tensor(offsets).double()
    assert float(found.abs().max()) == 30
    assert float(found.mean()) == pytest.approx(0, abs=1.2)
    assert float(found.std()) == pytest.approx(30 / math.sqrt(3), rel=0.05)


def test_time_mask_silences_one_stretch() -> None:
    inputs = numbers(MANY, 400)
    outputs = changed(Augmentation(time_mask=0.25), inputs)
    silent = outputs == 0
    assert torch.equal(outputs[~silent], inputs[~silent])
    assert_one_stretch(silent, 0.25)


@pytest.mark.parametrize("samples", [398, 399])
def test_frequency_mask_stops_one_band_and_leaves_the_others(samples: int) -> None:
    inputs = numbers(MANY, samples)
    before = torch.fft.rfft(inputs)
    after = torch.fft.rfft(changed(Augmentation(frequency_mask=0.25), inputs))
    stopped = after.abs() < 1e-3 * before.abs()
    torch.testing.assert_close(after[~stopped], before[~stopped], atol=1e-3, rtol=0)
    assert_one_stretch(stopped, 0.25)


def test_frequency_mask_removes_a_tone_or_leaves_it() -> None:
    tone = torch.sin(2 * math.pi * 50 * torch.arange(400) / 400).expand(MANY, 400)
    outputs = changed(Augmentation(frequency_mask=0.5), tone)
    loud = outputs.square().mean(1).sqrt()
    gone, kept = loud < 1e-3, (loud - math.sqrt(0.5)).abs() < 1e-3
    assert (gone ^ kept).all()
    assert 0.1 < float(gone.double().mean()) < 0.5


@pytest.mark.parametrize("shape", [(MANY, 12), (MANY, 5, 12)], ids=str)
def test_dropped_features_are_0_at_all_times_and_the_others_as_they_were(
    shape: tuple[int, ...],
) -> None:
    inputs = numbers(*shape)
    outputs = changed(Augmentation(feature_dropout=0.3), inputs)
    dropped = (outputs == 0).view(MANY, -1, 12)
    assert torch.equal(dropped.all(1), dropped.any(1))
    assert torch.equal(outputs[outputs != 0], inputs[outputs != 0])
    share = dropped.any(1).double().mean(0)
    assert (share - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / MANY)


@pytest.mark.parametrize("shape", [(MANY, 12), (MANY, 5, 12)], ids=str)
def test_swapped_features_come_from_the_same_feature_of_one_other_row(
    shape: tuple[int, ...],
) -> None:
    row = torch.arange(MANY).view(-1, *(1 for _ in shape[1:]))
    inputs = (row + MANY * torch.arange(12)).expand(shape).double()  # tells row and feature
    outputs = changed(Augmentation(feature_swap=0.3), inputs).view(MANY, -1, 12)
    assert torch.equal((outputs // MANY), torch.arange(12.0).double().expand_as(outputs))
    source = outputs % MANY
    assert torch.equal(source, source[:, :1].expand_as(source))
    moved = source[:, 0] != torch.arange(MANY)[:, None]
    for sources, changes in zip(source[:, 0], moved, strict=True):
        assert len(set(sources[changes].tolist())) <= 1
    share = moved.double().mean(0)
    assert (share - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / MANY)


def test_dropped_words_become_unknown_and_padding_stays() -> None:
    inputs = torch.randint(2, 50, (MANY, 20), generator=seeded(1))
    inputs[:, 12:] = 0
    outputs = changed(Augmentation(token_dropout=0.2), inputs)
    assert outputs.dtype == torch.int64
    assert (outputs[:, 12:] == 0).all()
    dropped = outputs != inputs
    assert (outputs[dropped] == 1).all()
    share = float(dropped[:, :12].double().mean())
    assert share == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / MANY / 12))


def test_ids_are_not_touched_by_what_is_for_numbers_of_their_shape() -> None:
    inputs = torch.randint(2, 50, (6, 300), generator=seeded(1))
    rows = Augmentation(time_shift=0.3, time_mask=0.3, feature_dropout=0.3, feature_swap=0.3)
    assert torch.equal(changed(rows, inputs), inputs)
