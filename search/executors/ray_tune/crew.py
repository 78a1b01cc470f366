"""The driver's side of the desk: jobs in, evaluations out, and who the workers are."""

import math
import pickle
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import ray

from search.errors import InputError, RunFailedError
from search.evaluation import Evaluation, Job
from search.executors.driving import Results
from search.executors.lost import lost
from search.executors.pieces import joined, pieces
from search.executors.ray_tune.cluster import say
from search.executors.ray_tune.desk import Event
from search.places import Place

MISSED_S = 60.0
"""Without any worker of a kind, while there is work for it, until the user is told."""
MOST_REFUSALS = 3
"""Workers of a kind that cannot do it, until nobody is expected to."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """A kind of worker."""

    kind: str
    resources: Mapping[str, float]
    """Of each, all on one node: `CPU`, `GPU`, or a resource of the cluster's own."""
    count: int
    targets: tuple[str, ...] = ()
    """Targets that it measures on."""
    trains: bool = False


@dataclass
class _Whole:
    """A job that is away, and what came of its pieces so far."""

    job: Job
    parts: dict[int, tuple[Evaluation, float] | None]


class Crew:
    """Cuts jobs into pieces for the desk, and puts together what comes back."""

    def __init__(self, desk: Any, targets: Sequence[str], owners: Mapping[str, str]) -> None:
        self.desk, self.targets, self.owners = desk, targets, owners
        self.results: Results = SimpleQueue()
        self.arrivals: SimpleQueue[tuple[str, dict[str, Place]] | Exception] = SimpleQueue()
        self.places: dict[str, Place] = {}
        """Target -> the machine that measures on it; under the empty name one that trains."""
        self.fit: set[str] = set()
        """Workers that have begun their present life and can do what they are for."""
        self.failure: Exception | None = None
        self.closing = False
        self._lock = threading.Lock()
        self._away: dict[int, _Whole] = {}
        """Number of a piece -> the job that it is of."""
        self._kinds: dict[int, str] = {}
        """Number of a piece -> who is to do it."""
        self._missed: dict[str, float] = {}
        """Kind of worker -> since when none has been there for what waits; infinite once told."""
        self._count = 0

    def put(self, job: Job) -> None:
        """Hand a job to those it belongs to."""
        cut = pieces(job, self.targets, self.owners)
        with self._lock:
            numbers = range(self._count, self._count + len(cut))
            self._count += len(cut)
            whole = _Whole(job, dict.fromkeys(numbers))
            self._away.update(dict.fromkeys(numbers, whole))
            self._kinds.update(zip(numbers, (kind for kind, _ in cut), strict=True))
            if self.failure is not None:
                self.results.put((job, self.failure, 0.0))
        for number, (kind, piece) in zip(numbers, cut, strict=True):
            self.desk.put.remote(number, kind, pickle.dumps(piece))

    def listen(self) -> None:
        """Take what the desk has until it closes: what a thread of the driver does."""
        try:
            while not self.closing:
                for event in ray.get(self.desk.news.remote()):
                    self._take(event)
        except Exception as error:
            self.fail(RunFailedError(f"executor.ray: the cluster went away ({told(error)})"))

    def fail(self, error: Exception) -> None:
        """End the run, whatever it is at."""
        if self.closing:
            return
        self.arrivals.put(error)
        with self._lock:
            self.failure = error
            jobs = [whole.job for whole in self._away.values()]
        if jobs:  # else it is told with the next
            self.results.put((jobs[0], error, 0.0))

    def look_round(self) -> None:
        """Say once when work has waited for long for a kind of worker that nobody is any more."""
        now = time.monotonic()
        with self._lock:
            wanted = set(self._kinds.values())
        missing = wanted - {kind_of(worker) for worker in self.fit.copy()}
        for kind in missing:
            since = self._missed.setdefault(kind, now)
            if now - since > MISSED_S:
                self._missed[kind] = math.inf
                say(
                    f"no worker for {kind} for {MISSED_S:g} s; its jobs wait until a node has room"
                )
        for kind in self._missed.keys() - missing:
            if self._missed.pop(kind) == math.inf:
                say(f"there is a worker for {kind} again")

    def wait_for(self, roles: Sequence[Role], patience_s: float) -> None:
        """Until there is a worker of each role.

        Raises:
            InputError: no machine can do what it is for, or there is no room for it in time.
        """
        end, missing = time.monotonic() + patience_s, {role.kind: role for role in roles}
        refused: dict[str, list[str]] = {}
        while missing:
            try:
                arrived = self.arrivals.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                need = next(iter(missing.values())).resources
                raise InputError(
                    f"executor.ray: no room for a worker with {dict(need)} within {patience_s:g} "
                    "s; wait for other jobs of the cluster, or set wait"
                ) from None
            if isinstance(arrived, Exception):
                raise arrived
            worker, about = arrived
            kind = kind_of(worker)
            problems = [place.problem for place in about.values() if place.problem]
            if not problems:
                missing.pop(kind, None)
            elif kind in missing:
                refused.setdefault(kind, []).append(f"{worker}: {problems[0]}")
                if len(refused[kind]) >= min(missing[kind].count, MOST_REFUSALS):
                    raise InputError(f"executor.ray: no machine of the cluster can: {problems[0]}")

    def _take(self, event: Event) -> None:
        if event.what == "arrived":
            self._welcome(event.worker, pickle.loads(event.content))
        elif event.what == "done":
            evaluation, seconds = event.content
            self._finish(event.id, pickle.loads(evaluation), seconds)
        else:
            self._finish(event.id, lost(self._away[event.id].job, event.content), 0.0)

    def _finish(self, piece: int, evaluation: Evaluation, seconds: float) -> None:
        with self._lock:
            whole = self._away.pop(piece)
            del self._kinds[piece]
            whole.parts[piece] = (evaluation, seconds)
            found = [part for part in whole.parts.values() if part is not None]
        if len(found) == len(whole.parts):
            evaluation = joined([evaluation for evaluation, _ in found])
            self.results.put((whole.job, evaluation, sum(seconds for _, seconds in found)))

    def _welcome(self, worker: str, about: dict[str, Place]) -> None:
        """A worker that replaces one must be what that was: latencies are compared."""
        for target, place in about.items():
            if place.problem:
                say(f"worker {worker} cannot: {place.problem}")
                continue
            known = self.places.setdefault(target, place)
            if place.device != known.device:
                self.fail(
                    RunFailedError(
                        f"target {target!r} would be measured on another device now: "
                        f"{dict(place.device)} after {dict(known.device)}"
                    )
                )
            elif place.versions != known.versions:
                say(f"worker {worker} has other libraries than the first: {_other(place, known)}")
            if place.niceness > 0:
                say(
                    f"worker {worker} times {target!r} at priority {place.niceness}, behind all "
                    "other processes; start its node with RAY_worker_niceness=0"
                )
        if not any(place.problem for place in about.values()):
            self.fit.add(worker)
        self.arrivals.put((worker, about))


def _other(place: Place, known: Place) -> str:
    """The versions that differ."""
    return ", ".join(
        f"{name} {version} after {known.versions.get(name)}"
        for name, version in place.versions.items()
        if version != known.versions.get(name)
    )


def worker_name(kind: str, number: int) -> str:
    """`kind` and a number."""
    return f"{kind}-{number}"


def kind_of(worker: str) -> str:
    """The first part of a name."""
    return worker.rpartition("-")[0]


def told(error: BaseException | None) -> str:
    """The line of Ray's message that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error:" in line or "exit code" in line.lower()]
    return ([*telling, *lines, type(error).__name__][0])[:300]
