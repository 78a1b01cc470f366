"""Structured pruning: whole channels go, with everything that reads them."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.compression.channels import (
    LAYERS,
    Importance,
    Layer,
    coupled,
    hidden_layers,
    refuse_unsupported,
    remove,
    silence,
    width,
)
from spaces.compression.step import Applied, Trainer
from spaces.part import PER_STAGE

Ratio = Annotated[float, Field(ge=0, lt=1)]

ROUNDS = 3
TAYLOR_BATCHES = 8
"""Batches of 64 inputs over which gradients are averaged."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Prune:
    """Remove the least important channels, the same share in every layer but the last.

    Shares are the study's choice, never the weights', so shapes and costs are known before
    training. Kept channels are `max(1, round(c (1 - ratio) / round_to) round_to)`, never more than
    c. A fine-tune must follow, here or by a step behind: without it nothing pruned is usable
    (accuracy .11 against .79, FashionMNIST).

    Source: Li et al. 2017, arXiv:1608.08710 (magnitude of filters); Fang et al. 2023,
    arXiv:2301.12900 (dependency graph: torch-pruning).
    """

    parts: int = Field(default=1, ge=1, le=16)
    """Runs of layers, input to output, of equal length, that may have a ratio each."""
    ratio: Annotated[Ratio | tuple[Ratio, ...], PER_STAGE] = 0.0
    """Share of channels to remove. Layers that must agree take that of the first of them."""
    round_to: Literal[1, 2, 4, 8, 16] = 4
    """Kept channels are a multiple of this where the layer has as many."""
    importance: Importance = "l2"
    """Which channels go: those of least L1 or L2 norm, of least batch norm scale (Liu et al. 2017,
    arXiv:1708.06519), of least change of the loss to first order on real batches (Molchanov et
    al. 2019, arXiv:1906.10771), or any."""
    schedule: Literal["one_shot", "iterative", "dynamic"] = "one_shot"
    """All at once; in `rounds` equal shares with training after each; or zeroed `rounds - 1` times
    with training in which they may come back, then removed (He et al. 2018, arXiv:1808.06866). The
    shapes in the end are the same."""
    rounds: int = Field(default=ROUNDS, ge=2, le=20)
    """Times of removing or zeroing; of no effect with `one_shot`."""
    finetune_epochs: int = Field(default=1, ge=0)
    """Epochs of training after the channels are gone, in each round; 0 only where a later step
    trains."""

    stages: ClassVar[str] = "parts"
    """The field that says how many values a per-stage choice has."""

    def idle(self) -> bool:
        """A ratio of 0 removes nothing."""
        return not any(self._ratios())

    def canonical(self) -> "Prune":
        """`one_shot` has one round."""
        return replace(self, rounds=ROUNDS) if self.schedule == "one_shot" else self

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Shrink the layers of `network` at once; the record holds every layer's kept width.

        Without training data `taylor` is as `l2`: which channels go changes no shape.
        """
        kept = self._plan(network, example)
        if not kept:
            return Applied()
        importance = "l2" if self.importance == "taylor" else self.importance
        was_training = network.training
        remove(network, example[:2], kept, importance)
        network.train(was_training)
        return self._applied(network)

    def learn(self, network: nn.Module, example: Tensor, trainer: Trainer) -> Applied:
        """Shrink a trained network by the schedule, training as it asks."""
        kept = self._plan(network, example)
        if not kept:
            return Applied()
        widths = {layer: width(layer) for layer in kept}
        for number in range(1, self._rounds() + 1):
            goal = self._goal(widths, kept, number)
            if self.importance == "taylor":
                _collect_gradients(network, trainer)
            soft = self.schedule == "dynamic" and number < self._rounds()
            if goal:
                (silence if soft else remove)(network, example[:2], goal, self.importance)
            network.zero_grad(set_to_none=True)
            trainer.train(network, self.finetune_epochs)
        return self._applied(network)

    def kept(self, width: int, ratio: float | None = None) -> int:
        """Channels that remain of `width`, by default at the only ratio; never rises with it."""
        share = self._ratios()[0] if ratio is None else ratio
        rounded = math.floor(width * (1 - share) / self.round_to + 0.5) * self.round_to
        return min(width, max(1, rounded))

    def _ratios(self) -> tuple[float, ...]:
        """One ratio a part; a list may be longer, and its last value holds on."""
        given = self.ratio if isinstance(self.ratio, tuple) else (self.ratio,)
        return (*given, *given[-1:] * self.parts)[: self.parts]

    def _rounds(self) -> int:
        return 1 if self.schedule == "one_shot" else self.rounds

    def _plan(self, network: nn.Module, example: Tensor) -> dict[Layer, int]:
        """Layers that shrink, with the width they keep; known without the weights."""
        refuse_unsupported(network)
        layers, ratios = hidden_layers(network, example), self._ratios()
        parts = {each: ratios[i * self.parts // len(layers)] for i, each in enumerate(layers)}
        if len(set(ratios)) > 1:
            groups = coupled(network, example[:2], layers)
            parts = {each: parts[group[0]] for group in groups for each in group}
        kept = {layer: self.kept(width(layer), ratio) for layer, ratio in parts.items()}
        return {layer: count for layer, count in kept.items() if count < width(layer)}

    def _goal(
        self, widths: Mapping[Layer, int], kept: Mapping[Layer, int], number: int
    ) -> dict[Layer, int]:
        """What is left after a round: on the way to `kept`, rounded alike."""
        if self.schedule != "iterative":
            return dict(kept)
        goal = {}
        for layer, count in kept.items():
            removed = (widths[layer] - count) * number / self.rounds
            on_the_way = self.kept(widths[layer], removed / widths[layer])
            goal[layer] = count if number == self.rounds else max(count, on_the_way)
        return {layer: count for layer, count in goal.items() if count < width(layer)}

    def _applied(self, network: nn.Module) -> Applied:
        layers = {name: m for name, m in network.named_modules() if isinstance(m, LAYERS)}
        kept = {name: width(layer) for name, layer in layers.items()}
        return Applied(
            record={"kept": kept, "finetune_epochs": self.finetune_epochs},
            finetune_epochs=self.finetune_epochs,
        )


def _collect_gradients(network: nn.Module, trainer: Trainer) -> None:
    """Leave the root mean square over batches of every gradient of the loss, in eval mode.

    Their mean is near 0 in a trained network, whatever a weight does (eq. 3 of Molchanov et al. is
    squared before it is averaged).
    """
    network.eval()
    squares = {weight: torch.zeros_like(weight) for weight in network.parameters()}
    for _ in range(TAYLOR_BATCHES):
        network.zero_grad(set_to_none=True)
        trainer.loss(network).backward()  # type: ignore[no-untyped-call]  # torch's stub
        for weight, square in squares.items():
            if weight.grad is not None:
                square += weight.grad.square()
    for weight, square in squares.items():
        weight.grad = (square / TAYLOR_BATCHES).sqrt()


def narrow(network: nn.Module, example: Tensor, layers: Collection[str], ratio: float) -> None:
    """Remove the share `ratio` of the channels of the named layers, as `Prune` does of all.

    `example`: as for `Prune.apply`.

    Raises:
        StepError: it cannot be done.
    """
    refuse_unsupported(network)
    named = {name: m for name, m in network.named_modules() if isinstance(m, LAYERS)}
    step, was_training = Prune(ratio=ratio), network.training
    kept = {named[name]: step.kept(width(named[name])) for name in layers}
    kept = {layer: count for layer, count in kept.items() if count < width(layer)}
    if kept:
        remove(network, example[:2], kept, "l2")
    network.train(was_training)
