"""Low rank: exact at full rank, the best of its rank below, and never larger."""

import copy

import pytest
import torch
from torch import Tensor, nn

from spaces.compression import StepError
from spaces.compression.factorise import Factorise, factorised
from spaces.families.convnet import ConvNet

LAYERS = {
    "linear": (nn.Linear(24, 16), (24,)),
    "no bias": (nn.Linear(24, 16, bias=False), (24,)),
    "conv": (nn.Conv2d(6, 12, 3, stride=2, padding=1), (6, 9, 9)),
    "dilated": (nn.Conv2d(6, 12, 3, dilation=2, bias=False), (6, 9, 9)),
    "reflecting": (nn.Conv2d(6, 12, 3, padding=1, padding_mode="reflect"), (6, 9, 9)),
    "conv1d": (nn.Conv1d(6, 12, 5, padding=2), (6, 20)),
    "1 x 1": (nn.Conv2d(6, 12, 1), (6, 5, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_full_rank_answers_as_the_layer(name: str) -> None:
    layer, shape = LAYERS[name]
    full = min(len(layer.weight), layer.weight[0].numel())
    inputs = torch.randn(4, *shape)
    with torch.no_grad():
        torch.testing.assert_close(factorised(layer, full)(inputs), layer(inputs))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_product_is_the_closest_matrix_of_its_rank(rank: int) -> None:
    """Eckart and Young: the error is the root of the squared singular values left out."""
    torch.manual_seed(0)
    layer = nn.Linear(24, 16).double()
    first, second = factorised(layer, rank).double()
    with torch.no_grad():
        product = second.weight @ first.weight
        values = torch.linalg.svdvals(layer.weight)
        error = torch.linalg.norm(layer.weight - product)
    assert torch.linalg.matrix_rank(product, rtol=1e-5) == rank
    torch.testing.assert_close(error, values[rank:].square().sum().sqrt(), rtol=1e-4, atol=1e-6)


def test_layer_that_would_grow_stays_whole_and_the_others_are_counted() -> None:
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    step = Factorise(rank=0.5)
    applied = step.apply(network, torch.randn(2, 64))
    assert applied.record == {"finetune_epochs": 1} | {"rank": {"2": 1}}
    assert isinstance(network[0], nn.Linear)  # 32 x 128 is not less than 64 x 64
    assert sum(p.numel() for p in network[2].parameters()) == 64 + 2 + 2


@pytest.mark.parametrize("rank", [0.05, 0.25, 0.5, 0.9, 0.99])
def test_network_never_grows_and_keeps_its_outputs(rank: int) -> None:
    network = ConvNet(depth=3, width=32).build((1, 8, 8), 10)
    before = sum(p.numel() for p in network.parameters())
    applied = Factorise(rank=rank).apply(network, torch.randn(2, 1, 8, 8))
    after = sum(p.numel() for p in network.parameters())
    assert after < before if applied.record else after == before
    assert network(torch.randn(3, 1, 8, 8)).shape == (3, 10)


def test_grouped_convolutions_and_attention_stay_whole() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    network = nn.Sequential(layer, nn.Linear(32, 32)).eval()
    applied = Factorise(rank=0.1).apply(network, torch.randn(2, 5, 32))
    assert list(applied.record["rank"]) == ["1"]
    grouped = nn.Sequential(nn.Conv2d(32, 32, 3, groups=32))
    assert Factorise(rank=0.1).apply(grouped, torch.randn(2, 32, 8, 8)).record == {}


class Reading(nn.Module):
    """Uses the weights of a layer without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.inner.weight


def test_network_that_reads_weights_itself_is_refused() -> None:
    with pytest.raises(StepError, match=r"factorise: .*leave factorise out"):
        Factorise(rank=0.1).apply(Reading(), torch.randn(2, 32))


def test_rank_of_one_changes_nothing() -> None:
    network = ConvNet().build((1, 8, 8), 10)
    before = copy.deepcopy(network.state_dict())
    assert Factorise().idle()
    assert Factorise().apply(network, torch.randn(2, 1, 8, 8)).record == {}
    assert before.keys() == network.state_dict().keys()
