"""From the `space` section to candidates and back."""

import dataclasses
import doctest
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from torch import Tensor, nn

from objectives.training import Training
from spaces import reading
from spaces.augmentation import Augmentation
from spaces.candidate import Candidate, digest
from spaces.choice import Fixed, Range, Scalar, members
from spaces.compression import STEPS
from spaces.families import FAMILIES
from spaces.reading import SpaceError, read_space
from spaces.space import Space


def build(input_shape: tuple[int, ...], outputs: int, *, depth: int = 1) -> nn.Module:
    """A user's own family: linear layers."""
    size = int(np.prod(input_shape))
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(size, size), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(size, outputs))


def needy(input_shape: tuple[int, ...], outputs: int, *, width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.LazyLinear(outputs))


def bounded(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: Annotated[int, Field(ge=4)] = 8,
    slope: float = 0.1,
) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.LeakyReLU(slope))


class Net(nn.Module):
    """A user's own family: a module class."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(int(np.prod(input_shape)), width), nn.Linear(width, outputs)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        output: Tensor = self.layers(x_BCHW)
        return output


OWN = {"own:build": build, "own:needy": needy, "own:bounded": bounded, "own:Net": Net}


def resolve(kind: str, name: str) -> Callable[..., Any]:
    tables: dict[str, Mapping[str, Callable[..., Any]]] = {
        "family": {**FAMILIES, **OWN},
        "step": STEPS,
    }
    if name not in tables[kind]:
        raise ValueError(f"{name!r} is not a {kind}")
    return tables[kind][name]


def read(raw: object) -> Space:
    return read_space(raw, resolve, Training, Augmentation)


def of(architecture: object, **sections: object) -> Space:
    return read({"architecture": architecture, **sections})


RICH = read(
    {
        "architecture": {
            "convnet": {
                "depth": [1, 2, 3],
                "width": {"per_stage": {"low": 8, "high": 32, "step": 8}},
                "kernel": {"per_stage": [3, 5]},
                "pool": {"per_stage": [2, 3]},
                "pool_kind": ["avg", "max"],
                "activation": ["relu", "tanh", "silu"],
                "blocks": {"values": [2, 3], "when": {"activation": ["relu", "silu"]}},
            },
            "lenet": {
                "width": {"low": 0.5, "high": 2.0},
                "hidden": [0, 1, 2],
                "norm": [False, True],
                "kernel": {"values": [3, 7], "when": {"norm": True, "hidden": [1, 2]}},
            },
            "own:build": {"depth": {"low": 1, "high": 3}},
        },
        "training": {
            "lr": {"low": 1e-3, "high": 1e-1, "log": True},
            "batch": {"low": 16, "high": 64, "step": 16},
            "optimizer": ["adamw", "sgd"],
            "weight_decay": {"values": [0.0, 0.01], "when": {"optimizer": "adamw"}},
            "label_smoothing": 0.1,
        },
        "augmentation": {
            "rotate_deg": [0, 10],
            "flip": [False, True],
            "mixup": {"low": 0.0, "high": 0.4, "step": 0.1},
        },
        "compression": [
            {
                "prune": {
                    "ratio": [0.0, 0.25, 0.5],
                    "finetune_epochs": {"values": [1, 2], "when": {"ratio": [0.25, 0.5]}},
                }
            },
            {"quantize": {"scheme": ["none", "int8"]}},
        ],
    }
)
"""Several families, one of them a user's own, stages, conditions, ranges, two steps."""

PLAIN = of(
    {
        "convnet": {
            "activation": ["tanh", "relu"],
            "depth": {"values": [3, 4], "when": {"activation": "relu"}},
            "width": [16, 8],
            "pool": [2, 3],
            "kernel": {"low": 3, "high": 5, "step": 2},
        }
    },
    compression=[{"prune": {"ratio": {"low": 0.0, "high": 0.9}}}],
)
"""One value for all stages, a conditional depth, a continuous ratio."""

SHAPES = [(1, 8, 8), (3, 2, 5), (1, 1, 1)]
spaces_ = st.sampled_from([RICH, PLAIN])
seeds = st.integers(0, 2**32 - 1)
shapes = st.sampled_from(SHAPES)


def drawn(seed: int, space: Space = RICH) -> dict[str, Scalar]:
    return space.draw(np.random.default_rng(seed))


def candidate(seed: int, shape: tuple[int, ...] = (1, 8, 8), space: Space = RICH) -> Candidate:
    return space.decode(drawn(seed, space), shape)


def inactive(parameters: Mapping[str, Scalar]) -> set[str]:
    """Names of the choices of RICH that do not matter, by hand."""
    family = parameters["architecture"]
    names = {
        name
        for name in parameters
        if name.startswith("architecture.") and not name.startswith(f"architecture.{family}.")
    }
    if family == "convnet":
        depth = int(parameters["architecture.convnet.depth"])
        last = (name.rpartition(".") for name in parameters)
        names |= {f"{a}.{b}" for a, _, b in last if b.isdigit() and int(b) > depth}
        if parameters["architecture.convnet.activation"] == "tanh":
            names.add("architecture.convnet.blocks")
    no_norm = parameters["architecture.lenet.norm"] is False
    if no_norm or parameters["architecture.lenet.hidden"] == 0:
        names.add("architecture.lenet.kernel")
    if parameters["training.optimizer"] == "sgd":
        names.add("training.weight_decay")
    if parameters["compression.prune.ratio"] == 0:
        names.add("compression.prune.finetune_epochs")
    return names


def test_examples_of_the_documentation_hold() -> None:
    assert doctest.testmod(reading).failed == 0


@given(spaces_, seeds, shapes)
@settings(deadline=None, max_examples=200)
def test_encoded_candidate_decodes_to_itself(
    space: Space, seed: int, shape: tuple[int, ...]
) -> None:
    first = candidate(seed, shape, space)
    assert space.decode(space.encode(first), shape) == first


@given(spaces_, seeds, shapes)
@settings(deadline=None, max_examples=200)
def test_encoding_gives_every_open_choice_a_value_of_its_domain(
    space: Space, seed: int, shape: tuple[int, ...]
) -> None:
    encoded = space.encode(candidate(seed, shape, space))
    assert list(encoded) == [choice.name for choice in space.open_choices]
    for choice in space.open_choices:
        possible = members(choice.domain)
        if possible is not None:
            assert encoded[choice.name] in possible
        else:
            assert isinstance(choice.domain, Range)
            assert choice.domain.low <= encoded[choice.name] <= choice.domain.high


@given(spaces_, seeds)
@settings(deadline=None, max_examples=100)
def test_siblings_differ_in_compression_alone_and_the_uncompressed_is_among_them(
    space: Space, seed: int
) -> None:
    shape, parameters = (1, 8, 8), drawn(seed, space)
    found = space.siblings(parameters, 12, np.random.default_rng(seed))
    assert len(found) <= 12
    siblings = [space.decode(each, shape) for each in found]
    own = space.decode(parameters, shape)
    assert {s.train_key("") for s in siblings} == {own.train_key("")}
    plain = space.encode(dataclasses.replace(own, compression=()))
    if not space.decode(plain, shape).compression:
        assert any(not s.compression for s in siblings)


def test_siblings_of_many_compressions_are_each_step_alone_and_all_of_them() -> None:
    space = of(
        {"lenet": {"width": [0.5, 1.0]}},
        compression=[
            {"prune": {"ratio": {"low": 0.1, "high": 0.9}}},
            {"sparsify": {"pattern": "unstructured", "share": {"low": 0.0, "high": 0.9}}},
            {"quantize": {"scheme": ["none", "int8", "bf16"]}},
        ],
    )
    found = space.siblings(drawn(0, space), 40, np.random.default_rng(0))
    assert len(found) == 40
    steps = [[name for name, _ in space.decode(s, (1, 8, 8)).compression] for s in found]
    assert ["prune", "quantize"] in steps
    assert ["prune", "sparsify", "quantize"] in steps


@given(seeds, seeds)
@settings(deadline=None)
def test_inactive_choices_change_neither_candidate_nor_keys(seed: int, other: int) -> None:
    parameters, others = drawn(seed), drawn(other)
    changed = {**parameters, **{name: others[name] for name in inactive(parameters)}}
    first, second = (RICH.decode(values, (1, 8, 8)) for values in (parameters, changed))
    assert first == second
    assert first.key("task") == second.key("task")
    assert first.train_key("task") == second.train_key("task")
    assert first.recipe_key("task") == second.recipe_key("task")


@given(seeds)
@settings(deadline=None)
def test_every_active_choice_changes_the_key(seed: int) -> None:
    parameters = drawn(seed)
    key = RICH.decode(parameters, (1, 8, 8)).key("task")
    for choice in RICH.open_choices:
        if choice.name in inactive(parameters):
            continue
        possible = members(choice.domain) or (0.0123, 1.23)
        other = next(value for value in possible if value != parameters[choice.name])
        changed = RICH.decode({**parameters, choice.name: other}, (1, 8, 8))
        assert changed.key("task") != key, choice.name


@given(seeds, shapes, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_dicts_changes_neither_candidate_nor_keys(
    seed: int, shape: tuple[int, ...], random: Any
) -> None:
    def shuffled(data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        items = list(data.items())
        random.shuffle(items)
        return {key: shuffled(value) for key, value in items}

    parameters = drawn(seed)
    first, again = RICH.decode(parameters, shape), RICH.decode(shuffled(parameters), shape)
    rebuilt = Candidate.from_dict(shuffled(first.as_dict()))
    assert first == again == rebuilt
    for other in (again, rebuilt):
        assert other.key("c") == first.key("c")
        assert other.train_key("c") == first.train_key("c")
        assert other.recipe_key("c") == first.recipe_key("c")


@given(seeds, shapes)
@settings(deadline=None)
def test_candidate_survives_json(seed: int, shape: tuple[int, ...]) -> None:
    first = candidate(seed, shape)
    again = Candidate.from_dict(json.loads(json.dumps(first.as_dict())))
    assert again == first
    assert again.key("c") == first.key("c")


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_every_candidate_of_a_legal_space_builds_and_answers(seed: int) -> None:
    first = candidate(seed)
    assert RICH.check(first, (1, 8, 8), 10) is None
    with torch.no_grad():
        network = RICH.build(first, (1, 8, 8), 10).eval()
        assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_keys_depend_on_what_they_are_named_after() -> None:
    space = of(
        {"convnet": {"width": [8, 16]}},
        training={"lr": [0.1, 0.2]},
        augmentation={"flip": [False, True]},
        compression={"prune": {"ratio": [0.0, 0.5]}},
    )
    plain = {
        "architecture.convnet.width": 8,
        "training.lr": 0.1,
        "augmentation.flip": False,
        "compression.prune.ratio": 0.0,
    }
    first = space.decode(plain, (1, 8, 8))

    def differ(name: str, value: Scalar) -> tuple[bool, bool, bool]:
        other = space.decode({**plain, name: value}, (1, 8, 8))
        return (
            first.key("c") != other.key("c"),
            first.train_key("c") != other.train_key("c"),
            first.recipe_key("c") != other.recipe_key("c"),
        )

    assert differ("architecture.convnet.width", 16) == (True, True, True)
    assert differ("training.lr", 0.2) == (True, True, False)
    assert differ("augmentation.flip", True) == (True, True, False)
    assert differ("compression.prune.ratio", 0.5) == (True, False, True)
    assert first.key("c") != first.key("another context")


def test_digest_does_not_depend_on_the_order_of_keys_or_on_tuples() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_defaults_and_fixed_values_are_spelled_out_and_idle_steps_left_out() -> None:
    space = of(
        {"convnet": {"depth": 1, "width": [8, 16]}},
        training={"lr": 0.01},
        compression=[{"prune": {"ratio": [0.0, 0.5]}}, "quantize"],
    )
    assert [choice.name for choice in space.open_choices] == [
        "architecture.convnet.width",
        "compression.prune.ratio",
    ]
    parameters = {"architecture.convnet.width": 16, "compression.prune.ratio": 0.0}
    first = space.decode(parameters, (1, 8, 8))
    assert first.architecture == {
        "depth": 1,
        "width": [16],
        "kernel": [3],
        "blocks": [1],
        "block": "plain",
        "norm": "batch",
        "se": 0,
        "pool": [2],
        "pool_kind": "max",
        "activation": "relu",
        "dropout": 0.0,
        "resolution": 8,
    }
    assert first.training["lr"] == 0.01
    assert first.training["optimizer"] == "adamw"
    assert first.compression == ()
    assert space.pipeline(first) == ()
    pruned = space.decode({**parameters, "compression.prune.ratio": 0.5}, (1, 8, 8))
    assert space.pipeline(pruned) == (("prune", STEPS["prune"](ratio=0.5)),)


@pytest.mark.parametrize(
    ("step", "options", "without_effect"),
    [
        ("prune", {"ratio": 0.5}, {"rounds": [2, 3, 5]}),
        ("quantize", {"scheme": "int8"}, {"finetune_epochs": [1, 4], "lr": [0.1, 1.0]}),
        ("sparsify", {"pattern": "2:4"}, {"share": [0.25, 0.75]}),
    ],
)
def test_option_of_a_step_that_others_switch_off_makes_no_other_candidate(
    step: str, options: dict[str, Any], without_effect: dict[str, list[Any]]
) -> None:
    space = of("lenet", compression=[{step: {**options, **without_effect}}])
    found = {space.decode(one, (1, 8, 8)).key("") for one in space.assignments(100) or ()}
    assert len(space.assignments(100) or ()) > 1
    assert len(found) == 1


def test_steps_stay_in_the_order_of_the_file() -> None:
    for order in (["prune", "quantize"], ["quantize", "prune"]):
        options = {"prune": {"ratio": 0.5}, "quantize": {"scheme": "int8"}}
        space = of("lenet", compression=[{name: options[name]} for name in order])
        assert [name for name, _ in space.decode({}, (1, 8, 8)).compression] == order


def test_choice_whose_condition_fails_takes_the_default_of_the_part() -> None:
    pool_kind = {"values": ["avg"], "when": {"pool": [2, 3]}}
    space = of({"convnet": {"pool": [0, 2, 3], "pool_kind": pool_kind}})
    kinds = {
        pool: space.decode({"architecture.convnet.pool": pool}, (1, 8, 8)).architecture[
            "pool_kind"
        ]
        for pool in (0, 2, 3)
    }
    assert kinds == {0: "max", 2: "avg", 3: "avg"}


def test_condition_on_an_inactive_choice_does_not_hold() -> None:
    space = of(
        {
            "lenet": {
                "norm": [False, True],
                "hidden": {"values": [0, 1], "when": {"norm": True}},
                "kernel": {"values": [3, 7], "when": {"hidden": [0, 1]}},
            }
        }
    )
    prefix = "architecture.lenet"
    parameters = {f"{prefix}.norm": False, f"{prefix}.hidden": 0, f"{prefix}.kernel": 3}
    assert space.decode(parameters, (1, 8, 8)).architecture["kernel"] == 5


def test_condition_may_name_a_stage_the_family_or_another_section() -> None:
    space = of(
        {
            "convnet": {
                "kernel": {"per_stage": [3, 5]},
                "activation": {"values": ["tanh", "silu"], "when": {"kernel.2": 5}},
            },
            "lenet": None,
        },
        training={
            "lr": {"values": [0.1, 0.2], "when": {"architecture": "lenet"}},
            "batch": {
                "values": [16, 32],
                "when": {"architecture.convnet.activation": "silu"},
            },
        },
    )
    plain: dict[str, Scalar] = {
        "architecture": "convnet",
        "architecture.convnet.kernel.1": 3,
        "architecture.convnet.kernel.2": 3,
        "architecture.convnet.activation": "silu",
        "training.lr": 0.1,
        "training.batch": 16,
    }

    def decode(**changes: Scalar) -> Candidate:
        return space.decode({**plain, **changes}, (1, 8, 8))

    assert decode().architecture["activation"] == "relu"
    assert (decode().training["lr"], decode().training["batch"]) == (3e-3, 64)
    fits = decode(**{"architecture.convnet.kernel.2": 5})
    assert fits.architecture["activation"] == "silu"
    assert fits.training["batch"] == 16
    assert decode(architecture="lenet").training["lr"] == 0.1


def test_stages_exist_up_to_the_largest_depth_also_if_depth_is_conditional() -> None:
    raw = {
        "activation": ["relu", "tanh"],
        "width": {"per_stage": [8, 16]},
        "depth": {"values": [1], "when": {"activation": "tanh"}},
    }
    space = of({"convnet": raw})
    parameters: dict[str, Scalar] = {
        choice.name: choice.domain.values[0] for choice in space.open_choices
    }
    first = space.decode(parameters, (1, 8, 8))
    assert first.architecture["depth"] == 2
    assert first.architecture["width"] == [8, 8]
    assert space.build(first, (1, 8, 8), 10)(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def test_size_counts_assignments_families_apart_and_continuous_choices() -> None:
    space = of(
        {
            "convnet": {"depth": [1, 2, 3], "kernel": {"per_stage": [3, 5]}},
            "lenet": {"hidden": [0, 1, 2], "norm": [False, True]},
        },
        training={"lr": {"low": 1e-3, "high": 1e-1, "log": True}},
        compression={"quantize": {"scheme": ["none", "int8"]}},
    )
    finite = of("lenet", compression={"quantize": {"scheme": ["none", "int8"]}})
    assert finite.size() == (2, 0)
    assert space.size()[1] == 1
    without_lr = of(
        {
            "convnet": {"depth": [1, 2, 3], "kernel": {"per_stage": [3, 5]}},
            "lenet": {"hidden": [0, 1, 2], "norm": [False, True]},
        },
        compression={"quantize": {"scheme": ["none", "int8"]}},
    )
    assert without_lr.size() == ((3 * 2**3 + 3 * 2) * 2, 0)


def test_size_with_a_continuous_choice_still_counts_the_finite_ones() -> None:
    space = of("lenet", training={"lr": {"low": 1e-3, "high": 0.1}, "batch": [16, 32]})
    assert space.size() == (2, 1)


@pytest.mark.parametrize("raw", [None, [], {}])
def test_no_compression_may_be_written_as_what_is_empty(raw: object) -> None:
    section = {"architecture": "lenet", "compression": raw}
    assert read(section).compression == ()


def test_same_generator_draws_the_same_assignment() -> None:
    assert drawn(3) == drawn(3) != drawn(4)


@pytest.mark.parametrize(
    ("raw", "path", "problem"),
    [
        ("convnet", (), "it has the sections"),
        ({}, (), "architecture is missing"),
        ({"architecture": "lenet", "data": 1}, ("data",), "not a section"),
        ({"architecture": "alexnet"}, ("architecture",), "'alexnet' is not a family"),
        (
            {"architecture": {"alexnet": None}},
            ("architecture", "alexnet"),
            "'alexnet' is not a family",
        ),
        ({"architecture": []}, ("architecture",), "names nothing"),
        ({"architecture": ["lenet", "lenet"]}, ("architecture",), "lenet stands twice"),
        ({"architecture": {"lenet": 3}}, ("architecture", "lenet"), "not a mapping of lenet"),
        (
            {"architecture": {"lenet": {"widht": 2.0}}},
            ("architecture", "lenet", "widht"),
            "lenet has no option 'widht'",
        ),
        (
            {"architecture": {"lenet": {"kernel": [3, 4]}}},
            ("architecture", "lenet", "kernel", 1),
            "lenet kernel 4: must be 3, 5 or 7",
        ),
        (
            {"architecture": {"lenet": {"kernel": {"low": 3, "high": 7}}}},
            ("architecture", "lenet", "kernel"),
            "lenet kernel 4",
        ),
        (
            {"architecture": {"convnet": {"depth": [1, "2"]}}},
            ("architecture", "convnet", "depth", 1),
            "must be a valid integer",
        ),
        (
            {"architecture": {"convnet": {"depth": [0, 1]}}},
            ("architecture", "convnet", "depth", 0),
            "greater than or equal to 1",
        ),
        (
            {"architecture": {"convnet": {"width": {"low": 8, "high": 9000, "step": 8}}}},
            ("architecture", "convnet", "width"),
            "9000|8192",
        ),
        (
            {"architecture": {"convnet": {"width": {"per_stage": [8, 0]}}}},
            ("architecture", "convnet", "width", "per_stage", 1),
            "greater than or equal to 1",
        ),
        (
            {"architecture": {"convnet": {"activation": {"per_stage": ["relu", "tanh"]}}}},
            ("architecture", "convnet", "activation"),
            "cannot be chosen per stage",
        ),
        (
            {"architecture": {"convnet": {"depth": []}}},
            ("architecture", "convnet", "depth"),
            "is empty",
        ),
        (
            {"architecture": {"convnet": {"depth": {"low": 3, "high": 1}}}},
            ("architecture", "convnet", "depth", "low"),
            "exchange them",
        ),
        (
            {"architecture": {"own:needy": None}},
            ("architecture", "own:needy"),
            "needs the option 'width'",
        ),
        (
            {"architecture": {"own:build": {"depth": [1, 1.5]}}},
            ("architecture", "own:build", "depth", 1),
            "must be a valid integer",
        ),
        (
            {"architecture": {"own:bounded": {"width": [2, 8]}}},
            ("architecture", "own:bounded", "width", 0),
            "greater than or equal to 4",
        ),
        (
            {"architecture": "lenet", "training": {"lr": [0.1, 0.0]}},
            ("training", "lr", 1),
            "greater than 0",
        ),
        (
            {"architecture": "lenet", "augmentation": {"zoom": 1}},
            ("augmentation", "zoom"),
            "no option 'zoom'",
        ),
        (
            {"architecture": "lenet", "compression": [{"prune": {"ratio": [0.0, 1.0]}}]},
            ("compression", 0, "prune", "ratio", 1),
            "less than 1",
        ),
        (
            {"architecture": "lenet", "compression": ["prune", {"shrink": None}]},
            ("compression", 1, "shrink"),
            "'shrink' is not a step",
        ),
        (
            {"architecture": "lenet", "compression": ["prune", "prune"]},
            ("compression",),
            "prune stands twice",
        ),
    ],
    ids=str,
)
def test_mistake_in_the_section_is_reported_at_its_place(
    raw: object, path: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(SpaceError, match=problem) as caught:
        read(raw)
    assert caught.value.path == path


CONVNET = ("architecture", "convnet")


@pytest.mark.parametrize(
    ("options", "path", "problem"),
    [
        (
            {"kernel": {"values": [3, 5], "when": {"pool": 2}}, "pool": [0, 2]},
            (*CONVNET, "kernel", "when", "pool"),
            "'pool' stands after it; move it before",
        ),
        (
            {"kernel": {"values": [3, 5], "when": {"kernel": 3}}},
            (*CONVNET, "kernel", "when", "kernel"),
            "'kernel' stands after it",
        ),
        (
            {"kernel": {"values": [3, 5], "when": {"colour": 2}}},
            (*CONVNET, "kernel", "when", "colour"),
            "'colour' is not a choice of this space",
        ),
        (
            {"kernel": {"values": [3, 5], "when": {"pool": 2}}},
            (*CONVNET, "kernel", "when", "pool"),
            "'pool' is not a choice of this space",
        ),
        (
            {"pool": [0, 2], "kernel": {"values": [3, 5], "when": {"pool": [2, 4]}}},
            (*CONVNET, "kernel", "when", "pool"),
            r"pool is never 4; it is one of \(0, 2\)",
        ),
        (
            {"pool": [0, 2], "kernel": {"values": [3, 5], "when": "pool"}},
            (*CONVNET, "kernel", "when"),
            "write {OTHER_CHOICE: VALUE}",
        ),
    ],
    ids=str,
)
def test_impossible_condition_is_reported_at_its_place(
    options: object, path: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(SpaceError, match=problem) as caught:
        of({"convnet": options})
    assert caught.value.path == path


def test_path_of_a_condition_in_a_list_of_steps_holds_the_position() -> None:
    prune = {"ratio": [0.0, 0.5], "round_to": {"values": [4, 8], "when": {"ratio": 0.7}}}
    with pytest.raises(SpaceError, match=r"ratio is never 0\.7") as caught:
        of("lenet", compression=["quantize", {"prune": prune}])
    assert caught.value.path == ("compression", 1, "prune", "round_to", "when", "ratio")


def test_own_function_is_a_family_whose_keywords_are_choices() -> None:
    space = of({"own:build": {"depth": [1, 2, 3]}})
    (choice,) = space.open_choices
    assert choice.name == "architecture.own:build.depth"
    first = space.decode({choice.name: 3}, (1, 2, 2))
    assert first.family == "own:build"
    assert first.architecture == {"depth": 3}
    assert space.check(first, (1, 2, 2), 5) is None
    network = space.build(first, (1, 2, 2), 5)
    assert sum(isinstance(module, nn.Linear) for module in network.modules()) == 4
    assert network(torch.randn(3, 1, 2, 2)).shape == (3, 5)


def test_own_module_class_is_a_family_and_takes_its_defaults() -> None:
    space = of("own:Net")
    first = space.decode({}, (1, 2, 2))
    assert first.architecture == {"width": 8}
    assert isinstance(space.build(first, (1, 2, 2), 5), Net)


def test_required_option_of_an_own_family_may_be_fixed_or_chosen() -> None:
    assert of({"own:needy": {"width": 8}}).choices[0].domain == Fixed(8)
    assert len(of({"own:needy": {"width": [8, 16]}}).open_choices) == 1


def test_whole_number_stands_for_a_number_with_point() -> None:
    space = of({"own:bounded": {"slope": [0, 0.5]}, "lenet": {"width": [1, 2]}})
    assert space.size() == (4, 0)


def test_source_of_own_parts_is_part_of_the_space_and_of_built_in_ones_not() -> None:
    assert of("lenet").source() == ""
    own = of("own:build").source()
    assert len(own) == 16
    assert of(["lenet", "own:Net"]).source() == own  # the hash of the whole file


def test_task_that_a_family_cannot_take_is_a_reason_and_no_error() -> None:
    space = of("convnet")
    first = space.decode({}, (16,))
    assert "takes pictures" in (space.check(first, (16,), 10) or "")
