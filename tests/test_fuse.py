"""Folded batch norms: the same answers, fewer modules."""

import copy

import pytest
import torch
from torch import Tensor, nn

from spaces.compression.fuse import Fuse
from spaces.families.convnet import ConvNet
from spaces.families.lenet import LeNet


class Branching(nn.Module):
    """One norm folds; the other's convolution is read twice, so it must stay."""

    def __init__(self, *, by_value: bool = False) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.second, self.second_norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.tail = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.by_value = by_value

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_norm(self.first(x)).relu()
        raw = self.second(x)
        x = raw + self.second_norm(raw)
        if self.by_value and x.sum() > 1e9:
            x = x * 2
        output: Tensor = self.tail(x).mean((2, 3))
        return output


def seeded(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(0.5 * torch.randn(value.shape, generator=generator))
                if name.endswith("running_var"):
                    value.abs_().add_(0.5)
    return network.eval()


def one_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 8, 3),
        nn.BatchNorm1d(8),
        nn.Flatten(),
        nn.Linear(48, 12),
        nn.BatchNorm1d(12),
    )


CASES = {
    "convnet": (ConvNet(depth=3, width=16, blocks=2).build((1, 8, 8), 10), (1, 8, 8), 6),
    "lenet": (LeNet(norm=True).build((1, 8, 8), 10), (1, 8, 8), 2),
    "branches": (Branching(), (1, 8, 8), 2),
    "untraceable": (Branching(by_value=True), (1, 8, 8), 1),
    "one dimension": (one_dimensional(), (3, 8), 2),
    "none": (LeNet().build((1, 8, 8), 10), (1, 8, 8), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_folded_network_answers_alike(name: str) -> None:
    whole, shape, norms = CASES[name]
    whole = seeded(copy.deepcopy(whole))
    fused, inputs = copy.deepcopy(whole), torch.randn(16, *shape)
    applied = Fuse(batch_norm=True).apply(fused, inputs)
    assert len(applied.record.get("folded", [])) == norms
    with torch.no_grad():
        expected, actual = whole(inputs), fused(inputs)
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    left = sum(isinstance(m, kinds) for m in fused.modules())
    assert left == sum(isinstance(m, kinds) for m in whole.modules()) - norms
