"""The graph of a pass: which step reads what which other one wrote."""

import pytest
import torch
from torch import Tensor, nn

from objectives.dataflow import Step, trace_steps


class Branches(nn.Module):
    """A shortcut that is added in place, two branches that are joined, a layer that is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        y = torch.cat([self.left(x), self.right(x)], dim=1)
        y += x
        y = self.act(y).mean((2, 3)).reshape(len(x), -1)
        return self.head(y)


def edges(steps: tuple[Step, ...]) -> list[tuple[str, tuple[int, ...]]]:
    return [(f"{step.name}:{step.kind}", step.sources) for step in steps]


def test_shortcuts_and_joins_are_seen_through_views_and_work_in_place() -> None:
    steps = trace_steps(Branches(), torch.randn(2, 3, 6, 6))
    assert edges(steps) == [
        (":input", ()),
        ("stem:Conv2d", (0,)),
        ("act:ReLU", (1,)),
        ("left:Conv2d", (2,)),
        ("right:Conv2d", (2,)),
        (":cat", (3, 4)),
        (":add", (2, 5)),
        ("act:ReLU", (6,)),
        (":mean", (7,)),
        ("head:Linear", (8,)),
    ]
    assert [step.shape for step in steps[-3:]] == [(8, 6, 6), (8,), (5,)]


def test_attention_is_one_step_and_weights_alone_are_none() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(4, 8))
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.table * 2
            read, _ = self.attention(x, x, x)
            return x + read  # type: ignore[no-any-return]  # torch leaves it untyped

    steps = trace_steps(Positions(), torch.randn(2, 4, 8))
    assert edges(steps) == [
        (":input", ()),
        (":add", (0,)),
        ("attention:MultiheadAttention", (1,)),
        (":add", (1, 2)),
    ]


def test_a_recurrent_layer_that_returns_several_tensors_is_one_step() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 6, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            _, (hidden, _) = self.lstm(x)
            return self.head(hidden[-1])  # type: ignore[no-any-return]  # torch leaves it untyped

    assert [step.sources for step in trace_steps(Last(), torch.randn(2, 4, 3))] == [(), (0,), (1,)]


def test_nothing_stays_attached_to_the_network_even_after_an_error() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 5))
    with pytest.raises(RuntimeError):
        trace_steps(network, torch.randn(2, 4))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
