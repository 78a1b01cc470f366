"""Changes of a network in place: another head, other input channels, fewer blocks, less of each.

What can be changed is found by `derive`; weights that stay are those the network had.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.compression.prune import narrow
from spaces.compression.step import StepError
from spaces.families.derive import Derived, Seen, head_of
from spaces.families.pretrained import NetworkError

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Resize(nn.Module):
    """Pictures (N, C, H, W) at `size` x `size`, bilinear."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, size, size)."""
        return functional.interpolate(x_NCHW, (self.size, self.size), mode="bilinear")


def first_convolution(network: nn.Module) -> tuple[str, Convolution] | None:
    """(name, layer) of the convolution that is defined first, if there is one."""
    return next(((n, m) for n, m in network.named_modules() if isinstance(m, CONVOLUTIONS)), None)


def take_channels(network: nn.Module, channels: int) -> None:
    """Let the first convolution read `channels` input channels; its weights are adapted.

    Raises:
        NetworkError: it is a grouped one.
    """
    found = first_convolution(network)
    if found is None or found[1].in_channels == channels:
        return
    name, layer = found
    if layer.groups != 1:
        raise NetworkError(
            "factory",
            f"{name} reads {layer.in_channels} channels in {layer.groups} groups and cannot be "
            f"adapted to {channels}; write a factory that takes input_shape",
        )
    with torch.no_grad():
        layer.weight = nn.Parameter(other_channels(layer.weight, channels))
    layer.in_channels = channels


def other_channels(weight: Tensor, channels: int) -> Tensor:
    """Weights (out, in, ...) of a convolution for `channels` inputs instead.

    For one channel the sum over the old ones, which answers a grey picture as the old layer
    answers it in colour; else the old channels in turn, scaled so that the sum stays alike.

    Source: timm, `adapt_input_conv`.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    old = weight.shape[1]
    return weight[:, torch.arange(channels) % old] * (old / channels)


def replace_head(network: nn.Module, seen: Seen, outputs: int) -> None:
    """A fresh last layer with `outputs` outputs, unless the network has as many already.

    Raises:
        NetworkError: the last layer does not decide how many numbers come out.
    """
    name = head_of(seen)
    if seen.shape[1:] == (outputs,):
        return
    head = network.get_submodule(name)
    width = head.out_features if isinstance(head, nn.Linear) else head.out_channels
    if seen.shape[1:] != (width,):
        raise NetworkError(
            "factory",
            f"the network has no head: it returns {seen.shape[1:]} for one input where its last "
            f"layer {name} has {width} outputs; end it with a layer whose outputs it returns",
        )
    network.set_submodule(name, _with_outputs(head, outputs))


def _with_outputs(head: nn.Module, outputs: int) -> nn.Module:
    bias = head.bias is not None
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, outputs, bias=bias)
    assert isinstance(head, CONVOLUTIONS), head
    return type(head)(
        head.in_channels,
        outputs,
        head.kernel_size,  # type: ignore[arg-type]  # of its own number of dimensions
        stride=head.stride,  # type: ignore[arg-type]
        padding=head.padding,  # type: ignore[arg-type]
        dilation=head.dilation,  # type: ignore[arg-type]
        bias=bias,
    )


def drop_blocks(network: nn.Module, derived: Derived, count: int) -> None:
    """Leave out the first `count` of the derived blocks: what goes in comes out.

    Raises:
        NetworkError: there are not as many.
    """
    if count > len(derived.blocks):
        raise NetworkError(
            "drop",
            f"{count} blocks cannot be left out: {len(derived.blocks)} can "
            f"({', '.join(derived.blocks) or 'none'}); give at most so many",
        )
    for name in derived.blocks[:count]:
        network.set_submodule(name, nn.Identity())


def shrink_kernels(network: nn.Module, kernels: Mapping[str, int], side: int) -> None:
    """Crop the named convolutions whose kernels are larger to the `side` x `side` at the centre.

    The padding shrinks alike, so that maps keep their size.
    """
    present = dict(network.named_modules())
    for name, old in kernels.items():
        layer = present.get(name)  # gone with its block
        if old > side and isinstance(layer, nn.Conv2d):
            network.set_submodule(name, _cropped(layer, side))


def _cropped(layer: nn.Conv2d, side: int) -> nn.Conv2d:
    edge = (layer.kernel_size[0] - side) // 2
    padding = (
        layer.padding
        if isinstance(layer.padding, str)
        else tuple(d * (side - 1) // 2 for d in layer.dilation)
    )
    small = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        side,
        stride=layer.stride,  # type: ignore[arg-type]  # of two dimensions
        padding=padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )
    with torch.no_grad():
        small.weight.copy_(layer.weight[:, :, edge : edge + side, edge : edge + side])
        if small.bias is not None and layer.bias is not None:
            small.bias.copy_(layer.bias)
    return small


def narrow_to(network: nn.Module, derived: Derived, example: Tensor, share: float) -> None:
    """Keep `share` of the channels of every derived group; counts as `prune` rounds them.

    Raises:
        NetworkError: the network cannot be narrowed.
    """
    if derived.obstacle:
        raise NetworkError("width", f"{derived.obstacle}; leave width out for this network")
    present = dict(network.named_modules())
    layers = [name for g in derived.groups for name in g.layers if name in present]
    try:
        narrow(network, example, layers, 1 - share)
    except StepError as error:
        told = str(error).removeprefix("prune: ")
        raise NetworkError("width", f"{told}; leave width out for this network") from error
