"""Fronts, plans and candidates as text."""

import pytest
from rich.console import Console
from views import CANDIDATE, measurement, objectives, study, trial

from objectives.measurement import Measurement
from search.store.view import chosen_options
from search.tables import (
    console,
    describe,
    describe_training,
    failure_lines,
    front_table,
    plan_lines,
    show,
)

SPEC = {
    "space": {
        "architecture": {"convnet": {"depth": [1, 2], "width": [8]}},
        "training": {"lr": [0.1]},
        "compression": [{"prune": {"ratio": [0.0, 0.5]}}, "quantize"],
    }
}


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        (measurement(0.9, "ratio"), "90.00%"),
        (measurement(0.9, "ratio", 0.012), "90.00% ±1.2"),
        (measurement(0.05, "ms", 0.001), "50.0 us ±2.0%"),
        (measurement(0.05, "ms", 0.001, "too noisy"), "50.0 us ±2.0% !"),
        (measurement(166_528, "flops"), "167 kFLOPs"),
        (measurement(0.0, "ms", 0.01), "0.00 ns ±1.0%"),
    ],
)
def test_measurement_is_shown_with_half_its_interval_and_a_mark_of_doubt(
    measured: Measurement, text: str
) -> None:
    assert show(measured) == text


def test_candidate_is_described_by_architecture_then_compression() -> None:
    assert describe(CANDIDATE) == (
        "convnet depth=2 width=8,16 activation=relu; "
        "prune ratio=0.5 round_to=4; quantize scheme=int8"
    )


def test_only_options_of_the_study_file_are_described() -> None:
    chosen = chosen_options(SPEC)
    assert chosen == {"convnet.depth", "convnet.width", "training.lr", "prune.ratio"}
    assert describe(CANDIDATE, chosen) == "convnet depth=2 width=8,16; prune ratio=0.5; quantize"


def test_training_is_described_without_augmentation_that_is_off() -> None:
    assert describe_training(CANDIDATE) == "lr=0.001234 batch=64 shift=0.1"
    assert describe_training(CANDIDATE, frozenset({"training.lr"})) == "lr=0.001234"


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("convnet", set()),
        ({"convnet": None}, set()),
        ({"convnet": {"depth": 1}, "lenet": {"width": 2}}, {"convnet.depth", "lenet.width"}),
        ([{"convnet": {"depth": 1}}, "lenet"], {"convnet.depth"}),
        ({"my_nets:Net": {"deep": [False, True]}}, {"my_nets:Net.deep"}),
    ],
    ids=["a name", "no options", "two families", "a list", "own"],
)
def test_options_that_a_study_mentions_are_found_in_every_form(
    architecture: object, expected: set[str]
) -> None:
    assert chosen_options({"space": {"architecture": architecture}}) == expected


@pytest.mark.parametrize("compression", [None, "prune", {"prune": None}, ["prune"]], ids=str)
def test_steps_without_options_mention_none(compression: object) -> None:
    space = {"architecture": "lenet", "compression": compression}
    assert chosen_options({"space": space}) == frozenset()


# --- the front ---


def render(width: int = 100) -> list[str]:
    members = [
        trial(3, accuracy=0.95, flops=9e4, latency=0.9),
        trial(12, accuracy=0.5, flops=1e3, latency=0.01),
    ]
    view = study(members, members=[3, 12], spec=SPEC)
    screen = Console(width=width, markup=False, emoji=False)
    with screen.capture() as captured:
        screen.print(front_table(view, view.members))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_front_is_a_table_with_a_row_for_each_member() -> None:
    network = "convnet depth=2 width=8,16; prune ratio=0.5; quantize"
    assert [line.split(maxsplit=7) for line in render()] == [
        ["trial", "accuracy", "flops", "latency", "network"],
        ["12", "50.00%", "1.00", "kFLOPs", "10.0", "us", *network.split(maxsplit=1)],
        ["3", "95.00%", "90.0", "kFLOPs", "900", "us", *network.split(maxsplit=1)],
    ]


def test_narrow_terminal_folds_networks_and_never_cuts_values() -> None:
    lines = render(width=50)
    assert len(lines) > 3
    text = " ".join(lines)
    assert all(value in text for value in ("95.00%", "90.0 kFLOPs", "900 us", "width=8,16"))


@pytest.mark.parametrize("text", ["a [/] b", "[bold]x[/bold]", ":warning:", "[link=x]", "数字"])
def test_text_of_the_user_is_printed_as_it_is(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console().print(f"study {text}", style="bold")
    assert text in capsys.readouterr().out


# --- the plan ---

PLAN = {
    "combinations": "1234567",
    "continuous": 2,
    "priced": 64,
    "unpriced": ["ONNX export failed"],
    "within_limits": 40,
    "examples": {
        "cheapest": {
            "candidate": CANDIDATE.as_dict(),
            "costs": {"flops": 1500.0, "latency": 0.02},
        }
    },
}
UNITS = {objective.name: objective.unit for objective in objectives()}


def test_plan_says_size_examples_and_whether_limits_can_be_met() -> None:
    lines = plan_lines(PLAN, UNITS, ["latency <= 50.0 us"], chosen_options(SPEC))
    assert lines == [
        "space     1,234,567 combinations x 2 continuous ranges",
        "cheapest  flops 1.50 kFLOPs, latency 20.0 us: "
        "convnet depth=2 width=8,16; prune ratio=0.5; quantize",
        "limits    latency <= 50.0 us: met by 40 of 64 priced",
        "unpriced  ONNX export failed",
    ]


def test_plan_warns_where_no_candidate_met_the_limits() -> None:
    lines = plan_lines({**PLAN, "within_limits": 0}, UNITS, ["flops <= 1"], frozenset())
    assert lines[-2].strip() == "none met them: the study may end without a front"


def test_plan_of_a_vast_space_without_limits_is_short() -> None:
    plan = {**PLAN, "combinations": str(10**30), "continuous": 0, "unpriced": [], "examples": {}}
    assert plan_lines(plan, UNITS, [], frozenset()) == ["space     1.00e+30 combinations"]


# --- failures ---


def test_failures_are_told_by_their_most_frequent_reasons() -> None:
    reasons = ["a"] * 3 + ["b"] * 2 + ["c", "d", "e"]
    trials = [trial(number, "failed", reason) for number, reason in enumerate(reasons)]
    lines = failure_lines(study([*trials, trial(99, "stopped", "a")]))
    assert lines == [
        "failed    3 x a",
        "failed    2 x b",
        "failed    1 x c",
        "failed    2 more; see the report",
    ]


def test_study_without_failures_tells_none() -> None:
    assert failure_lines(study([trial(0, accuracy=0.5)])) == []
