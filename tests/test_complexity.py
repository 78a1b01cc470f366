"""FLOPs against hand arithmetic and against what torchvision publishes."""

import pytest
import torch
from torch import Tensor, nn

from objectives.complexity import KNOWN_ZEROS, UncountedError, count_flops

PUBLISHED = {
    "resnet18": 1.814,
    "mobilenet_v2": 0.301,
    "squeezenet1_1": 0.349,
    "vit_b_16": 17.564,
    "shufflenet_v2_x1_0": 0.145,
    "mobilenet_v3_small": 0.057,
}
"""Model -> 10^9 multiply-adds of one 224 x 224 picture."""


class Recurrent(nn.Module):
    def __init__(self, layers: int = 1, *, both_ways: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, layers, batch_first=True, bidirectional=both_ways)

    def forward(self, x_BTF: Tensor) -> Tensor:
        output: Tensor = self.lstm(x_BTF)[0]
        return output


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x_BTF: Tensor) -> Tensor:
        output: Tensor = self.attention(x_BTF, x_BTF, x_BTF, need_weights=False)[0]
        return output


class Multiplies(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Bilinear(4, 4, 2)

    def forward(self, x_BF: Tensor) -> Tensor:
        output: Tensor = self.product(x_BF, x_BF)
        return output


class Squares(nn.Bilinear):
    """A network that is one uncounted module itself."""

    def forward(self, x_BF: Tensor) -> Tensor:
        return super().forward(x_BF, x_BF)


@pytest.mark.parametrize(
    ("network", "shape", "flops"),
    [
        # 2 x output pixels x kernel x channels in x channels out / groups
        (nn.Conv2d(3, 4, 3), (3, 8, 8), 2 * 36 * 9 * 3 * 4),
        (nn.Conv2d(3, 4, 3, padding=1, bias=False), (3, 8, 8), 2 * 64 * 9 * 3 * 4),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (4, 9, 7), 2 * 5 * 4 * 9 * 4 * 8),
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 6, 6), 2 * 36 * 9 * 8),
        (nn.Conv1d(2, 3, 5), (2, 20), 2 * 16 * 5 * 2 * 3),
        (nn.Linear(8, 4), (8,), 2 * 8 * 4),
        (nn.Linear(8, 4), (5, 8), 2 * 5 * 8 * 4),
        # 4 gates x (inputs + state) x state, each of 5 steps
        (Recurrent(), (5, 16), 61_440),
        (Recurrent(), (5, 16), 2 * 5 * 4 * (16 + 32) * 32),
        (
            Recurrent(2, both_ways=True),
            (5, 16),
            2 * 2 * 5 * 4 * 32 * ((16 + 32) + (64 + 32)),
        ),
        # 4 projections of 5 tokens, then scores and their sum over 5 x 5 pairs
        (Attends(), (5, 8), 2 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)),
    ],
    ids=str,
)
def test_flops_equal_those_by_hand(network: nn.Module, shape: tuple[int, ...], flops: int) -> None:
    assert count_flops(network, shape).total == flops


@pytest.mark.parametrize("name", PUBLISHED)
def test_half_of_the_flops_are_the_multiply_adds_that_torchvision_publishes(name: str) -> None:
    import torchvision

    published = torchvision.models.get_model_weights(name).DEFAULT.meta["_ops"]
    assert published == PUBLISHED[name]
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    assert round(count_flops(network, (3, 224, 224)).total / 2e9, 3) == published


def test_flops_grow_with_the_batch() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    one, eight = (count_flops(network, (1, 8, 8), batch=batch).total for batch in (1, 8))
    assert eight == 8 * one


def test_modules_are_told_apart_and_parents_hold_the_sum() -> None:
    network = nn.Sequential(
        nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), nn.Linear(2, 3)
    )
    counted = count_flops(network, (8,))
    assert counted.by_module == {"0": 80, "0.0": 64, "0.2": 16, "1": 12}
    assert counted.total == 92


def test_module_that_is_used_twice_counts_twice() -> None:
    layer = nn.Linear(8, 8)
    assert count_flops(nn.Sequential(layer, nn.ReLU(), layer), (8,)).total == 2 * 2 * 64


def test_known_zeros_are_listed_with_their_reason() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU())
    assert count_flops(network, (1, 8, 8)).zeros == {
        "1": KNOWN_ZEROS[nn.BatchNorm2d],
        "2": KNOWN_ZEROS[nn.PReLU],
    }


@pytest.mark.parametrize("network", [Multiplies(), nn.Sequential(Multiplies()), Squares(4, 4, 2)])
def test_module_with_parameters_but_no_flops_is_an_error_that_names_it(
    network: nn.Module,
) -> None:
    with pytest.raises(UncountedError, match=r"Bilinear|Squares"):
        count_flops(network, (4,))


def test_counting_leaves_the_network_where_and_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    count_flops(network, (8,))
    assert network.training
    assert all(torch.equal(network.state_dict()[key], before[key]) for key in before)
