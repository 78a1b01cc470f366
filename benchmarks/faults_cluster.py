"""What can go on a cluster goes, again and again: python -m benchmarks.faults_cluster [--to FILE].

`search.run studies/digits.yaml` on three Ray nodes of this machine (the head with the driver, one
that trains, one that trains and owns the target) with a PostgreSQL server. At random moments
(seeded), each after the study has recorded something since the one before, one of these happens:
a worker is killed, a node is killed with all its processes and a new one joins, a node is frozen
for some seconds, the database server stops and comes back after some seconds, the driver is killed
and the same command is given again. At the end the budget is set to a little more than what is
done, and the study is left alone until it has finished. See `benchmarks.ledger` for what is
counted.
"""

import argparse
import math
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.conditions import keep, spread
from benchmarks.faults import start
from benchmarks.ledger import (
    Snapshot,
    doubled,
    final,
    lost,
    num_evaluations,
    num_trials,
    snapshot,
)
from search.executors.ray_tune.environment import TOKEN, prepare
from tests.postgres_server import Server, running

TRIALS_PER_FAULT = 20
"""More than are done meanwhile."""
TRIALS_AFTER = 10
"""Until the end, once nothing goes any more."""
TRAINS: Mapping[str, float] = {}
OWNS: Mapping[str, float] = {"target:cpu": 1}
PAUSE_S = 4.0
"""Between something recorded and the next fault, at most."""
AWAY_S = 6.0
"""A frozen node, or a database, at most."""
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""Of Ray's nodes, which would take a minute otherwise to notice that one is gone."""
PATIENCE_S = 300.0
"""Without anything recorded, after which a study counts as stuck."""


class Site:
    """The nodes, the server, and the command that runs on them."""

    def __init__(self, folder: Path, server: Server, trials: int) -> None:
        os.environ.update(HEALTH)
        prepare()
        from ray.cluster_utils import Cluster

        self.folder, self.server, self.trials = folder, server, trials
        self.url = server.url(server.new_database())
        self.engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [(self._node(kind), kind) for kind in (TRAINS, OWNS)]
        self.starts = 0
        self.driver = self.started()

    def started(self) -> subprocess.Popen[bytes]:
        """The command, given again."""
        self.starts += 1
        return start(
            self.folder,
            self.trials,
            f"executor={{ray: {{address: '{self.cluster.address}', workers: 2}}}}",
            f"storage={self.url}",
            f"artifacts={self.folder}/artifacts",
        )

    def mend(self) -> None:
        """Another node for one that has ended: one that Ray took for dead while it was frozen."""
        for place, (node, kind) in enumerate(self.nodes):
            if not _processes(node):
                self.cluster.remove_node(node, allow_graceful=False)
                self.nodes[place] = (self._node(kind), kind)

    def _node(self, resources: Mapping[str, float]) -> Any:
        return self.cluster.add_node(num_cpus=1, resources=dict(resources))

    # --- what goes ---

    def worker(self, rng: random.Random) -> None:
        """One of the processes that train or measure, or an idle one of Ray's."""
        found = [p for node, _ in self.nodes for p in _processes(node)[1:]]
        if found:
            _send(rng.choice(found), signal.SIGKILL)

    def node(self, rng: random.Random) -> None:
        """A machine takes its processes with it; another one like it joins."""
        place = rng.randrange(len(self.nodes))
        doomed, kind = self.nodes[place]
        processes = _processes(doomed)
        self.cluster.remove_node(doomed, allow_graceful=False)
        for process in processes:
            _send(process, signal.SIGKILL)
        time.sleep(rng.uniform(0, 2))
        self.nodes[place] = (self._node(kind), kind)

    def freeze(self, rng: random.Random) -> None:
        """Nothing moves on a node for a while."""
        processes = _processes(rng.choice(self.nodes)[0])
        for process in processes:
            _send(process, signal.SIGSTOP)
        time.sleep(rng.uniform(0.5, AWAY_S))
        for process in processes:
            _send(process, signal.SIGCONT)

    def database(self, rng: random.Random) -> None:
        """The server stops and comes back."""
        self.server.stop()
        time.sleep(rng.uniform(0.5, AWAY_S))
        self.server.start()

    def drive(self, rng: random.Random) -> None:
        """The driver is killed, and the command given again."""
        os.killpg(self.driver.pid, signal.SIGKILL)
        self.driver.wait()
        time.sleep(rng.uniform(0, 2))
        self.driver = self.started()


def main() -> None:
    """Disturb, count, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no more faults then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    if not TOKEN.exists():
        os.environ["RAY_AUTH_MODE"] = "disabled"  # or the nodes would want one
    trials = TRIALS_PER_FAULT * options.faults
    with running() as server, tempfile.TemporaryDirectory() as name:
        site = Site(Path(name), server, trials)
        try:
            result = disturbed(site, options, random.Random(options.seed))
            result |= final(site.engine, site.folder / "artifacts", site.trials)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(site.driver.pid, signal.SIGKILL)
            site.cluster.shutdown()
    print(f"away after a fault: {spread(result['recovery_s'])} s")
    for key, value in result.items():
        if key != "recovery_s":
            print(f"{key:24} {value}")
    keep(options.to, "faults_cluster", {"seed": options.seed, "trials": site.trials, **result})


def disturbed(site: Site, options: argparse.Namespace, rng: random.Random) -> dict[str, Any]:
    """Let things go, one after the other, then let the study finish."""
    kinds: list[Callable[[random.Random], None]] = [
        site.worker,
        site.node,
        site.freeze,
        site.database,
        site.drive,
    ]
    done: Counter[str] = Counter()
    gone, ended, recovery_s = 0, 0, []
    before: Snapshot = {}
    end = time.monotonic() + 60 * options.minutes
    for _ in range(options.faults):
        seconds, again = progressed(site)
        recovery_s.append(seconds)
        ended += again
        if site.driver.poll() == 0 or time.monotonic() > end:
            break
        time.sleep(rng.uniform(0, PAUSE_S))
        after = snapshot(site.engine)
        gone, before = gone + lost(before, after), after
        kind = rng.choice(kinds)
        done[kind.__name__] += 1
        kind(rng)
        print(
            f"{sum(done.values())} {kind.__name__}, {len(after)} evaluations, {gone} lost, "
            f"{doubled(site.engine)} doubled",
            flush=True,
        )
    if site.driver.poll() is None:
        site.trials = num_trials(site.engine) + TRIALS_AFTER
        site.drive(rng)
    while (code := site.driver.wait()) != 0 and ended < options.faults:
        ended += 1
        site.driver = site.started()
    after = snapshot(site.engine)
    return {
        "faults": sum(done.values()),
        "kinds": dict(done),
        "ended_with_a_line": ended,
        "commands": site.starts,
        "exit_code": code,
        "lost": gone + lost(before, after),
        "recovery_s": [round(s, 1) for s in recovery_s],
    }


def progressed(site: Site) -> tuple[float, int]:
    """Wait until something is recorded, or the study has ended.

    Returns seconds, and how often the command ended with a line and was given again.
    """
    began, ended, before = time.monotonic(), 0, num_evaluations(site.engine)
    while num_evaluations(site.engine) == before:
        code = site.driver.poll()
        if code == 0:
            break
        if code is not None:
            ended += 1
            print(f"ended with {code}", flush=True)
            site.driver = site.started()
        site.mend()
        if time.monotonic() - began > PATIENCE_S:
            raise RuntimeError("the study is stuck")
        time.sleep(0.1)
    return time.monotonic() - began, ended


def _processes(node: Any) -> list[psutil.Process]:
    """A node's raylet, first, and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        if raylet.status() != psutil.STATUS_ZOMBIE:
            return [raylet, *raylet.children(recursive=True)]
    return []


def _send(process: psutil.Process, number: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


if __name__ == "__main__":
    main()
