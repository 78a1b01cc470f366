"""Numbers of live graphs, against networks whose numbers are counted by hand."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import default_families, example_of, signature_of
from spaces.features import NAMES, features

Numbers = dict[str, float]


def told(network: nn.Module, example: Tensor) -> Numbers:
    return dict(zip(NAMES, features(network, example), strict=True))


def chain() -> nn.Sequential:
    """(1, 8, 8) -> 3x3 to 4 channels -> pool 2 -> depthwise 3x3 -> 1x1 to 6 -> linear to 5."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.Conv2d(4, 6, 1),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
    )


PICTURE = torch.randn(2, 1, 8, 8)


def test_chain_is_counted_as_by_hand() -> None:
    found = told(chain(), PICTURE)
    flops = 2 * (64 * 4 * 9 + 16 * 4 * 9 + 16 * 4 * 6 + 96 * 5)
    parameters = 40 + 40 + 30 + 96 * 5 + 5
    kinds = ("spatial", "pointwise", "depthwise", "dense", "poolings", "merges")
    assert [found[kind] for kind in kinds] == [1, 1, 1, 1, 1, 0]
    assert found["log10_flops"] == pytest.approx(math.log10(1 + flops))
    assert found["log10_parameters"] == pytest.approx(math.log10(1 + parameters))
    assert (found["longest"], found["shortest"], found["mean_length"]) == (4, 4, 4)
    assert found["log10_paths"] == pytest.approx(0)
    assert (found["log2_narrowest"], found["log2_widest"]) == (2, pytest.approx(math.log2(6)))
    # 3 + 1 (the pool) + 2 x 2 (a 3x3 at half resolution)
    assert found["log2_receptive"] == pytest.approx(3)
    assert found["early_share"] == pytest.approx(2 * (64 * 4 * 9 + 16 * 4 * 9) / flops)
    assert found["late_share"] == pytest.approx(2 * 96 * 5 / flops)


class Branches(nn.Module):
    """A residual block, and a convolution whose result nobody reads."""

    def __init__(self, *, dead: bool, skip: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.third, self.unread = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 64, 5)
        self.dead, self.skip = dead, skip

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        if self.dead:
            self.unread(first)
        way = self.third(self.second(first).relu())
        return (way + first if self.skip else way).mean((2, 3))


def test_residual_has_two_paths_that_meet() -> None:
    found = told(Branches(dead=False), PICTURE)
    assert found["merges"] == 1
    assert found["log10_paths"] == pytest.approx(math.log10(2))
    assert (found["longest"], found["shortest"], found["mean_length"]) == (3, 1, 2)
    alone = told(Branches(dead=False, skip=False), PICTURE)
    assert (alone["merges"], alone["log10_paths"], alone["shortest"]) == (0, 0, 3)


def test_what_nobody_reads_is_not_counted() -> None:
    assert told(Branches(dead=True), PICTURE) == told(Branches(dead=False), PICTURE)


def test_output_that_reads_no_input_has_no_live_graph() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Parameter(torch.zeros(1, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.answer * 2

    found = told(Constant(), PICTURE)
    assert found["log10_parameters"] == pytest.approx(math.log10(4))
    assert all(v == 0 for name, v in found.items() if name != "log10_parameters")


@pytest.mark.parametrize("name", default_families())
def test_every_family_has_finite_numbers_that_do_not_depend_on_batch_or_weights(name: str) -> None:
    family: Any = default_families()[name]
    signature = signature_of(family)
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(family.build(*signature))
    found = [
        features(network, example_of(signature, count))
        for network, count in zip(networks, (1, 4), strict=True)
    ]
    assert found[0] == found[1]
    assert all(map(math.isfinite, found[0]))
    assert found[0][0] > 0
    assert {p.device.type for p in networks[0].parameters()} == {"cpu"}


def test_network_that_reads_values_raises_and_says_so() -> None:
    class Chooses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(Exception, match="meta"):
        features(Chooses(), PICTURE)
