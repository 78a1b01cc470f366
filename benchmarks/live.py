"""A search that trains, against Optuna's: python -m benchmarks.live [--seeds 3] [--to FILE].

Studies of `studies/`, on two workers: first Optuna's NSGA-II and TPE, for a given time; then ours
until it has the hypervolume of the better of the two, and ours without one idea each. Time is CPU
seconds, of driver and workers. All searches of a seed are judged in one box, of the plan of the
first: ours and its ablations pay for their start and their plan, Optuna's for neither. Optuna's
samplers train every candidate to the last epoch, but they too are spared those beyond a limit,
since our loop prices before it trains: more than they get alone. Told are CPU seconds until the
hypervolume of each of the two, and where the workers' seconds went.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil

from benchmarks.conditions import keep
from search.errors import RunFailedError
from search.evaluation import Evaluation, Job, worked_s
from search.loop import Loop
from search.pareto import Scale
from search.plan import Planner, make_plan
from search.session import Session

STUDIES = Path(__file__).parent.parent / "studies"


@dataclass(frozen=True)
class Case:
    """A study and how long Optuna's samplers get."""

    study: str
    overrides: tuple[str, ...]
    given_s: float
    epochs: int
    """Of a full training."""


FASHION = (
    "search.reference={{accuracy: 0.8}}",
    "task.fashion_mnist.train_images=15000",
)
CASES = {
    "fashion-mnist": Case("fashion_mnist.yaml", FASHION, 600.0, 9),
    "fashion-mnist-long": Case("fashion_mnist.yaml", FASHION, 1800.0, 9),
    "digits": Case("digits.yaml", ("search.reference={{accuracy: 0.9}}",), 240.0, 90),
}
PLAIN = ("search.rungs=[{epochs}]", "search.gate=0", "search.fanout=0")
PEERS = {
    "nsga2": ("search.sampler={{nsga2: {{population: 20}}}}", *PLAIN),
    "tpe": ("search.sampler=tpe", *PLAIN),
}
OURS = {
    "all": (),
    "no known costs": ("search.sampler={{ehvi: {{known_costs: false}}}}",),
    "no features": ("search.sampler={{ehvi: {{features: false}}}}",),
    "no gate": ("search.gate=0",),
    "no rungs": ("search.rungs=[{epochs}]",),
    "no fan-out": ("search.fanout=0",),
}
"""Method -> overrides of the study."""


class Meter:
    """CPU seconds of this process and its workers, and the hypervolume that they gave."""

    def __init__(self, until_s: float) -> None:
        self.until_s = until_s
        self.target = float("inf")
        self.curve: list[tuple[float, float]] = []
        """(CPU seconds, hypervolume) after every answer of a worker."""
        self.stages: defaultdict[str, float] = defaultdict(float)
        """Seconds by the clocks of the workers."""
        self.forgiven_s = 0.0
        self.workers: dict[int, float] = {}
        self.began_s, self.began_here_s = 0.0, time.process_time()
        self.began_s = self.spent_s

    @property
    def spent_s(self) -> float:
        """CPU seconds since the start."""
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self.workers[process.pid] = times.user + times.system
        total = time.process_time() + sum(self.workers.values())
        return total - self.began_s - self.forgiven_s

    @property
    def over(self) -> bool:
        """Whether time is up or the target reached."""
        reached = self.curve and self.curve[-1][1] >= self.target
        return bool(reached) or self.spent_s >= self.until_s

    def add(self, job: Job, evaluation: Evaluation, hypervolume: float) -> None:
        """What came of a job."""
        self.stages["train" if job.rung else "price"] += worked_s(evaluation.seconds)
        self.curve.append((self.spent_s, hypervolume))


def main() -> None:
    """Run what is missing, keep, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--methods", nargs="*", default=list(OURS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    optuna.logging.disable_default_handler()
    kept = options.to is not None and options.to.exists()
    rows: list[dict[str, Any]] = json.loads(options.to.read_text())["rows"] if kept else []
    for name in options.cases:
        for seed in range(options.seeds):
            for method in [*PEERS, *options.methods]:
                own = {r["method"]: r for r in rows if (r["case"], r["seed"]) == (name, seed)}
                if method not in own:
                    row = {"case": name, "method": method, "seed": seed}
                    rows.append(row | searched(CASES[name], method, seed, own))
                    keep(options.to, "live", {"rows": rows})
        print(told(name, rows), flush=True)


def searched(case: Case, method: str, seed: int, own: dict[str, Any]) -> dict[str, Any]:
    """One run; `own`: rows of this seed so far."""
    peers = {peer: own[peer]["curve"][-1][1] for peer in PEERS if peer in own}
    meter = Meter(case.given_s)
    with tempfile.TemporaryDirectory() as folder:
        settings = (
            f"storage=sqlite:///{folder}/live.db",
            f"artifacts={folder}/artifacts",
            f"seed={seed}",
            "search.trials=100000",
            *(o.format(epochs=case.epochs) for o in case.overrides + (PEERS | OURS)[method]),
        )
        with Session.open(str(STUDIES / case.study), settings) as session:
            planner = Planner(session.study, session.store, session.prices)
            session.run_jobs(planner.ask, planner.tell)
            meter.stages["plan"] = sum(worked_s(e.seconds) for e in planner.evaluations)
            scale = make_plan(session.study, planner.evaluations).scale
            if own:
                scale = Scale(**next(iter(own.values()))["scale"])
            if method in PEERS:
                meter.forgiven_s = meter.spent_s
            else:
                meter.target = max(peers.values())
            before_s = time.process_time()
            loop = Loop(
                session.study, session.store, session.optuna, session.prices, scale, print_nothing
            )

            def ask() -> Job | None:
                return None if meter.over else loop.ask()

            def tell(job: Job, evaluation: Evaluation) -> None:
                loop.tell(job, evaluation)
                meter.add(job, evaluation, loop.state.hypervolume)

            with suppress(RunFailedError):
                session.run_jobs(ask, tell)
            meter.stages["propose"] = time.process_time() - before_s
            spent_s, counts = meter.spent_s, dict(loop.state.counts)
    return {
        "scale": {"ideal": scale.ideal, "reference": scale.reference, "log": scale.log},
        "to": {peer: reached(meter.curve, value) for peer, value in peers.items()},
        "spent_s": round(spent_s, 1),
        "stages_s": {stage: round(seconds, 2) for stage, seconds in meter.stages.items()},
        "counts": counts,
        "curve": thinned(meter.curve),
    }


def print_nothing(state: object) -> None:
    """The loop reports to no one."""


def thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the hypervolume grew, and the end."""
    kept = [
        point
        for before, point in zip([(0.0, 0.0), *curve], curve, strict=False)
        if point[1] > before[1]
    ]
    return [(round(s, 1), round(v, 5)) for s, v in [*kept, (curve[-1][0], curve[-1][1])]]


def reached(curve: list[tuple[float, float]], value: float) -> float | None:
    """Work until a hypervolume."""
    return next((round(s, 1) for s, v in curve if v >= value - 1e-5), None)


def told(name: str, rows: list[dict[str, Any]]) -> str:
    """Medians (least to most) by method."""
    own = [row for row in rows if row["case"] == name]
    given = CASES[name].given_s
    lines = [
        f"| {name} | CPU seconds to the hypervolume of "
        + " | of ".join(f"{peer} in {given:.0f} s" for peer in PEERS)
        + " | train | price and plan | propose | CPU seconds in all | done, of candidates |",
        "|" + "---|" * (6 + len(PEERS)),
    ]
    for method in dict.fromkeys(row["method"] for row in own):
        some = [row for row in own if row["method"] == method]
        cells = []
        for peer in PEERS:
            found = [row["to"].get(peer) for row in some]
            cells.append("" if method in PEERS else spread(found))
        stages = [defaultdict(float, row["stages_s"]) for row in some]
        cells += [
            f"{statistics.median(s['train'] for s in stages):.0f}",
            f"{statistics.median(s['price'] + s['plan'] for s in stages):.0f}",
            f"{statistics.median(s['propose'] for s in stages):.1f}",
            f"{statistics.median(row['spent_s'] for row in some):.0f}",
        ]
        done = statistics.median(row["counts"].get("done", 0) for row in some)
        every = statistics.median(sum(row["counts"].values()) for row in some)
        lines.append(f"| {method} | {' | '.join(cells)} | {done:.0f} of {every:.0f} |")
    for peer in PEERS:
        values = [r["curve"][-1][1] for r in own if r["method"] == peer]
        firsts = [r["curve"][-2][0] for r in own if r["method"] == peer and len(r["curve"]) > 1]
        lines.append(
            f"{peer}: hypervolume {spread(values, 3)}, reached first after {spread(firsts)} s"
        )
    for share in (1 / 3, 2 / 3):
        for peer in PEERS:
            found = early(own, peer, share * given)
            lines.append(f"to what {peer} has after {share * given:.0f} s: {spread(found)} s")
    return "\n".join(lines)


def early(own: list[dict[str, Any]], peer: str, given_s: float) -> list[float | None]:
    """Seconds, seed by seed, until everything on has what a peer has after less than its time."""
    mine = {row["seed"]: row["curve"] for row in own if row["method"] == "all"}
    theirs = {row["seed"]: row["curve"] for row in own if row["method"] == peer}
    had = {
        seed: max((v for s, v in curve if s <= given_s), default=0.0)
        for seed, curve in theirs.items()
    }
    return [reached(curve, had[seed]) for seed, curve in mine.items() if seed in had]


def spread(values: list[float | None], digits: int = 0) -> str:
    """Median (least to most); what was not reached is '-'."""
    known = sorted(float("inf") if value is None else value for value in values)
    if not known:
        return "-"
    middle, *ends = (
        "-" if value == float("inf") else f"{value:.{digits}f}"
        for value in (statistics.median(known), known[0], known[-1])
    )
    return f"{middle} ({ends[0]} to {ends[1]})"


if __name__ == "__main__":
    main()
