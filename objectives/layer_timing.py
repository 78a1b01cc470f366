"""A network's layers against the roofline: what each costs, what bounds it, how near it comes."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from objectives.call_timing import CallTimer, limit_threads
from objectives.complexity import LayerCost, analyze_complexity
from objectives.measurement import Measurement
from objectives.recording import Recorded, record_calls
from objectives.roofline import Roofline, measure_roofline

_SUMMED = (
    "forward_flops",
    "backward_flops",
    "output_elements",
    "input_bytes",
    "output_bytes",
    "weight_bytes",
    "bit_operations",
)
"""What the calls of one layer add up; the rest of a cost is the same for each."""

Bound = Literal["compute", "memory"]


@dataclass(frozen=True, kw_only=True)
class LayerUse:
    """One layer: what it costs, what the roof allows, and what it takes."""

    cost: LayerCost
    moved_bytes: int
    """Inputs, outputs and weights, each once."""
    intensity: float
    """FLOPs a byte moved."""
    level: str
    """The level of the roofline that holds what it moves."""
    attainable_flops_s: float
    bound: Bound
    roof_ms: float
    measured: Measurement | None
    """All its calls of one pass, timed alone in eager PyTorch on the inputs of that pass."""
    note: str
    """Why it was not measured; "" if it was."""

    @property
    def share_of_roof(self) -> float | None:
        """Time at the roof over time taken; None if it was not measured."""
        return self.roof_ms / self.measured.value if self.measured else None


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A network's layers in the order of their first call, for a whole batch."""

    layers: tuple[LayerUse, ...]
    roofline: Roofline
    eager: Measurement
    """Milliseconds of the whole network in eager PyTorch; not the sum of the layers."""
    batch: int
    parameters: int
    notes: tuple[str, ...]

    @property
    def flops(self) -> int:
        """Of one pass, 2 for each multiply-add."""
        return sum(layer.cost.forward_flops for layer in self.layers)

    @property
    def moved_bytes(self) -> int:
        """If each tensor is moved once a call, nothing fused."""
        return sum(layer.moved_bytes for layer in self.layers)

    @property
    def layers_ms(self) -> float:
        """Sum over the layers that were measured."""
        return sum(layer.measured.value for layer in self.layers if layer.measured)


def analyze_layers(network: nn.Module, inputs: Tensor, *, device: str, threads: int) -> Analysis:
    """Count and time every layer of a copy of `network` on the batch `inputs` (N, ...).

    Each layer is timed alone, since hooks around tiny layers cost more than these; so the sum has
    one call from Python a layer, the network's own time also what lies between the layers. What
    runs outside of any layer (a sum in a `forward`) has FLOPs and bytes only where it has a row.
    """
    placed = place(network, inputs, device)
    recorded = record_calls(*placed)
    costs, parameters, notes = layer_costs(network, inputs, recorded)
    roofline = measure_roofline(device, threads)
    timer = CallTimer(device, threads, len(inputs))
    with limit_threads(threads), torch.inference_mode():
        layers = tuple(_use(cost, recorded.get(cost.name), roofline, timer) for cost in costs)
        eager = timer.time(lambda: placed[0](placed[1]))
    return Analysis(
        layers=layers,
        roofline=roofline,
        eager=eager,
        batch=len(inputs),
        parameters=parameters,
        notes=notes,
    )


def place(network: nn.Module, inputs: Tensor, device: str) -> tuple[nn.Module, Tensor]:
    """Copies on the device, in evaluation mode, pictures channels-last as `runtimes` has them."""
    layout = torch.channels_last if inputs.dim() == 4 else torch.preserve_format
    module = copy.deepcopy(network).eval().to(device=device)
    return module.to(memory_format=layout), inputs.to(device=device, memory_format=layout)


def layer_costs(
    network: nn.Module, inputs: Tensor, recorded: Mapping[str, Recorded]
) -> tuple[tuple[LayerCost, ...], int, tuple[str, ...]]:
    """(costs of the layers, parameters, notes) of one pass in float32.

    Where the network cannot run without values, because its way depends on them, every recorded
    call is counted by itself: what holds then is the way that these inputs took.
    """
    parameters = sum(p.numel() for p in network.parameters())
    try:
        complexity = analyze_complexity(network, inputs, weight_bits=32, activation_bits=32)
    except (RuntimeError, NotImplementedError) as error:
        told = str(error).strip().splitlines()[0]
        note = f"counted layer by layer, for the way that these inputs took: {told}"
        alone = (_cost_alone(name, each) for name, each in recorded.items())
        return tuple(cost for cost in alone if cost), parameters, (note,)
    notes = tuple(
        f"{name}: {reason}"
        for name, reason in complexity.uncounted.items()
        if "has parameters" in reason or reason == "never called"
    )
    return complexity.layers, parameters, notes


def moved_bytes(cost: LayerCost) -> int:
    """Inputs, outputs and weights of a layer, each once."""
    return cost.input_bytes + cost.output_bytes + cost.weight_bytes


def _use(
    cost: LayerCost, recorded: Recorded | None, roofline: Roofline, timer: CallTimer
) -> LayerUse:
    moved = moved_bytes(cost)
    level = roofline.level(moved)
    intensity = cost.forward_flops / moved if moved else 0.0
    return LayerUse(
        cost=cost,
        moved_bytes=moved,
        intensity=intensity,
        level=level.name,
        attainable_flops_s=roofline.attainable(cost.forward_flops, moved),
        bound="compute" if intensity > roofline.ridge(moved) else "memory",
        roof_ms=roofline.time_ms(cost.forward_flops, moved),
        measured=timer.time(recorded.run) if recorded else None,
        note="" if recorded else "its work lies between layers of its own and is not timed alone",
    )


def _cost_alone(name: str, recorded: Recorded) -> LayerCost | None:
    """The cost of a layer's calls, each counted by itself; None of one that takes no tensor."""
    costs = []
    for arguments, named in recorded.calls:
        tensors = tuple(x for x in (*arguments, *named.values()) if isinstance(x, Tensor))
        if not tensors:
            return None
        alone = analyze_complexity(
            copy.deepcopy(recorded.module), tensors, weight_bits=32, activation_bits=32
        )
        costs += [layer for layer in alone.layers if layer.name == ""]
    if not costs:
        return None
    totals = {field: sum(vars(cost)[field] for cost in costs) for field in _SUMMED}
    return LayerCost(**{**vars(costs[0]), **totals, "name": name})
