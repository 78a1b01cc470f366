"""Ratings from (user, item): factors, two towers, or a wide and a deep part."""

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.families.dense import Dropout, Width, dense, each
from spaces.families.inputs import refusal
from spaces.families.layers import Activation
from spaces.part import PER_STAGE

SPREAD = 0.1
"""Standard deviation of fresh factors: products of them start near 0, biases learn first."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Recommender:
    """Ids (user, item) -> outputs, from a vector for each user and each item.

    `factorisation`: product of the two vectors, plus a bias of the user, of the item and of all.
    `two_towers`: the same after hidden layers for either vector. `wide_deep`: biases plus hidden
    layers over both vectors side by side.

    Source: Koren et al. 2009, doi:10.1109/MC.2009.263, equation 4 (factorisation); Covington et
    al. 2016, doi:10.1145/2959100.2959190 (towers); Cheng et al. 2016, arXiv:1606.07792 (wide and
    deep; here without crossed features, which two ids do not have).
    """

    body: Literal["factorisation", "two_towers", "wide_deep"] = "factorisation"
    factors: int = Field(default=16, ge=1, le=1024)
    """Numbers of the vector of a user and of an item."""
    depth: int = Field(default=1, ge=1, le=8)
    """Hidden layers of a tower, or of the deep part."""
    width: Annotated[Width | tuple[Width, ...], PER_STAGE] = 32
    """Units of a hidden layer."""
    activation: Activation = "relu"
    dropout: Dropout = 0.0
    """Share of a hidden layer's units that a training step leaves out."""

    stages: ClassVar[str] = "depth"
    """The field that says how many values a per-stage choice has."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """One id of a user, one of an item."""
        if input_shape != (2,) or len(vocabulary) != 2:
            return refusal("recommender", "ids (user, item)", input_shape, vocabulary)
        if outputs != 1 and self.body != "wide_deep":
            return (
                f"recommender: body {self.body} gives one number, the task asks for {outputs}; "
                "use body wide_deep"
            )
        return None

    def canonical(self, input_shape: tuple[int, ...]) -> "Recommender":
        """Values for each layer that exists; none where there are no layers."""
        if self.body == "factorisation":
            return Recommender(factors=self.factors, depth=1, width=())
        return dataclasses.replace(self, width=each(self.width, self.depth))

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose tables, biases and layers."""
        users, items = vocabulary
        if self.body == "factorisation":
            return Product(users, items, self.factors, nn.Identity(), nn.Identity())
        widths = each(self.width, self.depth)
        if self.body == "two_towers":
            towers = (nn.Sequential(*self._hidden(self.factors, widths)) for _ in range(2))
            return Product(users, items, self.factors, *towers)
        deep = [*self._hidden(2 * self.factors, widths), nn.Linear(widths[-1], outputs)]
        return WideDeep(users, items, self.factors, nn.Sequential(*deep), outputs)

    def _hidden(self, inputs: int, widths: tuple[int, ...]) -> list[nn.Module]:
        return dense(inputs, widths, activation=self.activation, dropout=self.dropout)


class Product(nn.Module):
    """Biases, and the product of a user's and an item's vector after a tower each."""

    def __init__(
        self, users: int, items: int, factors: int, user_tower: nn.Module, item_tower: nn.Module
    ) -> None:
        super().__init__()
        self.user, self.item = table(users, factors), table(items, factors)
        self.user_tower, self.item_tower = user_tower, item_tower
        self.user_bias, self.item_bias = table(users, 1, spread=0), table(items, 1, spread=0)
        self.mean = nn.Parameter(torch.zeros(1))

    def forward(self, ids_B2: Tensor) -> Tensor:
        """(B, 2) int64 -> (B, 1)."""
        user_B, item_B = ids_B2[:, 0], ids_B2[:, 1]
        user_BF, item_BF = self.user_tower(self.user(user_B)), self.item_tower(self.item(item_B))
        product_B1 = (user_BF.unsqueeze(1) @ item_BF.unsqueeze(2)).squeeze(2)
        rating_B1: Tensor = (
            product_B1 + self.user_bias(user_B) + self.item_bias(item_B) + self.mean
        )
        return rating_B1


class WideDeep(nn.Module):
    """Biases, and layers over a user's and an item's vector side by side."""

    def __init__(
        self, users: int, items: int, factors: int, deep: nn.Module, outputs: int
    ) -> None:
        super().__init__()
        self.user, self.item = table(users, factors), table(items, factors)
        self.user_bias = table(users, outputs, spread=0)
        self.item_bias = table(items, outputs, spread=0)
        self.deep = deep

    def forward(self, ids_B2: Tensor) -> Tensor:
        """(B, 2) int64 -> (B, K)."""
        user_B, item_B = ids_B2[:, 0], ids_B2[:, 1]
        both_BF = torch.cat([self.user(user_B), self.item(item_B)], 1)
        rating_BK: Tensor = self.deep(both_BF) + self.user_bias(user_B) + self.item_bias(item_B)
        return rating_BK


def table(rows: int, columns: int, spread: float = SPREAD) -> nn.Embedding:
    """Vectors by id, drawn with standard deviation `spread`."""
    made = nn.Embedding(rows, columns)
    nn.init.normal_(made.weight, std=spread)
    return made
