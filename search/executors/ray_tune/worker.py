"""What a Tune trial does: it is a worker that does jobs from the desk until there are no more."""

import os
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray import tune

from search.executors.executor import Evaluate
from search.places import Place, Survey

REPORT_S = 10.0
"""Seconds between what a worker tells Tune about itself: reports pass through the driver."""


def serve(
    config: Mapping[str, Any], *, work: bytes, desk: Any, folder: str, paths: list[str]
) -> None:
    """Fetch, evaluate, leave; `config["worker"]` has `name`, `kind`, `targets` and `trains`.

    `work`: what to do, and what must be true here, pickled. `folder`, `paths`: where the driver
    works and finds modules; they are used as far as this machine has them.
    """
    if Path(folder).is_dir():
        os.chdir(folder)
    sys.path += [path for path in paths if path not in sys.path and Path(path).exists()]
    evaluate, survey = pickle.loads(work)
    me = config["worker"]
    name, kind, life = me["name"], me["kind"], uuid.uuid4().hex
    about = looked_at(survey, me["targets"], trains=me["trains"])
    ray.get(desk.arrive.remote(name, life, pickle.dumps(about)))
    if problems := [place.problem for place in about.values() if place.problem]:
        raise RuntimeError(problems[0])  # Tune tries again, perhaps elsewhere
    _work(desk, evaluate, name, kind, life)


def looked_at(survey: Survey, targets: list[str], *, trains: bool) -> dict[str, Place]:
    """This machine for each target, and under the empty name as one that trains."""
    return {**survey.measuring(targets), **({"": survey.training()} if trains else {})}


def _work(desk: Any, evaluate: Evaluate, name: str, kind: str, life: str) -> None:
    fetch: Callable[[], Any] = lambda: ray.get(desk.fetch.remote(name, life, kind))  # noqa: E731
    jobs, busy_s, reported = 0, 0.0, time.monotonic()
    while (job := fetch()) is not None:
        start = time.perf_counter()
        evaluation = evaluate(pickle.loads(job))
        seconds = time.perf_counter() - start
        ray.get(desk.leave.remote(name, life, pickle.dumps(evaluation), seconds))
        jobs, busy_s = jobs + 1, busy_s + seconds
        if time.monotonic() - reported > REPORT_S:
            tune.report({"jobs": jobs, "busy_s": busy_s})
            reported = time.monotonic()
    tune.report({"jobs": jobs, "busy_s": busy_s})
