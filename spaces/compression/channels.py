"""Removing channels with everything that reads them: the one place that uses torch-pruning."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spaces.attention import Attention
from spaces.compression.step import StepError

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
Importance = Literal["l1", "l2", "bn_scale", "taylor", "random"]

UNSUPPORTED = {
    nn.LSTM: "torch-pruning 1.6 fails on LSTM",
    nn.GRU: "torch-pruning 1.6 silently leaves GRU unpruned",
    nn.RNN: "torch-pruning 1.6 silently leaves RNN unpruned",
    nn.MultiheadAttention: "torch-pruning 1.6 shrinks the heads of attention, which changes it",
    Attention: "torch-pruning 1.6 shrinks queries and keys apart, which changes it",
}
"""Modules that cannot be pruned, with the reason (tried, not assumed)."""


def width(layer: Layer) -> int:
    """Output channels or features."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def refuse_unsupported(network: nn.Module) -> None:
    """Look for modules whose channels cannot be removed.

    Raises:
        StepError: there is one.
    """
    for name, module in network.named_modules():
        for kind, reason in UNSUPPORTED.items():
            if isinstance(module, kind):
                raise StepError(
                    f"prune: module {name}: {reason}; leave prune out for this network"
                )


def hidden_layers(network: nn.Module, example: Tensor) -> list[Layer]:
    """Convolutions and linear layers in the order in which they first run, without the last.

    The width of the last one is the number of outputs.

    Raises:
        StepError: the network has no such layer.
    """
    calls: list[Layer] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: calls.append(module))
        for module in network.modules()
        if isinstance(module, LAYERS)
    ]
    was_training = network.training
    with torch.no_grad():
        network.eval()(example[:2])
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    if not calls:
        raise StepError("prune: the network has no convolution or linear layer")
    return [layer for layer in dict.fromkeys(calls) if layer is not calls[-1]]


def coupled(network: nn.Module, example: Tensor, layers: Sequence[Layer]) -> list[list[Layer]]:
    """`layers` in groups that must keep the same channels, such as those that are added."""
    import torch_pruning

    was_training = network.training
    with _tracing():
        graph = torch_pruning.DependencyGraph().build_dependency(network, example)
        groups: list[list[Layer]] = []
        for layer in layers:
            if any(layer in group for group in groups):
                continue
            first = graph.get_pruner_of_module(layer).prune_out_channels
            found = [
                item.target.module
                for item, _ in graph.get_pruning_group(layer, first, [0])
                if graph.is_out_channel_pruning_fn(item.handler)
            ]
            groups.append([other for other in layers if other in found])
    network.train(was_training)
    return groups


@dataclass(frozen=True)
class ChannelGroup:
    """Layers whose outputs are the same channels (residual sums, depthwise convolutions)."""

    layers: tuple[str, ...]
    """Names as in `named_modules`."""
    width: int
    """Channels of the first of them."""


def channel_groups(network: nn.Module, example: Tensor) -> tuple[ChannelGroup, ...]:
    """Every layer of `network` with those that lose channels together with it.

    `example`: inputs (N, ...), N >= 1; their values do not matter.

    Raises:
        StepError: torch-pruning cannot follow the network.
    """
    import torch_pruning

    refuse_unsupported(network)
    names = {m: name for name, m in network.named_modules() if isinstance(m, LAYERS)}
    was_training = network.training
    try:
        with _tracing():
            graph = torch_pruning.DependencyGraph().build_dependency(network.eval(), example[:1])
            found = [
                tuple(
                    dict.fromkeys(
                        names[dependency.target.module]
                        for dependency, _ in group
                        if dependency.target.module in names
                        and graph.is_out_channel_pruning_fn(dependency.handler)
                    )
                )
                for group in graph.get_all_groups(root_module_types=list(LAYERS))
            ]
    except Exception as error:
        raise StepError(f"torch-pruning cannot follow this network: {error}") from error
    finally:
        network.train(was_training)
    widths = {name: width(layer) for layer, name in names.items()}
    return tuple(ChannelGroup(layers, widths[layers[0]]) for layers in found if layers)


def remove(
    network: nn.Module, example: Tensor, kept: Mapping[Layer, int], importance: Importance
) -> None:
    """Take away the least important channels of some layers, until each has `kept` left.

    `taylor` reads the gradients of the weights. The network ends in eval mode.

    Raises:
        StepError: it failed, changed nothing, or changed the outputs' shape.
    """
    before = sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        shape = network.eval()(example).shape
    try:
        with _tracing():
            for group in _doomed(network, example, kept, importance):
                group.prune()
        with torch.no_grad():
            after_shape = network(example).shape
    except Exception as error:
        told = f"prune: torch-pruning cannot prune this network: {error}; leave prune out for it"
        raise StepError(told) from error
    if after_shape != shape:
        raise StepError(f"prune: the outputs changed from {tuple(shape)} to {tuple(after_shape)}")
    wrong = [layer for layer in kept if width(layer) != kept[layer]]
    if wrong and importance == "bn_scale":
        raise StepError(
            "prune: importance bn_scale needs a batch norm behind every layer but the last, which "
            "this network lacks; use l1 or l2"
        )
    if sum(p.numel() for p in network.parameters()) >= before:
        raise StepError("prune: torch-pruning removed nothing")
    if wrong:
        raise StepError(
            f"prune: torch-pruning left {width(wrong[0])} channels where {kept[wrong[0]]} were "
            "asked for: costs would depend on the weights; leave prune out for this network"
        )


def silence(
    network: nn.Module, example: Tensor, kept: Mapping[Layer, int], importance: Importance
) -> None:
    """Zero what `remove` would take away: the weights that write those channels."""
    with _tracing():
        groups = list(_doomed(network.eval(), example, kept, importance))
    with torch.no_grad():
        for item, channels in (pair for group in groups for pair in group):
            module = item.target.module
            if item.handler.__name__ == "prune_out_channels" and isinstance(module, nn.Module):
                for parameter in module.parameters(recurse=False):
                    parameter[channels] = 0


def _doomed(
    network: nn.Module, example: Tensor, kept: Mapping[Layer, int], importance: Importance
) -> Iterator[Any]:
    """Groups of torch-pruning: channels of a layer with all that belongs to them elsewhere.

    A share of `1 - (kept + 0.5) / width` makes torch-pruning keep exactly that many (tried for all
    widths to 128; `1 - kept / width` is one off for a sixth of them).
    """
    import torch_pruning

    shares = {layer: 1 - (count + 0.5) / width(layer) for layer, count in kept.items()}
    pruner = torch_pruning.pruner.BasePruner(
        network,
        example,
        importance=_importance(importance),
        pruning_ratio=0.0,
        pruning_ratio_dict=shares,
        ignored_layers=[m for m in network.modules() if isinstance(m, LAYERS) and m not in shares],
    )
    yield from pruner.step(interactive=True)


def _importance(name: Importance) -> Any:
    """Scores of the channels of a group; the lowest go."""
    from torch_pruning.pruner import importance

    if name == "bn_scale":
        return importance.BNScaleImportance()
    if name == "taylor":
        return importance.GroupTaylorImportance()
    if name == "random":
        return importance.RandomImportance()
    return importance.GroupMagnitudeImportance(p=1 if name == "l1" else 2)


@contextmanager
def _tracing() -> Iterator[None]:
    """What torch-pruning needs: gradients on, its advice unheard, random numbers of our own."""
    with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        yield
