"""The network that a user brings: made by its factory, with the weights of a file or torchvision.

`torchvision:NAME` is a model of torchvision by its name, such as `torchvision:resnet18`.
"""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spaces.importing import import_path, known
from spaces.part import source_hash

TORCHVISION = "torchvision:"
NO_WEIGHTS = "none"


class NetworkError(ValueError):
    """The network cannot be used: a sentence why, and `field`, the option at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(" ".join(message.split()))
        self.field = field


def make(
    factory: str,
    options: Mapping[str, Any],
    input_shape: tuple[int, ...],
    outputs: int,
    vocabulary: tuple[int, ...] = (),
) -> nn.Module:
    """What the factory returns, randomly initialised.

    It is told of `input_shape`, `outputs` and `vocabulary` those that it has parameters for.

    Raises:
        NetworkError: it does not import, does not take these options, or returns no module.
    """
    build = _factory(factory)
    wanted = inspect.signature(build).parameters
    offered = {"input_shape": input_shape, "outputs": outputs, "vocabulary": vocabulary}
    given = {name: value for name, value in offered.items() if name in wanted} | dict(options)
    try:
        inspect.signature(build).bind(**given)
    except TypeError as error:
        raise NetworkError(
            "options", f"{factory}: {error}; it takes {', '.join(wanted) or 'nothing'}"
        ) from error
    try:
        network = build(**given)
    except Exception as error:
        raise NetworkError(
            "options" if options else "factory",
            f"{factory} cannot be built: {_told(error)}; mend it, or its options",
        ) from error
    if not isinstance(network, nn.Module):
        raise NetworkError(
            "factory",
            f"{factory} returned {type(network).__name__}, not a torch.nn.Module; "
            "name a function that returns one, or its class",
        )
    return network


def read_weights(factory: str, weights: str) -> Mapping[str, Tensor]:
    """The state dict that `weights` names: of torchvision's list for the factory, or a file.

    Raises:
        NetworkError: neither, no state dict, or not to be downloaded.
    """
    listed = _listed_weights(factory)
    if weights not in listed:
        return _read_file(weights, tuple(listed))
    try:
        found: Mapping[str, Tensor] = listed[weights].get_state_dict(
            progress=False, check_hash=True
        )
    except Exception as error:
        raise NetworkError(
            "weights",
            f"{weights} of {factory} cannot be downloaded ({_told(error)}); "
            f"fetch {listed[weights].url} elsewhere and give the file's path here, or give none",
        ) from error
    return found


def evidence(factory: str, weights: str) -> str:
    """Hash of the factory's source and of the weights: other weights are another network.

    Raises:
        NetworkError: the factory does not import, or the file is missing.
    """
    listed = _listed_weights(factory)
    if weights in listed:
        named = str(listed[weights].url)  # its file name holds the start of the file's SHA-256
    elif weights == NO_WEIGHTS:
        named = ""
    else:
        named = hashlib.sha256(_existing(weights, tuple(listed)).read_bytes()).hexdigest()
    try:
        source = source_hash(_factory(factory))
    except ValueError as error:
        raise NetworkError("factory", str(error)) from error
    return hashlib.sha256(f"{source}\n{named}".encode()).hexdigest()[:16]


def _factory(path: str) -> Callable[..., Any]:
    if path.startswith(TORCHVISION):
        return _torchvision_builder(path.removeprefix(TORCHVISION))
    if ":" not in path:
        raise NetworkError(
            "factory",
            f"{path!r} is no import path; write 'package.module:name', or 'torchvision:NAME' "
            "for a model of torchvision",
        )
    try:
        with torch.random.fork_rng(devices=[]):  # what a first import draws, a second does not
            return import_path(path)
    except ValueError as error:
        raise NetworkError("factory", str(error)) from error


def _torchvision_builder(name: str) -> Callable[..., Any]:
    from torchvision import models

    if name not in models.list_models():
        told = known(name, models.list_models(module=models))
        raise NetworkError("factory", f"torchvision has no model {name!r}; {told}")
    builder: Callable[..., Any] = models.get_model_builder(name)
    return builder


def _listed_weights(factory: str) -> Mapping[str, Any]:
    """Name -> entry of torchvision's weights for a model of its own; else empty."""
    if not factory.startswith(TORCHVISION):
        return {}
    from torchvision import models

    name = factory.removeprefix(TORCHVISION)
    _torchvision_builder(name)
    found: Mapping[str, Any] = models.get_model_weights(name).__members__
    return found


def _existing(weights: str, listed: tuple[str, ...]) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        named = ", ".join((*listed, NO_WEIGHTS))
        raise NetworkError(
            "weights", f"{weights!r} is not a file; give the path of a state dict, or {named}"
        )
    return path


def _read_file(weights: str, listed: tuple[str, ...]) -> Mapping[str, Tensor]:
    """A state dict, or the entry `state_dict` of a checkpoint."""
    path = _existing(weights, listed)
    remedy = "save one by torch.save(network.state_dict(), FILE)"
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise NetworkError(
            "weights", f"{weights!r} holds no state dict ({type(error).__name__}); {remedy}"
        ) from error
    if isinstance(data, Mapping) and isinstance(data.get("state_dict"), Mapping):
        data = data["state_dict"]
    if not isinstance(data, Mapping) or not data:
        raise NetworkError("weights", f"{weights!r} holds {_kind(data)}, no state dict; {remedy}")
    for key, value in data.items():
        if not isinstance(value, Tensor):
            raise NetworkError(
                "weights", f"{weights!r} holds {_kind(value)} under {key!r}; {remedy}"
            )
    return data


def _kind(value: object) -> str:
    return f"{'an empty ' if value == {} else 'a '}{type(value).__name__}"


def _told(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"{type(error).__name__}: {first}"[:300]
