"""Changes to pictures against torchvision, PIL and their own statistics."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Generator, Tensor
from torchvision.transforms import v2

from spaces.augmentation import Augmentation
from spaces.augmentation.policy import COLOURLESS, OPERATIONS, SHIFT

MANY = 2000


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def changed(augmentation: Augmentation, inputs: Tensor, seed: int = 0) -> Tensor:
    return augmentation(inputs, torch.arange(len(inputs)), seeded(seed))[0]


def pictures(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=seeded(99))


def slopes(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """(along x, along y) at the centre of pictures (N, 1, 8, 8)."""
    centre = outputs[:, 0, 3:5, 3:5]
    return (centre[:, :, 1] - centre[:, :, 0]).mean(1), (centre[:, 1] - centre[:, 0]).mean(1)


RAMP = torch.arange(8.0).expand(MANY, 1, 8, 8)


def test_angles_are_even_between_both_ends() -> None:
    along_x, along_y = slopes(changed(Augmentation(rotate_deg=30), RAMP))
    angle = torch.rad2deg(torch.atan2(along_y, along_x))
    assert 29 < float(angle.abs().max()) <= 30.1
    assert float(angle.mean()) == pytest.approx(0, abs=1.2)  # three standard errors
    assert float(angle.std()) == pytest.approx(30 / math.sqrt(3), rel=0.05)


def test_factors_of_scale_are_even_in_their_logarithm() -> None:
    along_x, along_y = slopes(changed(Augmentation(scale=0.5), RAMP))
    factor = -along_x.log()  # twice as large, half as steep
    largest = math.log(1.5)
    assert along_y.abs().max() < 1e-4
    assert 0.98 * largest < float(factor.max()) <= largest + 1e-3
    assert float(factor.mean()) == pytest.approx(0, abs=0.02)
    assert float(factor.std()) == pytest.approx(largest / math.sqrt(3), rel=0.05)


def test_crop_cuts_the_padded_picture_at_every_place_alike() -> None:
    inputs = pictures(1, 2, 8, 5).expand(MANY, 2, 8, 5)
    padded = torch.nn.functional.pad(inputs[0], (1, 1, 2, 2))  # an eighth of 5 is rounded up
    outputs = changed(Augmentation(crop=0.2), inputs)
    places = {(y, x): padded[:, y : y + 8, x : x + 5] for y in range(5) for x in range(3)}
    counts = [int((outputs == cut).flatten(1).all(1).sum()) for cut in places.values()]
    assert sum(counts) == MANY
    expected = MANY / len(places)
    assert max(abs(count - expected) for count in counts) < 4 * math.sqrt(expected)


def test_light_moves_the_mean_and_stretches_the_distance_from_it() -> None:
    inputs = pictures(MANY, 1, 6, 7)
    outputs = changed(Augmentation(light=0.4), inputs)
    moved = outputs.mean((1, 2, 3)) - inputs.mean((1, 2, 3))
    stretched = outputs.std((1, 2, 3)) / inputs.std((1, 2, 3)) - 1
    for amount in (moved, stretched):
        assert 0.39 < float(amount.abs().max()) <= 0.401
        assert float(amount.mean()) == pytest.approx(0, abs=0.02)
        assert float(amount.std()) == pytest.approx(0.4 / math.sqrt(3), rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([moved, stretched]))[0, 1])) < 0.08


def test_colour_keeps_grey_pictures_and_the_grey_of_others() -> None:
    grey = pictures(6, 1, 5, 9).expand(6, 3, 5, 9)
    torch.testing.assert_close(changed(Augmentation(colour=0.9), grey), grey)
    inputs = pictures(6, 3, 5, 9)
    outputs = changed(Augmentation(colour=0.9), inputs)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    torch.testing.assert_close((outputs * weights).sum(1), (inputs * weights).sum(1))
    assert (outputs - inputs).abs().amax((1, 2, 3)).min() > 1e-3


def test_erased_is_a_rectangle_whose_area_is_even_up_to_the_share() -> None:
    outputs = changed(Augmentation(erase=0.4), torch.ones(MANY, 2, 32, 24))
    erased = (outputs == 0).all(1)
    assert torch.equal(erased, (outputs == 0).any(1))
    assert torch.equal(erased, erased.any(2)[:, :, None] & erased.any(1)[:, None, :])
    areas = erased.double().mean((1, 2))
    assert float(areas.max()) <= 0.4 * 1.05  # sides are whole pixels
    assert float(areas.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(areas.std()) == pytest.approx(0.4 / math.sqrt(12), rel=0.05)
    where = erased.double().mean(0)
    assert float(where[:16].mean()) == pytest.approx(float(where[16:].mean()), rel=0.1)
    for side in (erased.any(2), erased.any(1)):  # consecutive: one start
        starts = (side[:, 1:] & ~side[:, :-1]).sum(1) + side[:, 0].long()
        assert (starts[areas > 0] == 1).all()


@pytest.mark.parametrize("seed", range(30))
def test_cutmix_weights_are_the_shares_of_the_area(seed: int) -> None:
    inputs = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 9, 7)
    targets = torch.arange(6)
    mixed, ((own, share), (other, rest)) = Augmentation(cutmix=1.0)(inputs, targets, seeded(seed))
    assert torch.equal(own, targets)
    assert torch.equal(other.sort().values, targets)
    for row in range(6):
        if other[row] != row:
            of_own = float((mixed[row] == row).double().mean())
            assert of_own == pytest.approx(share, abs=1e-12)
            assert float((mixed[row] == other[row]).double().mean()) == pytest.approx(rest)


def test_cutmix_pastes_as_beta_says_before_the_border_cuts() -> None:
    """The side is sqrt(1 - lambda); a centre's mean cut leaves (s - s^2 / 4)^2 of the area."""
    generator, pasted = seeded(), []
    inputs, targets = torch.zeros(2, 1, 64, 64), torch.arange(2)
    for _ in range(MANY):
        pasted.append(Augmentation(cutmix=1.0)(inputs, targets, generator)[1][1][1])
    # lambda even in [0, 1], s = sqrt(1 - lambda): E (s - s^2 / 4)^2 = 1/2 - 1/5 + 1/48
    assert sum(pasted) / MANY == pytest.approx(0.5 - 0.2 + 1 / 48, abs=0.02)


def test_of_mixup_and_cutmix_each_batch_draws_one() -> None:
    inputs, targets = torch.eye(16).view(16, 1, 4, 4), torch.arange(16)
    generator, cut = seeded(), 0
    for _ in range(400):
        mixed, weighted = Augmentation(mixup=1.0, cutmix=1.0)(inputs, targets, generator)
        assert len(weighted) == 2
        assert sum(weight for _, weight in weighted) == pytest.approx(1)
        cut += bool(((mixed == 0) | (mixed == 1)).all())
    assert 160 <= cut <= 240


# --- operations of the policies ---

every_operation = pytest.mark.parametrize("name", OPERATIONS)


@every_operation
def test_operation_of_amount_0_changes_nothing_and_of_1_something(name: str) -> None:
    inputs = pictures(4, 3, 6, 9)
    same = OPERATIONS[name](inputs, torch.zeros(4))
    torch.testing.assert_close(same, inputs, atol=1e-5, rtol=0)
    for sign in (-1.0, 1.0):
        other = OPERATIONS[name](inputs, torch.full((4,), sign))
        assert (other - inputs).abs().amax((1, 2, 3)).min() > 0.01


@every_operation
def test_operation_is_linear_in_brightness_so_standardising_does_not_matter(name: str) -> None:
    inputs, amount = pictures(4, 3, 6, 9), torch.tensor([-1.0, -0.3, 0.5, 1.0])
    apart = OPERATIONS[name](inputs + 3, amount) - 3
    torch.testing.assert_close(apart, OPERATIONS[name](inputs, amount), atol=1e-4, rtol=0)


def test_turns_of_a_policy_are_those_of_torchvision() -> None:
    inputs = pictures(1, 3, 17, 17)
    turned = OPERATIONS["rotate"](inputs, torch.tensor([0.5]))
    expected = v2.functional.rotate(inputs, 15.0, v2.InterpolationMode.BILINEAR)
    inner = (..., slice(4, -4), slice(4, -4))  # what comes in differs
    torch.testing.assert_close(turned[inner], expected[inner], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("name", "axis"), [("shear_x", 0), ("shear_y", 1)])
def test_shears_of_a_policy_are_those_of_torchvision(name: str, axis: int) -> None:
    inputs = pictures(1, 3, 17, 21)
    sheared = OPERATIONS[name](inputs, torch.tensor([1.0]))
    degrees = [0.0, 0.0]
    degrees[axis] = math.degrees(math.atan(0.3))
    expected = v2.functional.affine(
        inputs, 0.0, [0, 0], 1.0, degrees, v2.InterpolationMode.BILINEAR
    )
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(sheared[inner], expected[inner], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("name", "dim"), [("shift_x", 3), ("shift_y", 2)])
def test_shifts_of_a_policy_move_by_a_share_of_the_side(name: str, dim: int) -> None:
    inputs = pictures(1, 2, 8, 8)
    moved = OPERATIONS[name](inputs, torch.tensor([2 / 8 / SHIFT]))
    expected = inputs.roll(-2, dim).narrow(dim, 0, 6)
    torch.testing.assert_close(moved.narrow(dim, 0, 6), expected, atol=1e-4, rtol=0)


def test_saturation_and_contrast_are_those_of_torchvision() -> None:
    inputs = 0.4 + 0.2 * torch.rand(2, 3, 6, 9, generator=seeded())  # nothing is clamped there
    amount = torch.full((2,), 0.5 / 0.9)
    expected = v2.functional.adjust_saturation(inputs, 1.5)
    torch.testing.assert_close(
        OPERATIONS["saturation"](inputs, amount), expected, atol=1e-3, rtol=0
    )
    grey = inputs[:, :1]
    expected = v2.functional.adjust_contrast(grey, 1.5)
    torch.testing.assert_close(OPERATIONS["contrast"](grey, amount), expected, atol=1e-4, rtol=0)


def test_least_sharpness_is_the_smoothing_of_pil() -> None:
    values = torch.randint(256, (1, 1, 9, 9), generator=seeded())
    smooth = OPERATIONS["sharpness"](values.float(), torch.tensor([-1 / 0.9]))[0, 0, 1:-1, 1:-1]
    drawn = Image.fromarray(values[0, 0].to(torch.uint8).numpy()).filter(ImageFilter.SMOOTH)
    expected = torch.from_numpy(np.array(drawn)).float()[1:-1, 1:-1]
    torch.testing.assert_close(smooth, expected, atol=1.0, rtol=0)  # PIL has whole numbers


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("policy", "drawn"), [("trivial", 1), ("rand", 2)])
def test_policy_draws_evenly_and_leaves_some_as_they_are(
    channels: int, policy: str, drawn: int
) -> None:
    inputs = pictures(1, channels, 8, 8).expand(MANY, channels, 8, 8)
    outputs = changed(Augmentation(policy=policy), inputs)
    untouched = float((outputs == inputs).flatten(1).all(1).double().mean())
    total = 1 + len(OPERATIONS if channels == 3 else COLOURLESS)
    expected = (1 / total) ** drawn
    error = math.sqrt(expected * (1 - expected) / MANY)
    assert untouched == pytest.approx(expected, abs=4 * error)


def test_rand_is_at_its_strength_and_trivial_anywhere_below() -> None:
    """Shown by brightness: alone it moves a constant picture."""
    inputs = torch.zeros(MANY, 1, 8, 8)
    moved = changed(Augmentation(policy="trivial", policy_strength=0.5), inputs)[:, 0, 0, 0]
    moved = moved[moved != 0]
    assert 0.4 < float(moved.abs().max()) <= 0.45
    assert float(moved.abs().mean()) == pytest.approx(0.225, rel=0.15)
    moved = changed(Augmentation(policy="rand", policy_strength=0.5), inputs)[:, 0, 0, 0]
    steps = (moved / 0.45).round()
    torch.testing.assert_close(moved, 0.45 * steps, atol=1e-5, rtol=0)
    assert set(steps.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}


@pytest.mark.parametrize("policy", ["rand", "trivial"])
def test_stronger_policy_changes_pictures_more(policy: str) -> None:
    inputs = pictures(500, 3, 8, 8)
    means = [
        float(
            (changed(Augmentation(policy=policy, policy_strength=s), inputs) - inputs).abs().mean()
        )
        for s in (0.05, 0.3, 1.0)
    ]
    assert means == sorted(means)
    assert means[2] > 2 * means[0]
