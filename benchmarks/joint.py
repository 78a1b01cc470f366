"""One space against one decision after the other: python -m benchmarks.joint.

On the tables of `benchmarks/tables`, at the same number of epochs. *Joint*: a study of the whole
space, with 2 or 5 children of a training. *In turn*: the same search spends all epochs on
architecture and training; every member of its front is then pruned by every ratio, and every
member of the front of these is quantized. So what comes after gets the whole front and is tried in
full: more than products do. It searches for as long as the recovery of what it prunes afterwards
still fits into the epochs; *recovery not counted*: for all of them. *In turn, one network*: as
products do, only the most accurate network goes on, in every compression; the others stay in the
result as they are. Told are the share of the table's hypervolume, and the best score under three
limits of latency as a distance to the table's best: median and quartiles over paired seeds. [--to
FILE] keeps the figures.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.conditions import keep
from benchmarks.replayed import MARKS, run_study
from benchmarks.table import OBJECTIVES, Table, recovery
from search.pareto import non_dominated

QUANTILES = (0.1, 0.3, 0.6)
"""Of the latency over the table: limits."""
UNCOMPRESSED = "space.compression=[{{quantize: {{scheme: none}}}}]"
JOINT = {"joint": (), "joint, fan-out 5": ("search.fanout=5",)}
PRUNE, QUANTIZE = "compression.prune.ratio", "compression.quantize.scheme"


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", nargs="*", default=list(OBJECTIVES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    kept = options.to is not None and options.to.exists()
    rows = json.loads(options.to.read_text())["rows"] if kept else []
    for name in options.tables:
        for seed in range(options.seeds):
            own = [row for row in rows if (row["table"], row["seed"]) == (name, seed)]
            if not own:
                own = [{"table": name, "seed": seed}]
                rows += own
            if missing := [way for way in WAYS if way not in own[0]]:
                own[0] |= compared(name, seed, missing)
                keep(options.to, "joint", {"rows": rows})
        print(told(name, rows), flush=True)


def compared(name: str, seed: int, ways: list[str]) -> dict[str, Any]:
    """Some ways, at every mark."""
    result: dict[str, Any] = {}
    for way in ways:
        table = Table(name)
        run_study(table, JOINT.get(way, (UNCOMPRESSED,)), seed)
        full = int(table.data["rungs"][-1])
        result[way] = {}
        for mark in MARKS:
            found = IN_TURN.get(way, searched)(table, mark * full)
            result[way][str(mark)] = {
                "hypervolume": table.volume(found) / table.whole,
                "missed": missed(table, found),
            }
    return result


def searched(table: Table, epochs: int) -> list[int]:
    """Rows that the search had found after so many epochs."""
    return [row for spent, row in table.found if spent <= epochs]


def in_turn(
    table: Table, epochs: int, after: Callable[[Table, list[int]], list[int]]
) -> list[int]:
    """Rows found by a search that leaves epochs enough for what comes `after` it, and these."""
    for spent, _ in reversed(table.found):
        found = searched(table, spent)
        more = after(table, found)
        if spent + recovered(table, more) <= epochs:
            return found + more
    return []


def recovered(table: Table, rows: list[int]) -> int:
    """Epochs of recovery of some compressions; once for a network that is quantized besides."""
    column = table.data["names"].tolist().index(QUANTIZE)
    pruned = {tuple(np.delete(table.data["choices"][row], column)): row for row in rows}
    return sum(recovery(table.tabulation.candidates[row]) for row in pruned.values())


def whole_front(table: Table, found: list[int]) -> list[int]:
    """Every member pruned by every ratio, every member of the front of these quantized."""
    more: list[int] = []
    for choice in (PRUNE, QUANTIZE):
        more += [r for row in front(table, found + more) for r in variants(table, row, choice)]
    return more


def one_network(table: Table, found: list[int]) -> list[int]:
    """The most accurate one in every compression."""
    best = max(found, key=lambda row: table.values[row, 0])
    pruned = variants(table, best, PRUNE)
    return [row for each in pruned for row in variants(table, each, QUANTIZE)]


def front(table: Table, rows: list[int]) -> list[int]:
    """Those that no other one beats."""
    distinct = sorted(set(rows))
    kept = non_dominated(table.losses[distinct]) if distinct else []
    return [row for row, keep_it in zip(distinct, kept, strict=True) if keep_it]


def variants(table: Table, row: int, choice: str) -> list[int]:
    """The rows that differ in one choice alone."""
    column = table.data["names"].tolist().index(choice)
    others = np.delete(table.data["choices"], column, axis=1)
    return np.flatnonzero((others == others[row]).all(axis=1)).tolist()


def missed(table: Table, found: list[int]) -> list[float]:
    """Score by which the best found misses the table's, under each limit."""
    score, latency = table.values[:, 0], table.values[:, -1]
    distances = []
    for limit in np.quantile(latency, QUANTILES):
        own = [score[row] for row in found if latency[row] <= limit]
        distances.append(float(score[latency <= limit].max() - max(own, default=0.0)))
    return distances


IN_TURN: dict[str, Callable[[Table, int], list[int]]] = {
    "in turn": partial(in_turn, after=whole_front),
    "in turn, recovery not counted": lambda table, epochs: (
        searched(table, epochs) + whole_front(table, searched(table, epochs))
    ),
    "in turn, one network": partial(in_turn, after=one_network),
}
WAYS = (*JOINT, *IN_TURN)


def told(name: str, rows: list[dict[str, Any]]) -> str:
    """Median (quartiles) of the hypervolume; medians of what is missed under each limit."""
    own = [row for row in rows if row["table"] == name]
    limits = "/".join(f"{q:.0%}" for q in QUANTILES)
    lines = [f"| {name}, full trainings | " + " | ".join(map(str, MARKS)) + " |"]
    lines.append("|" + "---|" * (1 + len(MARKS)))
    for way in WAYS:
        volumes, distances = [], []
        for mark in map(str, MARKS):
            some = [row[way][mark]["hypervolume"] for row in own]
            low, middle, high = np.quantile(some, [0.25, 0.5, 0.75])
            volumes.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
            middles = np.median([row[way][mark]["missed"] for row in own], axis=0)
            distances.append(" / ".join(f"{100 * value:.2f}" for value in middles))
        lines.append(f"| {way}, hypervolume | {' | '.join(volumes)} |")
        lines.append(f"| {way}, points missed under {limits} | {' | '.join(distances)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
