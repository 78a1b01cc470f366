"""8-bit rounding that is learned: its grid, its gradients, and what the runtime makes of it."""

import copy

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from objectives.runtimes import RUNTIMES
from spaces.compression.learned import (
    WEIGHT_LEVELS,
    Clip,
    LearnedInput,
    LearnedWeight,
    clip_inputs,
    start_learning,
    stop_learning,
)
from spaces.families.convnet import ConvNet

SHAPE = (1, 8, 8)


def examples(count: int = 64) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))


def learned(steps: int) -> nn.Module:
    """A network trained with rounding for a few steps."""
    torch.manual_seed(0)
    network = ConvNet(depth=2, width=16).build(SHAPE, 10).eval()
    start_learning(network, examples())
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        network(examples())[:, 0].mean().backward()
        optimizer.step()
    stop_learning(network.eval())
    return network.eval()


def test_values_on_the_grid_stay_and_others_go_to_the_nearest() -> None:
    inputs = LearnedInput(low=-1.0, high=254.0)
    x = torch.tensor([[-9.0, -1.0, 0.0, 0.4, 0.6, 200.0, 254.0, 999.0]])
    expected = torch.tensor([[-1.0, -1.0, 0.0, 0.0, 1.0, 200.0, 254.0, 254.0]])
    torch.testing.assert_close(inputs(x), expected)
    weight = torch.tensor([[64.0, 0.4, -1.6], [0.64, -0.01, 0.016]])
    rounded = torch.tensor([[64.0, 0.0, -2.0], [0.64, -0.01, 0.02]])
    torch.testing.assert_close(LearnedWeight(weight)(weight), rounded)


def test_gradient_of_the_step_is_that_of_the_paper() -> None:
    """Esser et al. eq. 3: round(v/s) - v/s inside, the end of the range outside; times s here,
    since the logarithm is learned, and 1 / sqrt(N Q)."""
    weight = torch.tensor([[0.3, -0.77, 5.0, -9.0]])
    module = LearnedWeight(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    step = 1 / WEIGHT_LEVELS
    module(weight).sum().backward()
    inside = sum(round(v / step) - v / step for v in (0.3, -0.77))
    expected = step * (inside + WEIGHT_LEVELS - WEIGHT_LEVELS) / (4 * WEIGHT_LEVELS) ** 0.5
    assert module.log_step.grad is not None
    assert module.log_step.grad.item() == pytest.approx(expected, rel=1e-4)


def test_gradient_passes_the_rounding_inside_the_range_only() -> None:
    weight = torch.tensor([[0.3, -0.77, 5.0]], requires_grad=True)
    LearnedWeight(torch.tensor([[1.0, 0.0, 0.0]]))(weight).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.tensor([[1.0, 1.0, 0.0]]))


def test_steps_start_where_they_change_little_and_training_moves_them() -> None:
    torch.manual_seed(0)
    whole = ConvNet(depth=2, width=16).build(SHAPE, 10).eval()
    network = copy.deepcopy(whole)
    assert len(start_learning(network, examples())) == 3
    with torch.no_grad():
        expected, actual = whole(examples()), network(examples())
    assert 0 < (actual - expected).abs().max() < 0.05 * expected.abs().max()
    first, later = (
        [m for m in learned(steps).modules() if isinstance(m, Clip)] for steps in (0, 20)
    )
    assert all(a.high != b.high for a, b in zip(first, later, strict=True))


def test_clipped_network_has_the_names_and_shapes_of_the_trained_one() -> None:
    clipped = ConvNet(depth=2, width=16).build(SHAPE, 10)
    assert len(clip_inputs(clipped, examples())) == 3
    trained = learned(3)
    clipped.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.equal(clipped.eval()(examples()), trained(examples()))


def test_runtime_rounds_weights_to_the_learned_grid() -> None:
    """The batch norm is folded, so a channel's step is compared by its integers."""
    network = learned(20)
    deployment = RUNTIMES["onnxruntime"]().deploy(
        network, calibration=examples(), precision="int8", device="cpu", threads=1
    )
    model = onnx.load_from_string(deployment.artefact)
    stored = {
        tuple(array.shape): array
        for array in map(numpy_helper.to_array, model.graph.initializer)
        if array.dtype.name == "int8" and array.ndim == 4
    }
    second = next(m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 16)
    weight = second.weight.detach()
    levels = torch.from_numpy(stored[tuple(weight.shape)].copy()).float()
    largest = weight.abs().flatten(1).amax(1).view(-1, 1, 1, 1)
    sign = (levels * weight).flatten(1).sum(1).sign().view(-1, 1, 1, 1)
    expected = sign * weight / largest * WEIGHT_LEVELS
    assert (levels - expected).abs().max() <= 0.5 + 1e-3
    assert (levels == expected.round()).double().mean() > 0.99
    with torch.no_grad():
        difference = (deployment.run(examples()) - network(examples())).abs().max()
        assert difference < 0.1 * network(examples()).abs().max()
