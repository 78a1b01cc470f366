"""Trainings until a front is found: python -m benchmarks.search [--seeds 10] [--to FILE].

Methods x problems x seeds; what FILE holds already is not run again. Told are the hypervolume
after 25, 50, 100 and 200 different trainings, as a share of the whole table's, and the trainings
until 80 and 90% of it: median and quartiles over the seeds. A repeat costs nothing and does not
count. Costs are known to `ehvi` before training, as they are in a study; Optuna's samplers cannot
be told them. `tpe_told` is told the reference as limits, which Optuna calls constraints. Peers of
other projects (`benchmarks/peers`, `make peers`) run in environments of their own; they are told
error and logarithms of costs, and the reference where they take one.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from plotly.colors import qualitative
from plotly.subplots import make_subplots

from benchmarks.conditions import keep
from benchmarks.mobananas import mobananas
from benchmarks.peers import PEERS, ask_peer
from benchmarks.search_problems import PROBLEMS, Problem
from search.samplers.ehvi import EHVISampler

MARKS = (25, 50, 100, 200)
SHARES = (0.8, 0.9)
QUANTILES = (0.1, 0.3, 0.6)
"""Of the last cost (a latency) over the table: limits under which the best accuracy is told."""
STEP = 5
"""Trainings between two points of a curve."""
MOST_ASKED = 20
"""Proposals for each training, after which a method that only repeats itself has ended."""


def ehvi(problem: Problem, seed: int, **without: Any) -> BaseSampler:
    """Ours, with everything but what `without` takes away."""
    options = {
        "box": lambda: problem.box,
        "costs": problem.costs,
        "features": problem.told_features,
        "features_at_once": 10**6,  # a look-up costs nothing
        **without,
    }
    return EHVISampler(seed=seed, space=problem.space, **options)


FULL = [peer for peer in PEERS if peer != "syne_tune_moasha"]
"""Peers that train in full."""
METHODS: dict[str, Callable[[Problem, int], BaseSampler]] = {
    "ehvi": ehvi,
    "ehvi_names": lambda p, s: ehvi(p, s, features=None),
    "ehvi_modelled_costs": lambda p, s: ehvi(p, s, costs=None),
    "tpe": lambda p, s: TPESampler(seed=s, multivariate=True),
    "tpe_told": lambda p, s: TPESampler(seed=s, multivariate=True),
    "nsga2": lambda p, s: NSGAIISampler(seed=s, population_size=20),
    "nsga3": lambda p, s: NSGAIIISampler(seed=s, population_size=20),
    "random": lambda p, s: RandomSampler(seed=s),
    "gp": lambda p, s: GPSampler(seed=s),
}
SLOW = ("gp", "botorch_qlognehvi", "ax_default", "neps_bo")
"""Minutes a seed: only where they are named."""
DEFAULT = [method for method in (*METHODS, "mobananas", *FULL) if method not in SLOW]


def main() -> None:
    """Run what is missing, keep, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="*", default=DEFAULT)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trainings", type=int, default=MARKS[-1])
    parser.add_argument("--to", type=Path)
    parser.add_argument("--plot", type=Path, help="a page with the curves")
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = json.loads(options.to.read_text())["rows"] if _exists(options.to) else []
    done = {(row["problem"], row["method"], row["seed"]) for row in rows}
    for name in options.problems:
        problem = PROBLEMS[name]()
        for seed in range(options.seeds):  # paired: all methods of a seed side by side
            for method in ["oracle"] * (seed == 0) + options.methods:
                if (name, method, seed) in done:
                    continue
                row = {"problem": name, "method": method, "seed": seed}
                rows.append(row | searched(problem, method, seed, options.trainings))
                keep(options.to, "search", {"rows": rows})
        print(table(name, rows), regret_table(name, rows), sep="\n\n", flush=True)
    if options.plot is not None:
        plot(rows, options.plot)


def searched(problem: Problem, method: str, seed: int, trainings: int) -> dict[str, Any]:
    """One run: shares of the hypervolume at the marks, trainings to the shares, CPU seconds."""
    start, elsewhere_s = time.process_time(), 0.0
    if method == "oracle":
        found = greedy(problem)
    elif method == "mobananas":
        found = mobananas(problem, seed, trainings)
    elif method in PEERS:
        found, elsewhere_s = trained_by_peer(problem, method, seed, trainings)
    else:
        found = trained(problem, method, seed, trainings)
    spent_s = time.process_time() - start + elsewhere_s
    curve = [problem.volume(found[: n + 1]) / problem.whole for n in range(len(found))]
    marks = [mark for mark in MARKS if mark <= trainings]
    return {
        "at": {str(mark): curve[min(mark, len(curve)) - 1] for mark in marks},
        "curve": [round(value, 4) for value in curve[STEP - 1 :: STEP]],
        "regret": {
            str(mark): regrets(problem, found[:mark]) for mark in MARKS if mark <= trainings
        },
        "to": {
            str(share): next((n for n, v in enumerate(curve, 1) if v >= share), None)
            for share in SHARES
        },
        "cpu_s": spent_s,
    }


def regrets(problem: Problem, found: list[int]) -> list[float]:
    """Points of accuracy by which the best network found misses the table's, under each limit."""
    accuracy, latency = problem.values[:, 0], problem.values[:, -1]
    missed = []
    for limit in np.quantile(latency, QUANTILES):
        own = [accuracy[row] for row in found if latency[row] <= limit]
        missed.append(float(accuracy[latency <= limit].max() - max(own, default=0.0)))
    return missed


def trained(problem: Problem, method: str, seed: int, trainings: int) -> list[int]:
    """Networks in the order of their training."""
    sampler = METHODS[method](problem, seed)
    directions = ["maximize"] + ["minimize"] * (problem.values.shape[1] - 1)
    study = optuna.create_study(directions=directions, sampler=sampler)
    ideal, reference = problem.ends
    found: dict[int, None] = {}
    for _ in range(MOST_ASKED * trainings):
        trial = study.ask(problem.space)
        row = problem.row(trial.params)
        if method == "tpe_told":
            beyond = (problem.losses[row] - reference) / (reference - ideal)
            study._storage.set_trial_system_attr(trial._trial_id, "constraints", beyond.tolist())
        study.tell(trial, problem.values[row].tolist())
        found[row] = None
        if len(found) == trainings:
            break
    return list(found)


def trained_by_peer(
    problem: Problem, peer: str, seed: int, trainings: int
) -> tuple[list[int], float]:
    """Networks in the order of their training, and the peer's CPU seconds."""
    found: dict[int, None] = {}
    asked = 0

    def train(choices: list[int], epochs: int | None) -> list[float] | None:
        nonlocal asked
        asked += 1
        row = problem.row_of(choices)
        found[row] = None
        enough = len(found) == trainings or asked == MOST_ASKED * trainings
        return None if enough else problem.losses[row].tolist()

    ideal, reference = problem.ends
    num_options = [len(problem.options)] * problem.choices.shape[1]
    ends = (ideal.tolist(), reference.tolist())
    spent_s = ask_peer(peer, num_options, ends, seed, train)
    return list(found), spent_s


def greedy(problem: Problem) -> list[int]:
    """The limit: knows every error, and takes what grows the hypervolume most."""
    found: list[int] = []
    for _ in range(25):
        gains = [problem.volume([*found, int(row)]) for row in problem.front]
        found.append(int(problem.front[int(np.argmax(gains))]))
    return found


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """Median (quartiles) by method."""
    head = f"| {name} | HV at 25 | 50 | 100 | 200 | to 80% | to 90% | CPU s |"
    lines = [head, "|" + "---|" * 8]
    methods = dict.fromkeys(row["method"] for row in rows if row["problem"] == name)
    for method in methods:
        own = [r for r in rows if r["problem"] == name and r["method"] == method]
        marks = [_spread([r["at"].get(str(mark)) for r in own], 3) for mark in MARKS]
        most = max(int(mark) for r in own for mark in r["at"])
        ends = [_spread([r["to"][str(share)] or np.inf for r in own], 0, most) for share in SHARES]
        cpu = statistics.median(r["cpu_s"] for r in own)
        lines.append(f"| {method} | {' | '.join([*marks, *ends])} | {cpu:.1f} |")
    return "\n".join(lines)


def regret_table(name: str, rows: list[dict[str, Any]]) -> str:
    """Median points of accuracy that are missed under each limit, by method and trainings."""
    limits = "/".join(f"{q:.0%}" for q in QUANTILES)
    lines = [f"| {name}, accuracy missed under the {limits} quantile of latency, after "]
    lines[0] += " | ".join(map(str, MARKS)) + " |"
    lines.append("|" + "---|" * (1 + len(MARKS)))
    own = [row for row in rows if row["problem"] == name and row["method"] != "oracle"]
    for method in dict.fromkeys(row["method"] for row in own):
        cells = []
        for mark in MARKS:
            found = [r["regret"].get(str(mark)) for r in own if r["method"] == method]
            some = [each for each in found if each is not None]
            middle = np.median(some, axis=0) if some else []
            cells.append(" / ".join(f"{value:.2f}" for value in middle) or "-")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Median curves of all problems, one panel each, as a page."""
    names = list(dict.fromkeys(row["problem"] for row in rows))
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=names, shared_yaxes=True)
    colours = dict(
        zip(
            dict.fromkeys(row["method"] for row in rows),
            itertools.cycle(qualitative.Dark24),
            strict=False,
        )
    )
    for (column, name), method in itertools.product(enumerate(names, 1), colours):
        curves = [
            row["curve"] for row in rows if (row["problem"], row["method"]) == (name, method)
        ]
        if not curves:
            continue
        length = min(map(len, curves))
        middle = np.median([curve[:length] for curve in curves], axis=0)
        figure.add_scatter(
            x=STEP * np.arange(1, length + 1),
            y=middle,
            name=method,
            legendgroup=method,
            mode="lines",
            showlegend=column == 1,
            line={"color": colours[method], "width": 3 if method == "ehvi" else 1.5},
            row=1,
            col=column,
        )
    figure.update_xaxes(title="trainings")
    figure.update_yaxes(title="share of the table's hypervolume, median", col=1)
    figure.update_layout(template="plotly_white", legend={"orientation": "h", "y": -0.25})
    figure.write_html(path, include_plotlyjs="cdn", config={"displayModeBar": False})


def _spread(values: list[Any], digits: int, most: int = 0) -> str:
    """Median (first quartile to third); what was not reached in `most` trainings is '> most'."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, middle, high = np.quantile(np.minimum(known, 10**6), (0.25, 0.5, 0.75)).tolist()

    def told(value: float) -> str:
        return f"> {most}" if value > 10**5 else f"{value:.{digits}f}"

    return told(middle) if len(known) == 1 else f"{told(middle)} ({told(low)} to {told(high)})"


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


if __name__ == "__main__":
    main()
