"""Metrics against hand-computed values, scikit-learn, and the coverage of their intervals."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from objectives.measurement import Measurement
from objectives.tasks.metrics import ACCURACY, MACRO_F1, METRICS, NMSE, RMSE, in_unit
from objectives.tasks.ranking import NDCG, user_ndcg
from objectives.tasks.task import Split, Splits


def logits(answers: list[int], num_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(answers), num_classes).float()


def column(values: list[float]) -> Tensor:
    return torch.tensor(values).unsqueeze(1)


@settings(deadline=None)  # the first call imports scikit-learn
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_macro_f1_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    from sklearn.metrics import f1_score

    targets, answers = (list(each) for each in zip(*pairs, strict=True))
    scored = MACRO_F1.score(logits(answers, 5), torch.tensor(targets))
    expected = f1_score(targets, answers, average="macro", zero_division=0.0)
    assert scored.value == pytest.approx(expected)
    assert 0 <= scored.low <= scored.value <= scored.high <= 1


def test_macro_f1_counts_a_rare_class_as_much_as_a_frequent_one() -> None:
    targets = torch.tensor([0] * 99 + [1])
    scored = MACRO_F1.score(logits([0] * 100, 2), targets)
    assert scored.value == pytest.approx((2 * 0.99 / 1.99) / 2)
    assert MACRO_F1.constant(targets, targets) == pytest.approx(scored.value)


def test_rmse_and_nmse_of_a_small_table_by_hand() -> None:
    targets, outputs = column([1.0, 2.0, 3.0, 6.0]), column([1.0, 2.0, 5.0, 6.0])
    assert RMSE.score(outputs, targets).value == pytest.approx(1.0)  # one error of 2 in 4 rows
    assert NMSE.score(outputs, targets).value == pytest.approx(1 / 3.5)  # variance (4+1+0+9) / 4
    assert RMSE.constant(column([0.0, 2.0]), targets) == pytest.approx(math.sqrt(30 / 4))
    assert NMSE.constant(column([0.0, 2.0]), targets) == pytest.approx(30 / 4 / 3.5)


def test_nmse_is_one_minus_the_mean_r2_of_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 3)) * [1, 10, 100]
    outputs = targets + rng.normal(size=(50, 3)) * [0.5, 1, 20]
    found = NMSE.score(torch.from_numpy(outputs), torch.from_numpy(targets)).value
    assert found == pytest.approx(1 - r2_score(targets, outputs))


def test_nmse_does_not_depend_on_the_unit_of_an_output() -> None:
    rng = torch.Generator().manual_seed(0)
    targets, noise = torch.randn(40, 2, generator=rng), torch.randn(40, 2, generator=rng)
    scale = torch.tensor([1.0, 1000.0])
    first = NMSE.score(targets + noise, targets)
    scaled = NMSE.score(scale * (targets + noise), scale * targets)
    for name in ("value", "low", "high"):
        assert getattr(first, name) == pytest.approx(getattr(scaled, name), rel=1e-4)


def classes(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Answers to 3 classes of 60, 30 and 10%, one in five wrong."""
    targets = rng.choice(3, size=count, p=[0.6, 0.3, 0.1])
    wrong = rng.random(count) < 0.2
    answers = np.where(wrong, (targets + 1) % 3, targets)
    return logits(answers.tolist(), 3), torch.from_numpy(targets)


def values(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Two outputs of unlike scale with errors of unlike size."""
    targets = rng.normal(size=(count, 2)) * [1, 5]
    return torch.from_numpy(targets + rng.laplace(size=(count, 2))), torch.from_numpy(targets)


def ratings(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Five judged items a user, half guessed."""
    stars = rng.integers(1, 6, size=count).astype(float)
    users = np.arange(count) // 5
    guesses = torch.from_numpy(stars + 2 * rng.normal(size=count)).unsqueeze(1)
    return guesses, torch.from_numpy(np.stack([stars, users], axis=1))


@pytest.mark.parametrize(
    ("score", "draw"),
    [
        (ACCURACY.score, classes),
        (MACRO_F1.score, classes),
        (RMSE.score, values),
        (NMSE.score, values),
        (NDCG.score, ratings),
    ],
    ids=["accuracy", "macro_f1", "rmse", "nmse", "ndcg"],
)
def test_interval_holds_the_value_of_endless_data_19_times_in_20(
    score: Callable[[Tensor, Tensor], Measurement],
    draw: Callable[[np.random.Generator, int], tuple[Tensor, Tensor]],
) -> None:
    rng = np.random.default_rng(1)
    truth = score(*draw(rng, 40_000)).value
    found = [score(*draw(rng, 250)) for _ in range(200)]
    held = sum(each.low <= truth <= each.high for each in found)
    assert 180 <= held <= 199, held  # 190 are meant; the standard deviation is 3


@pytest.mark.parametrize("name", METRICS)
def test_few_judged_inputs_have_a_value_and_an_interval(name: str) -> None:
    if name in ("accuracy", "macro_f1"):
        scored = METRICS[name].score(logits([1], 2), torch.tensor([1]))
    else:
        scored = METRICS[name].score(column([1.0, 2.0]), column([2.0, 4.0]))
    assert scored.low <= scored.value <= scored.high


def test_error_of_standardised_outputs_is_told_in_the_unit_of_the_table() -> None:
    part = Split(inputs=torch.zeros(3, 1), targets=column([10.0, 20.0, 30.0]))
    splits = Splits(
        train=part, validation=part, test=part, outputs=1, target_mean=(20.0,), target_std=(5.0,)
    )
    metric = in_unit(RMSE, "km", lambda: splits)
    scored = metric.score(torch.zeros(3, 1), part.targets)
    assert (scored.unit, metric.unit) == ("km", "km")
    assert scored.value == pytest.approx(math.sqrt(200 / 3))


def test_ndcg_of_one_user_by_hand() -> None:
    stars, scores = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.9, 0.5])
    best = 7 / math.log2(2) + 3 / math.log2(3) + 1 / math.log2(4)
    found = 1 / math.log2(2) + 3 / math.log2(3) + 7 / math.log2(4)
    assert user_ndcg(scores, stars, np.zeros(3)) == pytest.approx([found / best])


def test_ndcg_is_that_of_scikit_learn_ties_and_places_beyond_ten_included() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    for _ in range(50):
        stars = rng.integers(1, 6, size=25).astype(float)
        scores = rng.integers(0, 5, size=25).astype(float)
        expected = ndcg_score([2.0**stars - 1], [scores], k=10)
        assert user_ndcg(scores, stars, np.zeros(25)) == pytest.approx([expected])


def test_users_of_whom_every_order_is_as_good_are_left_out() -> None:
    users, stars = np.array([0, 1, 1, 2, 2]), np.array([5.0, 3.0, 3.0, 1.0, 4.0])
    assert user_ndcg(np.arange(5.0), stars, users).tolist() == [1.0]
    with pytest.raises(ValueError, match="nothing can be ranked"):
        user_ndcg(np.arange(3.0), stars[:3], users[:3])
