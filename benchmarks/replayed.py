"""Searches of spaces of ours whose every candidate is trained: python -m benchmarks.replayed.

The tables of `benchmarks/tables` (`benchmarks.tabulate`) answer in place of workers; everything
else is a study: sampler, gate, rungs, fan-out, database. Cost is counted in epochs: those of a
training once, whichever candidates share it, and those of fine-tuning: ours at the last rung,
below which networks are judged before compression, a peer's at every rung. Told are the
epochs until 80 and 90% of the hypervolume of the table's own front, and the share of it after some
full trainings' worth of epochs: median and quartiles over paired seeds. The box is that of
`benchmarks.search_problems`: perfect and cheapest, to the median loss of all candidates and the
dearest. `all` is as studies are by default; other methods leave one idea out, or are
peers.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.conditions import keep
from benchmarks.peers import ask_peer
from benchmarks.table import OBJECTIVES, UNITS, Table, recovery
from benchmarks.tabulate import TABLES
from search.errors import RunFailedError
from search.session import Session

MARKS = (5, 10, 20, 40)
SHARES = (0.8, 0.9)
LAST = "search.rungs=[{last}]"
PLAIN = (LAST, "search.gate=0", "search.fanout=0")
METHODS: dict[str, tuple[str, ...]] = {
    "all": (),
    "no known costs": ("search.sampler={{ehvi: {{known_costs: false}}}}",),
    "no features": ("search.sampler={{ehvi: {{features: false}}}}",),
    "no gate": ("search.gate=0",),
    "no rungs": (LAST,),
    "no fan-out": ("search.fanout=0",),
    "fan-out 5": ("search.fanout=5",),
    "ehvi alone": PLAIN,
    "tpe with rungs": ("search.sampler=tpe", "search.gate=0", "search.fanout=0"),
    "tpe": ("search.sampler=tpe", *PLAIN),
    "nsga2": ("search.sampler={{nsga2: {{population: 20}}}}", *PLAIN),
    "random": ("search.sampler=random", *PLAIN),
}
"""Method -> overrides of the study."""
PEERS = {"mo-asha": "syne_tune_moasha"}


def main() -> None:
    """Run what is missing, keep, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", nargs="*", default=list(OBJECTIVES))
    parser.add_argument("--methods", nargs="*", default=[*METHODS, *PEERS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    kept = options.to is not None and options.to.exists()
    rows = json.loads(options.to.read_text())["rows"] if kept else []
    done = {(row["table"], row["method"], row["seed"]) for row in rows}
    for name in options.tables:
        for seed in range(options.seeds):
            for method in options.methods:
                if (name, method, seed) not in done:
                    row = {"table": name, "method": method, "seed": seed}
                    rows.append(row | searched(Table(name), method, seed))
                    keep(options.to, "replayed", {"rows": rows})
        print(told(name, rows), flush=True)


def searched(table: Table, method: str, seed: int) -> dict[str, Any]:
    """One run: shares of the hypervolume at the marks, epochs to the shares."""
    start = time.process_time()
    if method in PEERS:
        _ask_peer(table, PEERS[method], seed)
    else:
        run_study(table, METHODS[method], seed)
    full = int(table.data["rungs"][-1])
    found = [row for _, row in table.found]
    epochs = [spent for spent, _ in table.found]
    curve = [table.volume(found[: n + 1]) / table.whole for n in range(len(found))]

    def at(limit: int) -> float:
        return max((v for e, v in zip(epochs, curve, strict=True) if e <= limit), default=0.0)

    def to(share: float) -> int | None:
        return next((e for e, v in zip(epochs, curve, strict=True) if v >= share), None)

    return {
        "at": {str(mark): at(mark * full) for mark in MARKS},
        "to": {str(share): to(share) for share in SHARES},
        "full": full,
        "trained_in_full": len(set(found)),
        "cpu_s": time.process_time() - start,
    }


def run_study(table: Table, overrides: tuple[str, ...], seed: int) -> None:
    """A study of the table's space, until the budget is spent or the space is."""
    Table.current = table
    metric, *costs = OBJECTIVES[table.name]
    reference = table.worst
    limits = {metric: reference[0]}
    limits |= {
        name: value if UNITS[name] == "flops" else f"{value} {UNITS[name]}"
        for name, value in zip(costs, reference[1:], strict=True)
    }
    told = [{"latency": {"target": "cpu"}} if n == "latency" else n for n in (metric, *costs)]
    with tempfile.TemporaryDirectory() as folder:
        settings = (
            f"storage=sqlite:///{folder}/table.db",
            f"artifacts={folder}/artifacts",
            f"seed={seed}",
            f"objectives={json.dumps(told)}",
            f"search.reference={json.dumps(limits)}",
            "search.trials=100000",
            "executor={replay: {answers: 'benchmarks.table:answer'}}",
            *(each.format(last=table.data["rungs"][-1]) for each in overrides),
        )
        with Session.open(str(TABLES / f"{table.name}.yaml"), settings) as session:
            table.study = session.study
            session.plan()
            with suppress(RunFailedError):
                session.search("nothing")


def _ask_peer(table: Table, peer: str, seed: int) -> None:
    """A peer that is told losses at rungs; it trains every candidate for itself."""
    choices = table.data["choices"]
    rows = {tuple(c): row for row, c in enumerate(choices.tolist())}
    rungs = table.data["rungs"].tolist()

    def train(options: list[int], epochs: int | None) -> list[float] | None:
        until = rungs[-1] if epochs is None else epochs
        if table.epochs >= table.budget:
            return None
        row = rows[tuple(options)]
        if until < rungs[-1]:  # it is told of compressed networks on the way too
            table.epochs += recovery(table.tabulation.candidates[row])
        table.spend(str(row), row, until)
        score = float(table.data["scores"][row, rungs.index(until)])
        return [1 - score, *table.losses[row, 1:].tolist()]

    ideal, reference = table.ends
    counts = [len(set(column)) for column in choices.T.tolist()]
    ask_peer(peer, counts, (ideal.tolist(), reference.tolist()), seed, train, rungs)


def told(name: str, rows: list[dict[str, Any]]) -> str:
    """Median (quartiles) by method."""
    own = [row for row in rows if row["table"] == name]
    marks = " | ".join(f"HV at {mark}" for mark in MARKS)
    lines = [f"| {name}, {own[0]['full']} epochs | {marks} | epochs to 80% | to 90% | CPU s |"]
    lines.append("|" + "---|" * (4 + len(MARKS)))
    for method in dict.fromkeys(row["method"] for row in own):
        some = [row for row in own if row["method"] == method]
        at = [spread([r["at"][str(mark)] for r in some], 3) for mark in MARKS]
        to = [spread([r["to"][str(share)] for r in some], 0) for share in SHARES]
        cpu = statistics.median(r["cpu_s"] for r in some)
        lines.append(f"| {method} | {' | '.join([*at, *to])} | {cpu:.0f} |")
    return "\n".join(lines)


def spread(values: list[float | None], digits: int) -> str:
    """Median (first quartile to third); what was never reached is '-'."""
    known = [np.inf if value is None else value for value in values]
    quartiles = np.quantile(known, [0.25, 0.5, 0.75], method="inverted_cdf")
    low, middle, high = ("-" if np.isinf(q) else f"{q:.{digits}f}" for q in quartiles)
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
