"""Tables of trained networks as problems of a search: one training is one look-up.

Both come from `PARETUNE_DATA/bench`, whose README names their sources. Costs of a network are
known without training; its error costs one training. The hypervolume is that of losses (error in
percent, logarithms of costs) between the ideal point of the table and a reference, as a share of
that of the table's own front.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.samplers.ehvi import Box

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A table: accuracy in percent first, then costs."""

    choices: NDArray[np.int64]
    """(n, d) number of the option that each choice takes."""
    options: tuple[str, ...]
    """Of every choice."""
    values: Array
    """(n, m) accuracy in percent, then costs in their own units."""
    worst_error: float
    """Reference of the error, in percent."""
    features: Array
    """(n, f) numbers of each network's live graph."""

    @cached_property
    def space(self) -> dict[str, BaseDistribution]:
        """One categorical choice for each column."""
        kind = CategoricalDistribution(self.options)
        return {f"choice.{i}": kind for i in range(self.choices.shape[1])}

    @cached_property
    def losses(self) -> Array:
        """(n, m) error in percent and log10 of the costs."""
        return np.column_stack([100 - self.values[:, 0], np.log10(self.values[:, 1:])])

    @cached_property
    def ends(self) -> tuple[Array, Array]:
        """Ideal point and reference, as losses."""
        reference = np.append(self.worst_error, self.losses[:, 1:].max(axis=0))
        return self.losses.min(axis=0), reference

    @cached_property
    def box(self) -> Box:
        """The same in values, for a sampler; a perfect accuracy is 100."""
        ideal, reference = self.ends
        return Box(
            (100.0, *(10 ** ideal[1:]).tolist()),
            (100 - self.worst_error, *(10 ** reference[1:]).tolist()),
            (False, *[True] * (len(ideal) - 1)),
        )

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], int]:
        return {tuple(row): number for number, row in enumerate(self.choices.tolist())}

    def row(self, parameters: Mapping[str, Any]) -> int:
        """The network of a proposal."""
        return self.row_of([self.options.index(parameters[name]) for name in self.space])

    def row_of(self, choices: Sequence[int]) -> int:
        """The network with these options."""
        return self._rows[tuple(choices)]

    def rows(self, several: Sequence[Mapping[str, Any]]) -> list[int]:
        """The networks of proposals."""
        return [self.row(each) for each in several]

    def costs(self, several: Sequence[Mapping[str, Any]]) -> Array:
        """What is known without training."""
        known = self.values[self.rows(several)].copy()
        known[:, 0] = np.nan
        return known

    def told_features(self, several: Sequence[Mapping[str, Any]]) -> Array:
        """Of several networks."""
        return self.features[self.rows(several)]

    @cached_property
    def front(self) -> NDArray[np.int64]:
        """The networks that no other one beats."""
        return np.flatnonzero(moocore.is_nondominated(self.losses))

    @cached_property
    def whole(self) -> float:
        """Hypervolume of the table's front."""
        return self.volume(self.front)

    def volume(self, rows: Sequence[int] | NDArray[np.int64]) -> float:
        """Hypervolume of some networks, in the unit box."""
        ideal, reference = self.ends
        unit = (self.losses[np.asarray(rows, dtype=int)] - ideal) / (reference - ideal)
        inside = unit[(unit < 1).all(axis=1)]
        if not len(inside):
            return 0.0
        return float(moocore.hypervolume(inside, ref=np.ones(len(ideal))))


OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "pool")
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""Edges of each way from the input of a NAS-Bench-201 cell to its output."""
FIXED_FLOPS, FLOPS_1X1, FLOPS_3X3 = 7.78305, 3.93216, 35.38944
"""Millions of multiply-adds of a network outside its cells, and of each convolution in them."""


def nb201(accuracy: str, latency: str) -> Problem:
    """NAS-Bench-201: error, FLOPs, latency; reference: the median error."""
    table = np.load(_bench("nb201_hw.npz"))
    choices = table["ops"].astype(np.int64)
    values = np.column_stack([table[k] for k in (accuracy, "flops_c10", latency)]).astype(float)
    features = np.array([_cell_features(cell) for cell in choices.tolist()])
    return Problem(choices, OPERATIONS, values, 100 - float(np.median(values[:, 0])), features)


def _cell_features(cell: Sequence[int]) -> list[float]:
    """Operations on live edges by kind, paths, convolutions on the paths, FLOPs on live edges.

    What `spaces.features` reads of any network, as far as these networks differ in it.
    """
    paths = [path for path in PATHS if all(cell[edge] for edge in path)]
    live = {edge for path in paths for edge in path}
    convolutions = [sum(cell[edge] in (2, 3) for edge in path) for path in paths] or [0]
    large = [sum(cell[edge] == 3 for edge in path) for path in paths] or [0]
    kinds = [float(sum(cell[edge] == kind for edge in live)) for kind in (3, 2, 4, 1)]
    ends = [max(convolutions), min(convolutions), float(np.mean(convolutions)), max(large)]
    flops = FIXED_FLOPS + FLOPS_1X1 * kinds[1] + FLOPS_3X3 * kinds[0]
    return [*kinds, float(len(paths)), *map(float, ends), float(np.log10(flops))]


def nbmacro() -> Problem:
    """NAS-Bench-Macro: error (mean of three trainings), FLOPs, parameters."""
    table = np.load(_bench("nbmacro.npz"))
    choices = table["ops"].astype(np.int64)
    accuracy = table["acc_c10_test_3seeds"].mean(axis=1)
    values = np.column_stack([accuracy, table["flops"], table["params"]]).astype(float)
    stages = [choices[:, :2], choices[:, 2:5], choices[:, 5:]]
    features = [np.log10(values[:, 1]), np.log10(values[:, 2])]
    features += [(stage > 0).sum(axis=1) for stage in stages]
    features += [(stage == 2).sum(axis=1) for stage in stages]
    worst = 100 - float(np.median(accuracy))
    names = ("identity", "k3e3", "k5e6")
    return Problem(choices, names, values, worst, np.column_stack(features).astype(float))


def _bench(name: str) -> Path:
    root = os.environ.get("PARETUNE_DATA", "data")
    return Path(root) / "bench" / name


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "nb201_c10_titanx256": lambda: nb201("acc200_c10_test", "lat_titanx_256"),
    "nb201_c100_pixel2": lambda: nb201("acc200_c100_test", "lat_pixel2"),
    "nb201_c10_raspi4": lambda: nb201("acc200_c10_test", "lat_raspi4"),
    "nbmacro_c10": nbmacro,
}
