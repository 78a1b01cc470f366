"""Classifiers of short texts: word vectors, a body that reads them, a linear head."""

import dataclasses
from typing import Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.families.dense import Dropout, dense
from spaces.families.inputs import refusal
from spaces.families.recurrent import Cell
from spaces.families.words import Convolutions, Mean, Recurrent, Transformer

PADDING, UNKNOWN = 0, 1
"""Ids that are no words of the vocabulary."""

MATTERS = {
    "bag": {"layers", "width"},
    "conv": {"layers", "width", "kernel"},
    "recurrent": {"layers", "width", "cell"},
    "transformer": {"layers", "width", "heads"},
}
"""Body -> the choices that it reads, besides those of all bodies."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Text:
    """Ids (length,) -> word vectors -> body -> dropout -> linear head.

    Id 0 is padding behind the words, 1 any unknown word, the rest words by falling frequency.
    Padding is read as no word at all: no answer depends on its vector or on how much there is.
    """

    body: Literal["bag", "conv", "recurrent", "transformer"] = "bag"
    """What reads the words: their mean, convolutions, a recurrent network, or attention."""
    vocabulary: int = Field(default=0, ge=0)
    """Ids that have a vector of their own; those from it on are read as unknown; 0 for all."""
    length: int = Field(default=0, ge=0)
    """Leading positions that are read; 0 for all."""
    embedding: int = Field(default=32, ge=1, le=1024)
    """Numbers of a word's vector."""
    layers: int = Field(default=1, ge=0, le=12)
    """Hidden layers after the mean (`bag`, may be 0), convolutions, recurrent layers, blocks."""
    width: int = Field(default=64, ge=1, le=4096)
    """Units or channels of a layer; of `transformer`, of the wider layer of a block."""
    kernel: Literal[1, 3, 5, 7, 9] = 3
    """Words that a convolution sees."""
    cell: Cell = "gru"
    """Of `recurrent`."""
    heads: int = Field(default=4, ge=1, le=64)
    """Of the attention of `transformer`; they share the numbers of a vector evenly."""
    dropout: Dropout = 0.0
    """Share of features that a training step leaves out before the head, and in each block."""

    def check(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> str | None:
        """Ids of one vocabulary, and choices that fit each other."""
        if len(vocabulary) != 1 or len(input_shape) != 1:
            return refusal("text", "ids (length,) of one vocabulary", input_shape, vocabulary)
        if self.vocabulary == 1 or self.vocabulary > vocabulary[0]:
            return (
                f"text: vocabulary {self.vocabulary} must be 0, or from 2 (padding and unknown) "
                f"to the {vocabulary[0]} ids of the task"
            )
        if self.length > input_shape[0]:
            return f"text: length {self.length} is longer than the task's texts, {input_shape[0]}"
        return self._contradiction(self.length or input_shape[0])

    def canonical(self, input_shape: tuple[int, ...]) -> "Text":
        """Without the choices of the other bodies."""
        default = vars(Text())
        others = set().union(*MATTERS.values()) - MATTERS[self.body]
        if self.layers == 0:
            others |= {"width"}
        return dataclasses.replace(
            self,
            length=self.length or input_shape[0],
            **{name: default[name] for name in others},
        )

    def build(
        self, input_shape: tuple[int, ...], outputs: int, vocabulary: tuple[int, ...] = ()
    ) -> nn.Module:
        """Compose word vectors, body and head."""
        length = self.length or input_shape[0]
        body, features = self._body(length)
        return Reader(
            length=length,
            vectors=nn.Embedding(self.vocabulary or vocabulary[0], self.embedding),
            unknown=self.vocabulary not in (0, vocabulary[0]),
            body=body,
            head=nn.Sequential(nn.Dropout(self.dropout), nn.Linear(features, outputs)),
        )

    def _contradiction(self, length: int) -> str | None:
        if self.layers == 0 and self.body != "bag":
            return f"text: body {self.body} needs 1 layer or more, not 0"
        if self.body == "conv" and self.kernel > length:
            return f"text: kernel {self.kernel} is longer than the {length} positions read"
        if self.body == "transformer" and self.embedding % self.heads:
            return f"text: {self.heads} heads do not divide an embedding of {self.embedding}"
        return None

    def _body(self, length: int) -> tuple[nn.Module, int]:
        """(what reads the words, its features)."""
        size, width, layers = self.embedding, self.width, self.layers
        if self.body == "bag":
            hidden = dense(size, (width,) * layers, activation="relu", dropout=self.dropout)
            return Mean(hidden), width if layers else size
        if self.body == "conv":
            return Convolutions(size, width, layers, self.kernel), width
        if self.body == "recurrent":
            return Recurrent(self.cell, size, width, layers), width
        return Transformer(length, size, width, layers, self.heads, self.dropout), size


class Reader(nn.Module):
    """Ids (B, positions) -> outputs (B, K); ids without a vector are read as unknown."""

    def __init__(
        self,
        *,
        length: int,
        vectors: nn.Embedding,
        unknown: bool,
        body: nn.Module,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.length, self.unknown = length, unknown
        self.vectors, self.body, self.head = vectors, body, head
        nn.init.normal_(vectors.weight, std=0.1)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L) int64 -> (B, K)."""
        ids_BL = ids_BL[:, : self.length]
        if self.unknown:
            ids_BL = torch.where(ids_BL < self.vectors.num_embeddings, ids_BL, UNKNOWN)
        x_BLE = self.vectors(ids_BL)
        real_BL1 = (ids_BL != PADDING).unsqueeze(2).to(x_BLE.dtype)
        y_BK: Tensor = self.head(self.body(x_BLE * real_BL1, real_BL1))
        return y_BK
