"""One space against one decision after the other: python -m benchmarks.joint.

On the tables of `benchmarks/tables`, at the same number of epochs. *Joint*: a study of the whole
space, with 2 or 5 children of a training. *In turn*: the same search spends all epochs on
architecture and training; every member of its front is then pruned by every ratio, and every
member of the front of these is quantized. So what comes after gets the whole front, is tried in
full, and its epochs of recovery are not counted: more than products do. *In turn, one network*: as
products do, only the most accurate network goes on, in every compression; the others stay in the
result as they are. Told are the share of the table's hypervolume, and the best score under three
limits of latency as a distance to the table's best: median and quartiles over paired seeds. [--to
FILE] keeps the figures.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.conditions import keep
from benchmarks.replayed import MARKS, run_study
from benchmarks.table import OBJECTIVES, Table
from search.pareto import non_dominated

QUANTILES = (0.1, 0.3, 0.6)
"""Of the latency over the table: limits."""
UNCOMPRESSED = "space.compression=[{{quantize: {{scheme: none}}}}]"
ONE = "in turn, one network"
WAYS = {
    "joint": (),
    "joint, fan-out 5": ("search.fanout=5",),
    "in turn": (UNCOMPRESSED,),
    ONE: (UNCOMPRESSED,),
}
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
        run_study(table, WAYS[way], seed)
        result[way] = {}
        for mark in MARKS:
            full = int(table.data["rungs"][-1])
            found = [row for spent, row in table.found if spent <= mark * full]
            if way == "in turn":
                for choice in (PRUNE, QUANTIZE):
                    found += [
                        r for row in front(table, found) for r in variants(table, row, choice)
                    ]
            if way == ONE and found:
                found += compressions(table, max(found, key=lambda row: table.values[row, 0]))
            result[way][str(mark)] = {
                "hypervolume": table.volume(found) / table.whole,
                "missed": missed(table, found),
            }
    return result


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


def compressions(table: Table, row: int) -> list[int]:
    """One network pruned by every ratio, and each of these quantized."""
    return [q for pruned in variants(table, row, PRUNE) for q in variants(table, pruned, QUANTIZE)]


def missed(table: Table, found: list[int]) -> list[float]:
    """Score by which the best found misses the table's, under each limit."""
    score, latency = table.values[:, 0], table.values[:, -1]
    distances = []
    for limit in np.quantile(latency, QUANTILES):
        own = [score[row] for row in found if latency[row] <= limit]
        distances.append(float(score[latency <= limit].max() - max(own, default=0.0)))
    return distances


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
