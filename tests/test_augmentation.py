"""What every augmentation promises; turns, mirrors, mixing against closed forms."""

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from objectives.training import Training
from spaces.augmentation import Augmentation, Targets
from spaces.augmentation.fitting import NEEDS
from spaces.families import FAMILIES
from spaces.reading import read_space

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


ON: dict[str, dict[str, Any]] = {
    "noise": {"noise": 0.3},
    "mixup": {"mixup": 0.4},
    "rotate_deg": {"rotate_deg": 20.0},
    "shift": {"shift": 0.2},
    "flip": {"flip": True},
    "scale": {"scale": 0.3},
    "crop": {"crop": 0.2},
    "light": {"light": 0.4},
    "colour": {"colour": 0.5},
    "erase": {"erase": 0.5},
    "policy": {"policy": "rand"},
    "policy_strength": {"policy": "trivial", "policy_strength": 1.0},
    "cutmix": {"cutmix": 1.0},
    "time_shift": {"time_shift": 0.2},
    "time_mask": {"time_mask": 0.2},
    "frequency_mask": {"frequency_mask": 0.2},
    "feature_dropout": {"feature_dropout": 0.3},
    "feature_swap": {"feature_swap": 0.3},
    "token_dropout": {"token_dropout": 0.3},
}
EVERYTHING = {name: value for options in ON.values() for name, value in options.items()}
MIXING = ("mixup", "cutmix", "feature_swap")
"""Fields that let one input into another."""
every_field = pytest.mark.parametrize("field", ON)


def batches(field: str) -> list[Tensor]:
    """Batches of six of the data that `field` is for."""
    generator = seeded(99)
    if NEEDS[field] == "texts":
        return [torch.randint(50, (6, 30), generator=generator)]
    shapes = {
        "colour pictures": [(6, 3, 5, 9)],
        "waveforms": [(6, 400), (6, 401)],
        "rows of features": [(6, 16), (6, 5, 16)],
    }.get(NEEDS[field], SHAPES)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def test_every_field_is_for_some_data_and_tested() -> None:
    names = {field.name for field in fields(Augmentation)}
    assert set(NEEDS) == names
    assert set(ON) == names


@every_field
def test_same_seed_gives_the_same_batch_and_another_seed_another(field: str) -> None:
    for inputs in batches(field):
        before = inputs.clone()
        augmentation = Augmentation(**ON[field])
        first, again, other = (changed(augmentation, inputs, s) for s in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, inputs)
        assert (first.shape, first.dtype) == (inputs.shape, inputs.dtype)
        assert first.isfinite().all()
        assert torch.equal(inputs, before)


@pytest.mark.parametrize("field", [field for field in ON if field not in MIXING])
def test_an_input_is_changed_alike_whatever_stands_beside_it(field: str) -> None:
    for inputs in batches(field):
        others = inputs.flip(0).clone()
        others[0] = inputs[0]
        first = changed(Augmentation(**ON[field]), inputs)[0]
        torch.testing.assert_close(changed(Augmentation(**ON[field]), others)[0], first)


@every_field
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_changes_a_batch_as_a_cpu_does(field: str) -> None:
    for inputs in batches(field):
        here = changed(Augmentation(**ON[field]), inputs)
        there = changed(Augmentation(**ON[field]), inputs.to("cuda"))
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=1e-4)


@given(
    st.sampled_from([name for name in ON if "pictures" in NEEDS[name]]),
    st.tuples(st.integers(2, 5), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_pictures_of_any_size_keep_shape_and_type(
    field: str, shape: tuple[int, ...], seed: int
) -> None:
    inputs = torch.randn(shape, generator=seeded(seed))
    if field == "colour" and shape[1] == 1:
        return
    outputs, weighted = Augmentation(**ON[field])(inputs, torch.arange(shape[0]), seeded(seed))
    assert (outputs.shape, outputs.dtype) == (inputs.shape, inputs.dtype)
    assert outputs.isfinite().all()
    assert sum(weight for _, weight in weighted) == pytest.approx(1)


@given(
    st.sampled_from([name for name in ON if NEEDS[name] in ("waveforms", "rows of features")]),
    st.tuples(st.integers(2, 5), st.integers(2, 40)),
    st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_rows_of_any_length_keep_shape_and_type(
    field: str, shape: tuple[int, ...], seed: int
) -> None:
    inputs = torch.randn(shape, generator=seeded(seed))
    outputs = changed(Augmentation(**ON[field]), inputs, seed)
    assert (outputs.shape, outputs.dtype) == (inputs.shape, inputs.dtype)
    assert outputs.isfinite().all()


def test_everything_at_once_is_each_in_turn_and_sums_to_one() -> None:
    inputs, targets = pictures((8, 3, 8, 8)), torch.arange(8)
    outputs, weighted = Augmentation(**EVERYTHING)(inputs, targets, seeded())
    assert outputs.shape == inputs.shape
    assert sum(weight for _, weight in weighted) == pytest.approx(1)


# --- what is off leaves no trace in a candidate ---


def train_keys(augmentation: object, *assignments: dict[str, Any]) -> set[str]:
    """Keys of what is trained, for each assignment of the section's choices."""
    raw = {"architecture": "convnet", "augmentation": augmentation}
    space = read_space(raw, lambda _, name: FAMILIES[name], Training, Augmentation)
    named = ({f"augmentation.{k}": v for k, v in each.items()} for each in assignments)
    candidates = [space.decode(each, (3, 8, 8)) for each in named]
    for candidate in candidates:
        assert space.decode(space.encode(candidate), (3, 8, 8)) == candidate
        assert Augmentation(**candidate.augmentation).in_use() == candidate.augmentation
    return {candidate.train_key("") for candidate in candidates}


def test_augmentation_that_is_all_off_is_none() -> None:
    none = train_keys(None, {})
    off = {"rotate_deg": 0, "flip": False, "policy": "none"}
    assert train_keys({k: [v] for k, v in off.items()}, {}) == none
    assert Augmentation().in_use() == {}


def test_strength_of_a_policy_that_is_off_is_dropped_and_of_one_that_is_on_spelled_out() -> None:
    section = {"policy": ["none", "rand", "trivial"], "policy_strength": [0.3, 0.6]}
    off = [{"policy": "none", "policy_strength": s} for s in (0.3, 0.6)]
    on = [{"policy": p, "policy_strength": s} for p in ("rand", "trivial") for s in (0.3, 0.6)]
    assert train_keys(section, *off) == train_keys(None, {})
    assert len(train_keys(section, *off, *on)) == 5
    assert Augmentation(policy="rand").in_use() == {"policy": "rand", "policy_strength": 0.3}


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
    options = {name: value for name, value in EVERYTHING.items() if "pictures" in NEEDS[name]}
    outputs = changed(Augmentation(**options), inputs)
    assert torch.equal(outputs, inputs)


@pytest.mark.parametrize(
    "options",
    [
        {"rotate_deg": 181},
        {"shift": 1},
        {"noise": -0.1},
        {"mixup": -1},
        {"zoom": 0.1},
        {"policy": "auto"},
    ],
    ids=str,
)
def test_impossible_augmentation_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Augmentation(**options)
