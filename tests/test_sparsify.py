"""Which weights become zero, and that they stay so."""

import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spaces.compression import StepError
from spaces.compression.sparsify import Sparsify, held_zeros, sparse_weights
from spaces.families.convnet import ConvNet

SHAPE = (1, 8, 8)
PATTERNS = [{"pattern": "unstructured", "share": 0.8}, {"pattern": "2:4"}]
OPTIMIZERS = [
    lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1),
    lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True, weight_decay=0.1),
]


def convnet() -> nn.Module:
    torch.manual_seed(0)
    return ConvNet(depth=2, width=(8, 16)).build(SHAPE, 10)


def zeros(network: nn.Module) -> dict[str, int]:
    return {name: int((weight == 0).sum()) for name, weight in sparse_weights(network)}


def test_smallest_weights_go_and_the_others_are_untouched() -> None:
    network = nn.Sequential(nn.Linear(5, 2, bias=False))
    weight = torch.tensor([[0.1, -0.9, 0.3, -0.2, 0.8], [5.0, 0.05, -4.0, 0.25, 3.0]])
    with torch.no_grad():
        network[0].weight.copy_(weight)
    applied = Sparsify(pattern="unstructured", share=0.45).apply(network, torch.zeros(2, 5))
    expected = torch.tensor([[0.0, -0.9, 0.3, 0.0, 0.8], [5.0, 0.0, -4.0, 0.0, 3.0]])
    assert torch.equal(network[0].weight, expected)
    assert applied.record["zeroed"] == {"0.weight": 4}


@given(st.integers(1, 40), st.integers(1, 9), st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_share_is_exact_whatever_the_weights(columns: int, rows: int, share: float) -> None:
    network = nn.Sequential(nn.Linear(columns, rows))
    with torch.no_grad():
        network[0].weight.fill_(1.0)  # ties
    wanted = int(share * (columns * rows))
    step = Sparsify(pattern="unstructured", share=share)
    if wanted:
        step.apply(network, torch.zeros(2, columns))
        assert zeros(network) == {"0.weight": wanted}
    else:
        with pytest.raises(StepError, match="sparsify: no layer"):
            step.apply(network, torch.zeros(2, columns))


def test_two_of_every_four_along_the_inputs_go_and_they_are_the_smallest() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 3, 3), nn.Flatten(), nn.Linear(12, 2), nn.Linear(2, 5))
    before = [module.weight.detach().clone() for module in (network[0], network[2])]
    applied = Sparsify(pattern="2:4").apply(network, torch.zeros(2, 8, 4, 4))
    for old, module in zip(before, (network[0], network[2]), strict=True):
        fours = module.weight.movedim(1, -1).reshape(-1, 4)
        olds = old.movedim(1, -1).reshape(-1, 4)
        assert ((fours != 0).sum(1) == 2).all()
        for four, whole in zip(fours, olds, strict=True):
            gone = whole[four == 0].abs()
            assert gone.max() <= four[four != 0].abs().min()
    assert applied.record["zeroed"] == {"0.weight": 108, "2.weight": 12}


def test_network_without_fours_is_refused() -> None:
    with pytest.raises(StepError, match=r"sparsify: no layer .* 2:4; leave sparsify out"):
        Sparsify(pattern="2:4").apply(nn.Sequential(nn.Linear(6, 3)), torch.zeros(2, 6))


def test_recurrent_and_attention_weights_are_zeroed_too() -> None:
    network = nn.ModuleDict(
        {"lstm": nn.LSTM(8, 8), "attention": nn.MultiheadAttention(8, 2), "norm": nn.LayerNorm(8)}
    )
    applied = Sparsify(pattern="unstructured").apply(network, torch.zeros(2, 8))
    assert set(applied.record["zeroed"]) == {
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }


@pytest.mark.parametrize("options", PATTERNS, ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["adamw", "sgd"])
def test_zeros_survive_training_and_the_rest_moves(
    options: dict[str, object], optimizer: object
) -> None:
    network = convnet()
    Sparsify(**options).apply(network, torch.zeros(2, *SHAPE))
    before = {name: weight.detach().clone() for name, weight in sparse_weights(network)}
    inputs = torch.randn(8, *SHAPE)

    def step(steps: torch.optim.Optimizer) -> None:
        steps.zero_grad()
        network(inputs).square().sum().backward()
        steps.step()

    with held_zeros(network):
        steps = optimizer(network.parameters())
        for _ in range(5):
            step(steps)
    for name, weight in sparse_weights(network):
        assert torch.equal(weight == 0, before[name] == 0)
        assert (weight != before[name])[before[name] != 0].any()
    step(optimizer(network.parameters()))
    assert sum(zeros(network).values()) < sum(int((w == 0).sum()) for w in before.values())


def test_sparse_weights_compress_better_than_dense_ones() -> None:
    sizes = []
    for share in (0.0, 0.5, 0.9):
        network = ConvNet(depth=2, width=64).build(SHAPE, 10)
        if share:
            Sparsify(pattern="unstructured", share=share).apply(network, torch.zeros(2, *SHAPE))
        data = b"".join(w.detach().numpy().tobytes() for _, w in sparse_weights(network))
        sizes.append(len(zlib.compress(data)) / len(data))
    assert sizes[0] > 0.9 > 0.65 > sizes[1] > 0.25 > sizes[2]
