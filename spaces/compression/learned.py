"""Grids of 8 bits learned by training: networks that know that they will be rounded.

The grid is the one that ONNX Runtime's static quantization lays over weights and activations
(`objectives/runtimes/onnx_precision.py`): weights symmetric, one step an output channel, 7 of 8
bits; activations one step and zero point a tensor, unsigned 8 bits. A batch norm folded into the
convolution later scales a channel's weights and its step alike.

Source: Esser et al. 2020, arXiv:1902.08153 (learned step size, eq. 1 to 3 and section 2.2); Jain
et al. 2020, arXiv:1903.08066 (its logarithm is what is learned, so that one learning rate suits
steps of any size).
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from spaces.compression.surgery import called_layers, replace

KINDS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
WEIGHT_LEVELS = 64
"""Weights are this many steps at most, either side of 0."""
INPUT_LEVELS = 255
"""Activations are 0 to this many steps, from the zero point."""
SMALLEST = 1e-8
"""A step is no smaller, for channels of zeros."""


class Clip(nn.Module):
    """Inputs limited to a learned range, from which the runtime takes its 8-bit grid."""

    low: Tensor
    high: Tensor

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))

    def forward(self, x: Tensor) -> Tensor:
        """Values outside become the nearest end."""
        return x.clamp(self.low, self.high)


class LearnedInput(nn.Module):
    """Inputs rounded to 8 bits; the step is learned, the zero point stays where it began."""

    zero_point: Tensor

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        low, high = min(low, 0.0), max(high, 0.0)
        step = max((high - low) / INPUT_LEVELS, SMALLEST)
        self.log_step = nn.Parameter(torch.tensor(math.log(step)))
        self.register_buffer("zero_point", torch.tensor(float(round(-low / step))))

    def forward(self, x: Tensor) -> Tensor:
        """The nearest value of the grid."""
        step = _step(self.log_step, x[0].numel() * INPUT_LEVELS)
        return _rounded(x / step, -self.zero_point, INPUT_LEVELS - self.zero_point) * step

    def clip(self) -> Clip:
        """The range of the grid."""
        step, zero = math.exp(self.log_step.item()), self.zero_point.item()
        return Clip(-zero * step, (INPUT_LEVELS - zero) * step)


class LearnedWeight(nn.Module):
    """Weights (O, ...) rounded to 7 bits; one learned step an output channel."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        largest = weight.detach().abs().flatten(1).amax(1)
        step = (largest / WEIGHT_LEVELS).clamp(min=SMALLEST)
        self.log_step = nn.Parameter(step.log().view(-1, *[1] * (weight.dim() - 1)))

    def forward(self, weight: Tensor) -> Tensor:
        """The nearest values of the grid."""
        step = _step(self.log_step, weight[0].numel() * WEIGHT_LEVELS)
        levels = torch.tensor(float(WEIGHT_LEVELS), device=weight.device)
        return _rounded(weight / step, -levels, levels) * step


def clip_inputs(network: nn.Module, example: Tensor) -> list[str]:
    """Put a `Clip` before every convolution and linear layer; returns the names of these.

    The ranges are those of `example`, and do not matter: training will learn others.
    """
    ranges = _input_ranges(network, example)
    for name, layer in called_layers(network, KINDS):
        if name in ranges:
            replace(network, name, nn.Sequential(Clip(*ranges[name]), layer))
    return list(ranges)


def start_learning(network: nn.Module, example: Tensor) -> list[str]:
    """Round inputs and weights of every convolution and linear layer to grids that train."""
    ranges = _input_ranges(network, example)
    for name, layer in called_layers(network, KINDS):
        if name in ranges:
            weight = layer.get_parameter("weight")
            register_parametrization(layer, "weight", LearnedWeight(weight))
            replace(network, name, nn.Sequential(LearnedInput(*ranges[name]), layer))
    return list(ranges)


def stop_learning(network: nn.Module) -> None:
    """Leave the rounded weights and a `Clip` to the learned range before each layer."""
    for name, module in list(network.named_modules()):
        if isinstance(module, LearnedInput):
            replace(network, name, module.clip())
            layer = network.get_submodule(f"{name.rpartition('.')[0]}.1")
            remove_parametrizations(layer, "weight", leave_parametrized=True)


def _input_ranges(network: nn.Module, example: Tensor) -> dict[str, tuple[float, float]]:
    """Name of a layer -> (lowest, highest) input that it sees; of those that run."""
    ranges: dict[str, tuple[float, float]] = {}
    watched = copy.deepcopy(network).eval()

    def watch(name: str, layer: nn.Module) -> None:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, inputs[0].min().item()), max(high, inputs[0].max().item())

        layer.register_forward_pre_hook(note)

    for name, layer in called_layers(watched, KINDS):
        watch(name, layer)
    with torch.no_grad():
        watched(example)
    return ranges


def _step(log_step: Tensor, count: int) -> Tensor:
    """The step, with its gradient scaled by `1 / sqrt(count)`: section 2.2 of Esser et al."""
    scaled = log_step / math.sqrt(count)
    return (scaled + (log_step - scaled).detach()).exp()


def _rounded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """`x` limited and rounded; gradients pass the rounding as if it were not there (eq. 3, 5)."""
    limited = x.clamp(low, high)
    return limited + (limited.round() - limited).detach()
