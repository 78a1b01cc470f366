"""Low rank: a layer becomes two smaller ones in a row, by singular values."""

import copy

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.compression.step import Applied, StepError
from spaces.compression.surgery import called_layers, replace

Whole = nn.Conv1d | nn.Conv2d | nn.Linear
KINDS: tuple[type[Whole], ...] = (nn.Conv1d, nn.Conv2d, nn.Linear)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Factorise:
    """Replace linear layers and convolutions by two of low rank, where that makes them smaller.

    A matrix of m x n is cut to rank r = max(1, round(rank min(m, n))) and costs r (m + n) instead
    of m n; a convolution becomes one to r channels with its window and one of 1 x 1 after it. A
    layer that would grow stays whole, as do grouped convolutions. Exact where r is the full rank.

    Source: Eckart and Young 1936, doi:10.1007/BF02288367; Zhang et al. 2015, arXiv:1505.06798,
    section 3.1 (convolutions, without its non-linear part).
    """

    rank: float = Field(default=1.0, gt=0, le=1)
    """Share of the full rank to keep; 1 leaves every layer whole."""
    finetune_epochs: int = Field(default=1, ge=0)
    """Epochs of training after it; 0 only where a later step trains."""

    def idle(self) -> bool:
        """Two factors of full rank are larger than what they replace."""
        return self.rank == 1

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Replace layers in place; the record holds the rank of each."""
        ranks = {}
        for name, layer in called_layers(network, KINDS):
            rank, (rows, columns) = self.kept(layer), _sides(layer)
            dense = isinstance(layer, nn.Linear) or layer.groups == 1
            if dense and rank * (rows + columns) < rows * columns:
                replace(network, name, factorised(layer, rank))
                ranks[name] = rank
        if not ranks:
            return Applied()
        _check(network, example)
        return Applied(
            record={"rank": ranks, "finetune_epochs": self.finetune_epochs},
            finetune_epochs=self.finetune_epochs,
        )

    def kept(self, layer: Whole) -> int:
        """The rank that remains."""
        return max(1, round(self.rank * min(_sides(layer))))


def factorised(layer: Whole, rank: int) -> nn.Sequential:
    """Two layers whose product is the closest matrix of `rank` to that of `layer`."""
    with torch.no_grad():
        write, read = _factors(layer.weight.flatten(1), rank)
        first, second = _empty(layer, rank)
        first.weight.copy_(read.view_as(first.weight))
        second.weight.copy_(write.view_as(second.weight))
        if layer.bias is not None and second.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)


def _factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(m, rank) and (rank, n) of the largest singular values of a matrix (m, n), each its root.

    The singular vectors of the shorter side are the eigenvectors of its products, in double; for
    512 x 4608 that takes a quarter of the time of `torch.linalg.svd`. The other factor follows
    from the matrix itself, so the product is exact at full rank.
    """
    rows, columns = matrix.shape
    if rows > columns:
        read, write = _factors(matrix.T, rank)
        return write.T, read.T
    wide = matrix.double()
    values, vectors = torch.linalg.eigh(wide @ wide.T)  # rising
    vectors, values = vectors[:, -rank:], values[-rank:].clamp(min=0).sqrt()
    root = values.clamp(min=1e-6 * float(values[-1]) + 1e-12).sqrt()
    return (vectors * root).to(matrix), ((vectors / root).T @ wide).to(matrix)


def _empty(layer: Whole, rank: int) -> tuple[Whole, Whole]:
    """Layers of the right shapes: the window and stride stay with the first."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return (
            nn.Linear(layer.in_features, rank, bias=False),
            nn.Linear(rank, layer.out_features, bias=bias),
        )
    kind = type(layer)
    first = copy.deepcopy(layer)
    first.out_channels, first.bias = rank, None
    first.weight = nn.Parameter(torch.empty(rank, *layer.weight.shape[1:]))
    second: Whole = kind(rank, layer.out_channels, 1, bias=bias)
    return first, second


def _sides(layer: Whole) -> tuple[int, int]:
    rows = len(layer.weight)
    return rows, layer.weight.numel() // rows


def _check(network: nn.Module, example: Tensor) -> None:
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(example[:2])
    except Exception as error:
        raise StepError(
            "factorise: this network reads the weights of a layer that it does not call "
            f"({error}); leave factorise out"
        ) from error
    network.train(was_training)
