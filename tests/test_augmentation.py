"""Augmentation against torch's own turns and mirrors."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from spaces.augmentation import Augmentation, Targets

SHAPES = [(6, 1, 8, 8), (6, 3, 5, 9), (6, 2, 8, 4)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def pictures(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(*shape, generator=seeded(99))


def changed(augmentation: Augmentation, inputs: Tensor, seed: int = 0) -> Tensor:
    return augmentation(inputs, torch.arange(len(inputs)), seeded(seed))[0]


def drawn(seed: int, columns: int = 3) -> list[float]:
    """What one picture draws from [-1, 1]: for the angle, then for the shift along x and y."""
    generator = seeded(seed)
    return [2 * float(torch.rand(1, generator=generator)) - 1 for _ in range(columns)]


@every_shape
def test_augmentation_that_is_off_is_the_identity(shape: tuple[int, ...]) -> None:
    inputs, targets, generator = pictures(shape), torch.arange(6), seeded()
    state = generator.get_state()
    outputs, weighted = Augmentation()(inputs, targets, generator)
    assert torch.equal(outputs, inputs)
    ((same, weight),) = weighted
    assert torch.equal(same, targets)
    assert weight == 1.0
    assert torch.equal(generator.get_state(), state)


ON: list[dict[str, Any]] = [
    {"rotate_deg": 20.0},
    {"shift": 0.2},
    {"flip": True},
    {"noise": 0.3},
    {"mixup": 0.4},
    {"rotate_deg": 10.0, "shift": 0.1, "flip": True, "noise": 0.1, "mixup": 0.2},
]


@pytest.mark.parametrize("options", ON, ids=str)
@every_shape
def test_same_seed_gives_the_same_batch_and_another_seed_another(
    options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    inputs = pictures(shape)
    before = inputs.clone()
    first, again, other = (changed(Augmentation(**options), inputs, s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == inputs.shape
    assert first.isfinite().all()
    assert torch.equal(inputs, before)


@every_shape
def test_flip_mirrors_about_half_of_the_pictures_left_to_right(shape: tuple[int, ...]) -> None:
    inputs = pictures((64, *shape[1:]))
    outputs = changed(Augmentation(flip=True), inputs)
    same = (outputs - inputs).flatten(1).abs().amax(1) < 1e-4
    mirrored = (outputs - inputs.flip(3)).flatten(1).abs().amax(1) < 1e-4
    assert (same ^ mirrored).all()
    assert 16 <= int(mirrored.sum()) <= 48


@pytest.mark.parametrize("seed", [s for s in range(20) if abs(drawn(s)[0]) >= 0.5][:6])
def test_turn_by_90_degrees_of_a_square_picture_is_that_of_torch(seed: int) -> None:
    angle = drawn(seed)[0]  # of [-1, 1]; at least a half can be scaled to 90 of 180
    inputs = pictures((1, 3, 7, 7))
    turned = changed(Augmentation(rotate_deg=90 / abs(angle)), inputs, seed)
    expected = torch.rot90(inputs, 1 if angle > 0 else -1, (2, 3))
    torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 6, 6), (1, 2, 5, 9), (1, 1, 8, 3)], ids=str)
def test_half_turn_of_any_picture_is_that_of_torch(shape: tuple[int, ...]) -> None:
    seed = next(s for s in range(10_000) if abs(drawn(s)[0]) > 0.9995)
    inputs = pictures(shape)
    turned = changed(Augmentation(rotate_deg=180.0), inputs, seed)
    torch.testing.assert_close(turned, torch.rot90(inputs, 2, (2, 3)), atol=0.1, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_turn_of_a_picture_that_is_not_square_keeps_a_disc_round(seed: int) -> None:
    y, x = torch.meshgrid(torch.arange(24.0) - 11.5, torch.arange(40.0) - 19.5, indexing="ij")
    disc = torch.exp(-(x**2 + y**2) / 18).expand(1, 1, 24, 40)
    turned = changed(Augmentation(rotate_deg=180.0, flip=True), disc, seed)
    torch.testing.assert_close(turned, disc, atol=0.03, rtol=0)


@pytest.mark.parametrize("seed", [s for s in range(20) if abs(drawn(s)[1]) >= 0.3][:6])
@pytest.mark.parametrize("pixels", [1, 2])
def test_shift_moves_by_a_share_of_the_side_and_repeats_the_border(seed: int, pixels: int) -> None:
    across = drawn(seed)[1]
    row = torch.randn(8, generator=seeded(99))
    picture = row.expand(1, 1, 5, 8)  # alike in every row: only the shift along x shows
    augmentation = Augmentation(shift=pixels / 8 / abs(across))
    moved = changed(augmentation, picture, seed)[0, 0, 0]
    if across > 0:
        expected = torch.cat([row[pixels:], row[-1:].expand(pixels)])
    else:
        expected = torch.cat([row[:1].expand(pixels), row[:-pixels]])
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=0)


@given(st.floats(0, 180), st.floats(0, 0.9), st.booleans(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_moved_pictures_stay_within_the_range_of_their_pixels(
    rotate_deg: float, shift: float, flip: bool, seed: int
) -> None:
    inputs = pictures((4, 2, 6, 9))
    moved = changed(Augmentation(rotate_deg=rotate_deg, shift=shift, flip=flip), inputs, seed)
    low, high = inputs.amin((2, 3), keepdim=True), inputs.amax((2, 3), keepdim=True)
    assert (moved >= low - 1e-4).all()
    assert (moved <= high + 1e-4).all()


def test_noise_has_the_deviation_asked_for() -> None:
    noise = changed(Augmentation(noise=0.3), torch.zeros(100, 1, 10, 10))
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.05)


@given(st.floats(1e-3, 10), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_mixup_weights_sum_to_one_and_are_the_shares_of_the_inputs(
    alpha: float, seed: int
) -> None:
    targets = torch.arange(8)
    inputs = torch.eye(8)
    mixed, weighted = Augmentation(mixup=alpha)(inputs, targets, seeded(seed))
    (own, share), (other, rest) = weighted
    assert share + rest == 1
    assert 0 <= share <= 1
    assert torch.equal(own, targets)
    assert torch.equal(other.sort().values, targets)
    torch.testing.assert_close(mixed, share * inputs[own] + rest * inputs[other])


def test_mixup_shares_follow_beta() -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    targets, generator, shares = torch.arange(2), seeded(), []
    for _ in range(2000):
        weighted: Targets = Augmentation(mixup=0.5)(torch.eye(2), targets, generator)[1]
        shares.append(weighted[0][1])
    drawn_shares = torch.tensor(shares)
    assert float(drawn_shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(drawn_shares.var()) == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize("shape", [(6, 16), (6, 5, 16)], ids=str)
def test_inputs_that_are_no_pictures_are_not_moved(shape: tuple[int, ...]) -> None:
    inputs = pictures(shape)
    outputs = changed(Augmentation(rotate_deg=30, shift=0.2, flip=True), inputs)
    assert torch.equal(outputs, inputs)


@pytest.mark.parametrize(
    "options",
    [{"rotate_deg": 181}, {"shift": 1}, {"noise": -0.1}, {"mixup": -1}, {"zoom": 0.1}],
    ids=str,
)
def test_impossible_augmentation_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Augmentation(**options)
