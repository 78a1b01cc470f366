"""Batch norms become part of the convolutions before them."""

import warnings

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spaces.compression.step import Applied
from spaces.compression.surgery import replace

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Fuse:
    """Fold batch norms into the convolution or linear layer whose output they alone read.

    The answers stay (within rounding), parameters and the time of an eager call fall. ONNX Runtime
    folds them by itself, so there it changes the file, not the speed. What trains after it trains
    without normalisation.
    """

    batch_norm: bool = False

    def idle(self) -> bool:
        """Without batch_norm nothing is folded."""
        return not self.batch_norm

    def training_free(self) -> bool:
        """The answers stay."""
        return True

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Fold in place; the record holds the norms that are gone."""
        if self.idle():
            return Applied()
        was_training = network.training
        network.eval()
        pairs = _pairs(network)
        for layer_name, norm_name in pairs:
            _fold(network, layer_name, norm_name)
        network.train(was_training)
        return Applied(record={"folded": [norm for _, norm in pairs]}) if pairs else Applied()


@torch.no_grad()
def _fold(network: nn.Module, layer_name: str, norm_name: str) -> None:
    layer, norm = network.get_submodule(layer_name), network.get_submodule(norm_name)
    assert isinstance(norm, NORMS), norm
    fused: nn.Module
    if isinstance(layer, nn.Linear):
        fused = fuse_linear_bn_eval(layer, norm)
    else:
        assert isinstance(layer, CONVOLUTIONS), layer
        fused = fuse_conv_bn_eval(layer, norm)
    replace(network, layer_name, fused.requires_grad_(True))
    replace(network, norm_name, nn.Identity())


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """(layer, batch norm) names; from the traced graph, or neighbours where it has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = fx.Tracer().trace(network)
    except Exception:  # control flow that depends on values
        return _neighbours(network)
    modules = dict(network.named_modules())
    pairs = []
    for node in graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node):
            continue
        if before.op == "call_module" and len(before.users) == 1:
            pairs.append((str(before.target), str(node.target)))
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    once = {name for name in calls if calls.count(name) == 1}
    return [
        (layer, norm)
        for layer, norm in pairs
        if {layer, norm} <= once and _foldable(modules[layer], modules[norm])
    ]


def _neighbours(network: nn.Module) -> list[tuple[str, str]]:
    """Pairs that follow each other in an `nn.Sequential`."""
    pairs = []
    for prefix, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            names = [f"{prefix}.{name}" if prefix else name for name, _ in module.named_children()]
            children = list(module.children())
            for index in range(len(names) - 1):
                if _foldable(*children[index : index + 2]):
                    pairs.append((names[index], names[index + 1]))
    return pairs


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether these kinds fold: dimensions agree and the norm has running statistics."""
    if not isinstance(norm, NORMS) or norm.running_mean is None:
        return False
    if isinstance(layer, nn.Linear):
        return isinstance(norm, nn.BatchNorm1d)
    dimensions = zip(CONVOLUTIONS, NORMS, strict=True)
    return any(isinstance(layer, conv) and isinstance(norm, kind) for conv, kind in dimensions)
