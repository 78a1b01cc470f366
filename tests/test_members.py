"""Which member of a front to take, and what to say where there is none."""

import re

import pytest
from views import objectives, study, trial

from search.errors import InputError
from search.members import best, find_member, knee_of, no_front_reason, parse_bounds, within

EXACT = trial(3, accuracy=0.95, flops=9e4, latency=0.9)
KNEE = trial(5, accuracy=0.90, flops=4e3, latency=0.05)
FAST = trial(8, accuracy=0.50, flops=1e3, latency=0.01)
OTHER = trial(9, accuracy=0.40, flops=9e4, latency=0.9)
TOY = study([EXACT, KNEE, FAST, OTHER], members=[3, 5, 8])


# --- bounds ---


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("latency=2ms", "latency", 2.0),
        ("latency = 2 ms", "latency", 2.0),
        ("latency<=2ms", "latency", 2.0),
        (" latency <= 50 us ", "latency", 0.05),
        ("flops=200k", "flops", 200e3),
        ("flops=2e5", "flops", 2e5),
        ("accuracy=90%", "accuracy", 0.9),
        ("accuracy>=0.9", "accuracy", 0.9),
    ],
)
def test_bound_is_an_objective_and_a_quantity_in_its_base_unit(
    text: str, name: str, value: float
) -> None:
    [(objective, bound)] = parse_bounds(TOY, [text])
    assert (objective.name, bound) == (name, value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("latency", "--under: 'latency' is not OBJECTIVE=QUANTITY, such as latency=2ms"),
        ("=2ms", "--under: '=2ms' is not OBJECTIVE=QUANTITY"),
        ("latency=", "--under: 'latency=' is not OBJECTIVE=QUANTITY"),
        ("latency<2ms", "--under: 'latency<2ms' is not OBJECTIVE=QUANTITY"),
        ("latensy=2ms", "'latensy' is not measured by study 'toy'; did you mean 'latency'?"),
        ("energy=2mJ", "'energy' is not measured by study 'toy'; known: accuracy, flops, latency"),
        ("latency=2", "--under: latency: '2' has no unit; write one of: ns, us"),
        ("latency=2kB", "--under: latency: '2kB' has the unit 'kB'; write one of"),
        ("latency=fast", "--under: latency: 'fast' is not a quantity"),
        ("latency>=2ms", "'latency>=2ms': a bound of latency is written <="),
        ("accuracy<=0.9", "'accuracy<=0.9': a bound of accuracy is written >="),
    ],
)
def test_bound_that_cannot_be_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        parse_bounds(TOY, ["flops=1M", text])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        ([], [3, 5, 8]),
        (["latency=0.05ms"], [5, 8]),
        (["latency=49us"], [8]),
        (["accuracy=90%"], [3, 5]),
        (["accuracy=90%", "flops=4k"], [5]),
        (["accuracy=99%"], []),
    ],
    ids=str,
)
def test_bounds_keep_costs_at_most_and_scores_at_least(
    texts: list[str], numbers: list[int]
) -> None:
    bounds = parse_bounds(TOY, texts)
    assert [t.number for t in (EXACT, KNEE, FAST) if within(t, bounds)] == numbers


# --- members ---


def test_members_are_those_of_the_newest_front_cheapest_first() -> None:
    assert [member.number for member in TOY.members] == [8, 5, 3]


def test_best_is_the_one_with_the_best_score() -> None:
    assert best(TOY, TOY.members) == EXACT
    assert best(TOY, [FAST, KNEE]) == KNEE


def test_of_equal_scores_the_one_of_least_last_cost_is_best() -> None:
    slow = trial(1, accuracy=0.9, flops=1e3, latency=0.5)
    quick = trial(2, accuracy=0.9, flops=9e3, latency=0.1)
    assert best(study([slow, quick], members=[1, 2]), [slow, quick]) == quick


def test_knee_is_nearest_to_the_ideal_of_the_scale() -> None:
    # losses: (.06, .98, .98), (.11, .30, .35), (.56, 0, 0)
    assert knee_of(TOY, TOY.members) == KNEE
    assert knee_of(TOY, [EXACT, FAST]) == FAST


@pytest.mark.parametrize(("which", "number"), [("best", 3), ("knee", 5), ("8", 8), ("3", 3)])
def test_member_is_found_by_word_or_number(which: str, number: int) -> None:
    assert find_member(TOY, which).number == number


@pytest.mark.parametrize("which", ["9", "77", "-1", "nee", "", "8.0", " 8"])
def test_what_is_no_member_is_told_with_all_that_are(which: str) -> None:
    told = f"{which!r} is not a member of the front; choose knee, best, or one of 8, 5, 3"
    with pytest.raises(InputError, match=re.escape(told)):
        find_member(TOY, which)


# --- no front ---


def test_study_without_a_front_says_what_became_of_its_trials() -> None:
    view = study(
        [
            trial(0, "failed", "the loss became inf"),
            trial(1, "infeasible", accuracy=0.1),
            trial(2, "failed", "out of memory"),
        ]
    )
    assert no_front_reason(view) == "2 failed, 1 infeasible"
    told = "study 'toy' has no front yet; 2 failed, 1 infeasible"
    with pytest.raises(InputError, match=told):
        find_member(view, "best")


def test_study_without_a_trial_says_so() -> None:
    assert no_front_reason(study([])) == "no trial yet"


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            {"latency": 0.2},
            "; the least latency seen, 500 us, is 2.50 times the limit 200 us",
        ),
        (
            {"latency": 0.2, "flops": 1e4},
            "; the least flops seen, 20.0 kFLOPs, is 2.00 times the limit 10.0 kFLOPs",
        ),
        (
            {"accuracy": 0.8},
            "; the largest accuracy seen, 60.00%, is 0.75 times the limit 80.00%",
        ),
        (
            {"accuracy": 0.8, "latency": 0.2},
            "; the largest accuracy seen, 60.00%, is 0.75 times the limit 80.00%",
        ),
        ({"latency": 0.6}, ""),
        ({}, ""),
    ],
    ids=str,
)
def test_no_front_names_the_limit_that_was_broken_by_least(
    limits: dict[str, float], told: str
) -> None:
    trials = [
        trial(0, "infeasible", flops=2e4, latency=0.9),
        trial(1, "infeasible", accuracy=0.6, flops=7e4, latency=0.5),
    ]
    view = study(trials, objectives=objectives(**limits))
    assert no_front_reason(view) == f"2 infeasible{told}"
