"""Structured pruning: whole channels go, with everything that reads them."""

import math
import warnings
from typing import Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.attention import Attention
from spaces.compression.step import Applied, StepError

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
UNSUPPORTED = {
    nn.LSTM: "torch-pruning 1.6 fails on LSTM",
    nn.GRU: "torch-pruning 1.6 silently leaves GRU unpruned",
    nn.RNN: "torch-pruning 1.6 silently leaves RNN unpruned",
    nn.MultiheadAttention: "torch-pruning 1.6 shrinks the heads of attention, which changes it",
    Attention: "torch-pruning 1.6 shrinks queries and keys apart, which changes it",
}
"""Modules that cannot be pruned, with the reason (tried, not assumed)."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Prune:
    """Remove the channels of least L2 norm, the same share in every layer but the last.

    Shares are uniform, so that shapes and costs do not depend on the weights. Kept channels are
    `max(1, round(c (1 - ratio) / round_to) round_to)`, never more than c. A short fine-tune
    follows always: without it nothing pruned is usable (accuracy .11 against .79, FashionMNIST).

    Source: Li et al. 2017, arXiv:1608.08710 (magnitude of filters); Fang et al. 2023,
    arXiv:2301.12900 (dependency graph: torch-pruning).
    """

    ratio: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels to remove."""
    round_to: Literal[1, 2, 4, 8, 16] = 4
    """Kept channels are a multiple of this where the layer has as many."""
    finetune_epochs: int = Field(default=1, ge=1)
    """Epochs of training after the channels are gone."""

    def idle(self) -> bool:
        """A ratio of 0 removes nothing."""
        return self.ratio == 0

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Shrink the layers of `network`; the record holds every layer's kept width."""
        _refuse_unsupported(network)
        was_training, last = network.training, _last_layer(network, example)
        layers = {name: m for name, m in network.named_modules() if isinstance(m, LAYERS)}
        shares = {
            layer: share
            for layer in layers.values()
            if layer is not last and (share := self._share(_width(layer))) > 0
        }
        if not shares:
            return Applied()
        _prune(network, example[:2], shares, [last])
        network.train(was_training)
        kept = {name: _width(layer) for name, layer in layers.items()}
        return Applied(
            record={"kept": kept, "finetune_epochs": self.finetune_epochs},
            finetune_epochs=self.finetune_epochs,
        )

    def kept(self, width: int) -> int:
        """Channels that remain of `width`; never rises with the ratio."""
        rounded = math.floor(width * (1 - self.ratio) / self.round_to + 0.5) * self.round_to
        return min(width, max(1, rounded))

    def _share(self, width: int) -> float:
        """The share that makes torch-pruning keep exactly `kept(width)`; 0 to leave it alone."""
        kept = self.kept(width)
        return 0.0 if kept == width else 1 - (kept + 0.5) / width


def _width(layer: Layer) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _refuse_unsupported(network: nn.Module) -> None:
    for name, module in network.named_modules():
        for kind, reason in UNSUPPORTED.items():
            if isinstance(module, kind):
                raise StepError(
                    f"prune: module {name}: {reason}; leave prune out for this network"
                )


def _last_layer(network: nn.Module, example: Tensor) -> nn.Module:
    """The layer that runs last: its width is the number of outputs."""
    order: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: order.append(module))
        for module in network.modules()
        if isinstance(module, LAYERS)
    ]
    was_training = network.training
    with torch.no_grad():
        network.eval()(example[:2])
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    if not order:
        raise StepError("prune: the network has no convolution or linear layer")
    return order[-1]


def _prune(
    network: nn.Module, example: Tensor, shares: dict[Layer, float], ignored: list[nn.Module]
) -> None:
    """One call of torch-pruning, and proof that it did what was asked.

    Raises:
        StepError: it failed, changed nothing, or changed the outputs' shape.
    """
    import torch_pruning

    before = sum(p.numel() for p in network.parameters())
    with torch.no_grad():
        shape = network.eval()(example).shape
    try:
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            torch_pruning.pruner.BasePruner(
                network,
                example,
                importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
                pruning_ratio=0.0,
                pruning_ratio_dict=shares,
                ignored_layers=ignored,
            ).step()
        with torch.no_grad():
            after_shape = network(example).shape
    except Exception as error:
        raise StepError(f"prune: torch-pruning cannot prune this network: {error}") from error
    if after_shape != shape:
        raise StepError(f"prune: the outputs changed from {tuple(shape)} to {tuple(after_shape)}")
    if sum(p.numel() for p in network.parameters()) >= before:
        raise StepError("prune: torch-pruning removed nothing")
