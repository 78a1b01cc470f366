"""A network that somebody else wrote, perhaps with weights, and smaller forms of it."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.families.derive import Derived, derive, head_of, watch
from spaces.families.layers import not_pictures
from spaces.families.loading import load_weights
from spaces.families.pretrained import NO_WEIGHTS, TORCHVISION, NetworkError, make, read_weights
from spaces.families.reshape import (
    Resize,
    drop_blocks,
    first_convolution,
    narrow_to,
    replace_head,
    shrink_kernels,
    take_channels,
)
from spaces.part import WHOLE


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Module:
    """Any `nn.Module`: built by its factory, fitted to the task, made smaller as chosen.

    Fitted: if the first convolution reads another number of channels, its weights are summed (to
    one channel) or repeated and scaled; if the network returns another number of outputs than the
    task has, its last layer is replaced by a fresh one. What can be made smaller is found in the
    network itself (`spaces.families.derive`); shapes follow from these choices only, never from
    weights. Training starts from the weights that remain. Inputs are standardised by the task's
    own mean and deviation, not by those of the data that the weights were trained on.
    """

    factory: str = "torchvision:resnet18"
    """`package.module:name` of a function or class, or `torchvision:NAME`, a model of torchvision.
    It is told of `input_shape`, `outputs` and `vocabulary` those that it has parameters for."""
    weights: str = NO_WEIGHTS
    """Path of a state dict, a name of torchvision's weights such as `DEFAULT`, or `none`. A last
    layer with another number of outputs stays fresh."""
    options: Annotated[dict[str, Any], WHOLE] = Field(default_factory=dict)
    """Passed on to the factory."""
    keep: Annotated[tuple[str, ...], WHOLE] = ()
    """Names or patterns (`stem*`) of modules that `width`, `drop` and `kernel` leave alone; a
    later pruning step does not know of them."""
    width: float = Field(default=1.0, gt=0, le=1)
    """Share of channels kept in every layer but the last: those of largest norm, as `prune`."""
    drop: int = Field(default=0, ge=0)
    """Residual blocks left out, input and output of equal shape: of the stage that has most left
    the last, the later stage on a tie."""
    kernel: Literal[0, 1, 3, 5, 7, 9, 11, 13] = 0
    """Square kernels that are larger are cropped to this side about their centre; 0 for none."""
    size: int = Field(default=0, ge=0, le=4096)
    """The network scales pictures to this side first; 0 takes them as the task gives them."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Pictures only for torchvision and for `size`; else building says."""
        pictures_only = self.factory.startswith(TORCHVISION) or self.size
        return not_pictures("module", input_shape, vocabulary) if pictures_only else None

    def canonical(self, input_shape: tuple[int, ...]) -> "Module":
        """Every choice may matter."""
        return self

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Make, load, fit, and make smaller.

        Raises:
            NetworkError: one of these cannot be done.
        """
        network = self._fitted(input_shape, outputs, vocabulary)
        example = self._example(input_shape, vocabulary)
        if self.drop or self.kernel or self.keep or self.width < 1:
            derived = derive(network, example, self.keep, channels=self.width < 1)
            drop_blocks(network, derived, self.drop)
            if self.kernel:
                shrink_kernels(network, derived.kernels, self.kernel)
            if self.width < 1:
                narrow_to(network, derived, example, self.width)
        return nn.Sequential(Resize(self.size), network) if self.size else network

    def derived(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> Derived:
        """What can be changed in the network as fitted to the task.

        Raises:
            NetworkError: it cannot be made or fitted.
        """
        network = self._fitted(input_shape, outputs, vocabulary)
        return derive(network, self._example(input_shape, vocabulary), self.keep)

    def rehearse(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> None:
        """Build it and let it answer once in each mode: some networks add outputs to train by.

        Raises:
            NetworkError: it cannot be built, or does not answer one row of outputs an input.
        """
        network = self.build(input_shape, outputs, vocabulary)
        example = self._example(input_shape, vocabulary)
        for mode, training in (("", False), (" in training", True)):
            try:
                with torch.no_grad():
                    answer = network.train(training)(example)
            except Exception as error:
                told = f"the network fails{mode}: {type(error).__name__}: {error}; mend it"
                raise NetworkError("factory", told) from error
            if not isinstance(answer, Tensor) or answer.shape != (len(example), outputs):
                raise NetworkError(
                    "factory",
                    f"the network returns {_kind(answer)} for {len(example)} inputs{mode}, the "
                    f"task needs {(len(example), outputs)}; switch off by options what it adds, "
                    "or end it with a layer whose outputs it returns",
                )

    def _fitted(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...]
    ) -> nn.Module:
        network = make(self.factory, self.options, input_shape, outputs, vocabulary)
        example = self._example(input_shape, vocabulary)
        if self.weights != NO_WEIGHTS:
            head = head_of(watch(network, _readable(network, example)))
            state = read_weights(self.factory, self.weights)
            load_weights(network, state, head)
        if not any(True for _ in network.children()):
            network = nn.Sequential(network)  # a bare layer could not be replaced
        if example.dim() == 4 and example.is_floating_point():
            take_channels(network, example.shape[1])
        replace_head(network, watch(network, example), outputs)
        return network

    def _example(self, input_shape: tuple[int, ...], vocabulary: tuple[int, ...]) -> Tensor:
        """Two inputs as the network sees them, all 0."""
        shape = (input_shape[0], self.size, self.size) if self.size else input_shape
        return torch.zeros(2, *shape, dtype=torch.int64 if vocabulary else torch.float32)


def _readable(network: nn.Module, example: Tensor) -> Tensor:
    """The example with as many channels as the network reads before it is adapted."""
    first = first_convolution(network)
    if first is None or example.dim() != 4:
        return example
    return example.new_zeros(example.shape[0], first[1].in_channels, *example.shape[2:])


def _kind(answer: object) -> str:
    return f"{tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
