"""Weights of a state dict into a network that may read or return other numbers of channels."""

from collections.abc import Mapping

from torch import Tensor, nn

from spaces.families.pretrained import NetworkError
from spaces.families.reshape import first_convolution, other_channels

TOLD = 3
"""So many names of tensors are told of a state dict that does not fit."""


def load_weights(network: nn.Module, state: Mapping[str, Tensor], head: str) -> None:
    """Load `state`; a `head` of another width stays fresh, a first convolution is adapted.

    Raises:
        NetworkError: other tensors are missing, unexpected or of another size.
    """
    own, given = network.state_dict(), dict(state)
    first = first_convolution(network)
    place = f"{first[0]}.weight" if first else ""
    if place in given and first is not None and first[1].groups == 1:
        given[place] = _fitting(given[place], own[place])
    for key in (f"{head}.weight", f"{head}.bias"):
        if key in own and key in given and own[key].shape[1:] == given[key].shape[1:]:
            given[key] = given[key] if own[key].shape == given[key].shape else own[key]
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in given if k not in own]
    sizes = [
        f"{k} {tuple(given[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in given and own[k].shape != given[k].shape
    ]
    found = (("missing", missing), ("not in the network", unexpected), ("of another size", sizes))
    told = [f"{len(names)} {what} ({_first(names)})" for what, names in found if names]
    if told:
        raise NetworkError(
            "weights",
            f"weights of another network: {', '.join(told)}; give those of this network, or none",
        )
    network.load_state_dict(given, strict=False)


def _fitting(given: Tensor, own: Tensor) -> Tensor:
    """Weights of a first convolution, with as many input channels as `own`."""
    alike = given.dim() == own.dim() and given.shape[0] == own.shape[0]
    return other_channels(given, own.shape[1]) if alike and given.shape != own.shape else given


def _first(names: list[str]) -> str:
    return ", ".join(names[:TOLD]) + (", ..." if len(names) > TOLD else "")
