"""Costs predicted before they are measured: python -m benchmarks.predict [--price] [--to FILE].

Transfer: of NAS-Bench-201's networks, latencies on 28 devices (`$PARETUNE_DATA/bench`). Each
device in turn is new: ten of its latencies are seen, all others predicted, once with every other
device known and once with those of other hardware only (a GPU at other batches, the same board
with another runtime or input left out). `timed`: the 6,466 networks that every source timed
itself; `all`: 15,625, of which one source copied latencies from a network of the same function.
Regressor: of our own timings in `results/predict_digits.csv`, so many are seen, the rest
predicted. `--price` takes those timings anew: 350 random candidates of `studies/digits.yaml`.
"""

import argparse
import csv
import dataclasses
import os
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import rankdata, spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from benchmarks.conditions import keep
from objectives.complexity import analyze_complexity
from objectives.predict import Features, features_of, fit
from objectives.tasks import load
from objectives.transfer import (
    choose,
    linear_process,
    standard_logs,
    transfer,
    weighted_sources,
)
from search.evaluate import evaluate
from search.evaluation import Price
from search.plan import draw_candidates
from search.spec import read_study

Array = NDArray[np.float64]
Method = Callable[[Array, Array, NDArray[np.int_], Array], Array]
"""(standard logs (n, d), latencies (n, d), measured rows, their latencies) -> (n,) scores."""

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"
RESULTS = Path(__file__).parent / "results"
TABLES = {
    RESULTS / "predict_digits.csv": (0, 250, 4),
    RESULTS / "predict_digits_fresh.csv": (1, 100, 8),
}
"""Timings -> (seed of the draw, candidates, visits of each). With the first the terms of the
regressor were chosen; the second was timed after that, in busier hours."""
SEEDS = range(10)
SPLITS = 20
SEEN = (10, 20, 40, 80, 160)
BOARDS = {"lat_pixel_litert": "pixel 6a", "lat_samsung_a50": "a50", "lat_samsung_s7": "s7"}
"""Columns whose second word does not name the hardware; of Xeons the third does."""


def main() -> None:
    """Predict, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--price", action="store_true", help="take the timings anew (minutes)")
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    if options.price:
        for path, (seed, num, num_visits) in TABLES.items():
            write_timings(path, seed, num, num_visits)
    result = {"regressor": regressor(*TABLES), "transfer": all_transfers()}
    keep(options.to, "predict", result)


def all_transfers() -> dict[str, Any]:
    """Figures of each set of networks and of known devices."""
    table = np.load(Path(os.environ["PARETUNE_DATA"]) / "bench" / "nb201_hw.npz")
    every = np.arange(len(table["iso_rep"]))
    networks = {"timed": np.flatnonzero(table["iso_rep"] == every), "all": every}
    found = {}
    for name, rows in networks.items():
        for which in ("other hardware", "every other"):
            found[f"{name}, {which}"] = transfers(table, rows, which == "other hardware")
            print(f"\n{len(rows)} networks, known: {which} device")
            for method, figures in found[f"{name}, {which}"].items():
                print(
                    f"  {method:32} mean {figures['mean']:.3f}, least {figures['least']:.3f}"
                    f" ({figures['least_device']})"
                )
    return found


def transfers(table: Mapping[str, Array], rows: NDArray[np.int_], strict: bool) -> dict[str, Any]:
    """Method -> rank correlations, one device after the other being new."""
    devices = sorted(name for name in table if name.startswith("lat_"))
    latencies = {name: table[name][rows].astype(float) for name in devices}
    flops = table["flops_c10"][rows].astype(float)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for new in devices:
        known = {
            name: latencies[name]
            for name in devices
            if name != new and not (strict and hardware(name) == hardware(new))
        }
        for method, values in one_device(known, latencies[new], flops).items():
            scores[method][new] = values
    return {
        method: summary(by_device, each=method in ("FLOPs", "transfer, chosen ten"))
        for method, by_device in scores.items()
    }


def one_device(known: Mapping[str, Array], truth: Array, flops: Array) -> dict[str, list[float]]:
    """Method -> rank correlations with `truth`, one for each seed where random enters."""
    columns = np.stack(list(known.values()), axis=1)
    logs, _ = standard_logs(columns)
    counted = flops[:, None]
    chosen = np.array(choose(known, features=counted))
    found: dict[str, list[float]] = defaultdict(list)
    found["FLOPs"] = [rank_correlation(flops, truth, chosen)]
    found["one random device"] = [rank_correlation(c, truth, chosen) for c in known.values()]
    drawn = [np.random.default_rng(s).choice(len(truth), 10, replace=False) for s in SEEDS]
    for how, sets in (("chosen", [chosen]), ("random", drawn)):
        for rows in sets:
            for name, method in METHODS.items():
                predicted = method(logs, columns, rows, truth[rows])
                found[f"{name}, {how} ten"].append(rank_correlation(predicted, truth, rows))
            seen = {int(row): float(truth[row]) for row in rows}
            ours = transfer(known, seen, features=counted)
            others = np.delete(np.arange(len(truth)), rows)
            inside = (ours.low <= truth) & (truth <= ours.high)
            error = np.abs(ours.values / truth - 1)
            found[f"transfer, {how} ten"].append(rank_correlation(ours.values, truth, rows))
            found[f"transfer, {how} ten: median error"].append(float(np.median(error[others])))
            found[f"transfer, {how} ten: inside 95% interval"].append(float(inside[others].mean()))
            width = float(np.median(ours.high / ours.values)) - 1
            found[f"transfer, {how} ten: half width"].append(width)
    return found


def hardware(column: str) -> str:
    """What a column was timed on, whatever runtime, batch and input."""
    for start, board in BOARDS.items():
        if column.startswith(start):
            return board
    words = column.split("_")
    return words[2] if words[1] == "silver" else words[1]


def rank_correlation(predicted: Array, truth: Array, seen: NDArray[np.int_]) -> float:
    """Spearman's, over the networks that were not seen."""
    ranks = [rankdata(np.delete(values, seen)) for values in (predicted, truth)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def summary(by_device: Mapping[str, list[float]], *, each: bool) -> dict[str, Any]:
    """Mean over devices of the means over seeds, the least device, perhaps each device."""
    means = {name.removeprefix("lat_"): statistics.fmean(v) for name, v in by_device.items()}
    least = min(means, key=lambda name: means[name])
    return {
        "mean": round(statistics.fmean(means.values()), 4),
        "least": round(means[least], 4),
        "least_device": least,
        **({"devices": {name: round(v, 4) for name, v in means.items()}} if each else {}),
    }


def best_source(logs: Array, _: Array, rows: NDArray[np.int_], seen: Array) -> Array:
    """The known device that agrees best on the ten."""
    agreement = [spearmanr(column, seen).statistic for column in logs[rows].T]
    return np.asarray(logs[:, int(np.nanargmax(agreement))])


def components(logs: Array, _: Array, rows: NDArray[np.int_], seen: Array) -> Array:
    """Ridge on the first three principal components."""
    left, size, _right = np.linalg.svd(logs, full_matrices=False)
    inputs = left[:, :3] * size[:3]
    centred, answers = inputs[rows] - inputs[rows].mean(axis=0), np.log(seen)
    gram = centred.T @ centred + np.eye(3)
    return np.asarray(inputs @ np.linalg.solve(gram, centred.T @ (answers - answers.mean())))


def sum_of_sources(_: Array, columns: Array, rows: NDArray[np.int_], seen: Array) -> Array:
    """Non-negative sum of known latencies and a constant, weights 1 / t."""
    terms = np.column_stack([columns / columns.mean(axis=0), np.ones(len(columns))])
    return np.asarray(terms @ nnls(terms[rows] / seen[:, None], np.ones(len(rows)))[0])


METHODS: dict[str, Method] = {
    "best source": best_source,
    "three components": components,
    "non-negative sum": sum_of_sources,
    "linear process": lambda logs, _, rows, y: linear_process(logs, rows, np.log(y)),
    "weighted sources": lambda logs, _, rows, y: weighted_sources(logs, rows, np.log(y)),
}


def write_timings(path: Path, seed: int, num_candidates: int, num_visits: int) -> None:
    """Time all candidates, then all again, and so on; keep features and latencies."""
    latency = "objectives=[accuracy, {latency: {target: cpu, max_s: 0.3}}]"
    study = read_study(STUDY, (f"search.plan={num_candidates}", f"seed={seed}", latency))
    candidates = draw_candidates(study)
    visits = []
    for visit in range(num_visits):
        jobs = [Price(trial=None, candidate=c, again=True) for c in candidates]
        done = [evaluate(job, study, "cpu", 1) for job in jobs]
        assert all(e.status == "priced" for e in done), [e.reason for e in done if e.reason]
        visits.append([e.measurements["latency"].value for e in done])
        print(f"visit {visit + 1} of {num_visits}")
    features = [features_of_candidate(c, study) for c in candidates]
    write_table(path, features, visits)


def features_of_candidate(candidate: Any, study: Any) -> Features:
    """Of the network as deployed."""
    splits = load(study.task)
    network, precision = unpriced(candidate, study)
    example = splits.prepare(splits.train.inputs[:1])
    return features_of(analyze_complexity(network, example), precision=precision)


def unpriced(candidate: Any, study: Any) -> tuple[Any, str]:
    """(compressed network, precision) as a price builds them."""
    splits = load(study.task)
    network = study.space.build(candidate, *splits.signature).eval()
    precision = "fp32"
    for _, step in study.space.pipeline(candidate):
        applied = step.apply(network, splits.prepare(splits.train.inputs[:8]))
        precision = applied.precision or precision
    return network.eval(), precision


def write_table(path: Path, features: list[Features], visits: list[list[float]]) -> None:
    """One row a candidate: features as integers, then the latency of each visit in us."""
    names = [field.name for field in dataclasses.fields(Features)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *(f"visit_{i + 1}_us" for i in range(len(visits)))])
        for one, times in zip(features, zip(*visits, strict=True), strict=True):
            counts = [int(getattr(one, name)) for name in names]
            writer.writerow([*counts, *(f"{1e3 * t:.4g}" for t in times)])


def read_table(path: Path) -> tuple[list[Features], Array]:
    """(features, latencies in ms): the least of all visits, as others computed meanwhile."""
    features, latencies = [], []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            times = [float(row.pop(key)) for key in list(row) if key.startswith("visit_")]
            counts = {name: float(value) for name, value in row.items() if name != "int8"}
            features.append(Features(**counts, int8=row["int8"] == "1"))
            latencies.append(min(times) / 1e3)
    return features, np.array(latencies)


def regressor(path: Path, fresh_path: Path) -> dict[str, Any]:
    """Figures by number of priced networks, each the quartiles over random splits; and `fresh`."""
    features, latencies = read_table(path)
    flops = np.array([f.flops for f in features])
    found: dict[str, Any] = {"networks": len(latencies), "seen": {}}
    print(f"regressor, {len(latencies)} networks: median (quartiles)")
    for num_seen in SEEN:
        figures = [
            one_split(features, latencies, flops, order[:num_seen], order[num_seen:])
            for order in orders(features, num_seen)
        ]
        found["seen"][num_seen] = {key: quartiles([f[key] for f in figures]) for key in figures[0]}
        for key, values in found["seen"][num_seen].items():
            print(f"  {num_seen:4} {key:20} {values[0]:.3f} ({values[1]:.3f} - {values[2]:.3f})")
    found["fresh"] = fresh(features, latencies, *read_table(fresh_path))
    print(f"  fresh {found['fresh']}")
    return found


def fresh(
    features: list[Features], latencies: Array, new: list[Features], new_latencies: Array
) -> dict[str, float]:
    """Fitted on the first table, judged on those networks of the second that are not in it."""
    known = set(features)
    rows = [i for i, f in enumerate(new) if f not in known]
    together = [*features, *(new[i] for i in rows)]
    return one_split(
        together,
        np.concatenate([latencies, new_latencies[rows]]),
        np.array([f.flops for f in together]),
        np.arange(len(features)),
        np.arange(len(features), len(together)),
    )


def orders(features: list[Features], num_seen: int) -> list[NDArray[np.int_]]:
    """Random orders of the networks; among the first `num_seen` both precisions occur."""
    drawn = [np.random.default_rng(seed).permutation(len(features)) for seed in range(2 * SPLITS)]
    both = [o for o in drawn if len({features[i].int8 for i in o[:num_seen]}) == 2]
    return both[:SPLITS]


def one_split(
    features: list[Features],
    latencies: Array,
    flops: Array,
    seen: NDArray[np.int_],
    rest: NDArray[np.int_],
) -> dict[str, float]:
    """Fitted on `seen`, judged on `rest`."""
    model = fit([features[i] for i in seen], latencies[seen].tolist())
    predicted = [model.predict(features[i]) for i in rest]
    values, truth = np.array([p.value for p in predicted]), latencies[rest]
    inside = [p.low <= t <= p.high for p, t in zip(predicted, truth, strict=True)]
    slope, start = np.polyfit(np.log(flops[seen]), np.log(latencies[seen]), 1)
    rivals = {
        "flops": np.exp(start + slope * np.log(flops[rest])),
        "five_terms": five_terms(features, latencies, seen, rest),
        "process": process(features, latencies, seen, rest),
    }
    return {
        "spearman": float(spearmanr(values, truth).statistic),
        "median_error": median_error(values, truth),
        "stated_median_error": model.median_error,
        "inside_interval": float(np.mean(inside)),
        "stated_inside": model.confidence,
        **{f"{n}_spearman": float(spearmanr(v, truth).statistic) for n, v in rivals.items()},
        **{f"{n}_median_error": median_error(v, truth) for n, v in rivals.items()},
    }


def median_error(values: Array, truth: Array) -> float:
    """Of |predicted / measured - 1|."""
    return float(np.median(np.abs(values / truth - 1)))


def five_terms(
    features: list[Features], latencies: Array, seen: NDArray[np.int_], rest: NDArray[np.int_]
) -> Array:
    """Non-negative sum of a constant, FLOPs, parameters, activation bytes and layers."""
    terms = np.array(
        [[1.0, f.flops, f.parameters, f.activation_bytes, f.layers] for f in features]
    )
    terms /= terms.max(axis=0)
    weights = nnls(terms[seen] / latencies[seen, None], np.ones(len(seen)))[0]
    return np.asarray(terms[rest] @ weights)


def process(
    features: list[Features], latencies: Array, seen: NDArray[np.int_], rest: NDArray[np.int_]
) -> Array:
    """Gaussian process on the standardised logarithms of all features, hyperparameters fitted."""
    inputs = np.log1p(np.array([dataclasses.astuple(f) for f in features], dtype=float))
    deviation = inputs[seen].std(axis=0)
    inputs = (inputs - inputs[seen].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    kernel = ConstantKernel() * RBF(3.0) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound of a hyperparameter
        model.fit(inputs[seen], np.log(latencies[seen]))
    return np.asarray(np.exp(model.predict(inputs[rest])))


def quartiles(values: list[float]) -> list[float]:
    """Median, lower and upper quartile."""
    return [round(float(np.quantile(values, q)), 3) for q in (0.5, 0.25, 0.75)]


if __name__ == "__main__":
    main()
