"""From a study's wishes to workers on a cluster that are ready for its first job."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import ray

from search.executors.driving import drive
from search.executors.executor import Ask, Evaluate, Tell, Workers
from search.executors.pace import Pace
from search.executors.pieces import TRAIN
from search.executors.ray_tune.cluster import (
    check_room,
    connected,
    nodes,
    own_share,
    owners_of,
    room,
)
from search.executors.ray_tune.crew import Crew, Role
from search.executors.ray_tune.desk import Desk
from search.executors.ray_tune.trials import Trials
from search.places import Survey

if TYPE_CHECKING:
    from search.executors.ray_tune import Ray

GRACE_S = 10.0
"""Seconds at most in which Tune lets go of its workers at the end."""
LITTLE = 0.001
"""Of a resource that is asked for only to name a node."""


@contextmanager
def started(asked: "Ray", evaluate: Evaluate, survey: Survey) -> Iterator[Workers]:
    """Workers that have told what they are, until the context ends.

    Raises:
        InputError: no cluster, no room, or no machine that can do it.
    """
    share = own_share(asked.cpus, asked.gpus, asked.workers, asked.resources)
    with connected(asked.address, share):
        owners = owners_of(list(survey.targets), nodes(), own=asked.address is None)
        roles = roles_of(asked, owners)
        for role in roles:
            check_room(f"a worker for {role.kind}", role.resources)
        with _crew(roles, owners, evaluate, survey) as crew:
            crew.wait_for(roles, asked.patience_s())
            num = sum(role.count for role in roles)

            def run(ask: Ask, tell: Tell) -> None:
                drive(crew, crew.results, ask, tell, Pace(num))

            yield Workers(run=run, num=num, places={n: crew.places[n] for n in survey.targets})


def roles_of(asked: "Ray", owners: Mapping[str, str]) -> list[Role]:
    """Trainers, and one kind of worker for each node that targets are bound to.

    `owners`: target -> the resource of its node, or `TRAIN` where any worker measures on it.
    """
    needs = {"CPU": asked.cpus, "GPU": asked.gpus, **asked.resources}
    bound: dict[str, list[str]] = {}
    for target, owner in owners.items():
        bound.setdefault(owner, []).append(target)
    trainers = Role(
        kind=TRAIN,
        resources=needs,
        count=asked.workers or max(1, room(needs)),
        targets=tuple(bound.pop(TRAIN, ())),
        trains=True,
    )
    return [trainers, *(_bench(owner, targets) for owner, targets in bound.items())]


def _bench(resource: str, targets: list[str]) -> Role:
    """As many as nodes have the target; of the driver's node, one."""
    own = resource.startswith("node:")
    needs = {"CPU": 0.0, resource: LITTLE if own else 1.0}
    count = 1 if own else max(1, room(needs))
    return Role(kind=resource, resources=needs, count=count, targets=tuple(targets))


@contextmanager
def _crew(
    roles: list[Role], owners: Mapping[str, str], evaluate: Evaluate, survey: Survey
) -> Iterator[Crew]:
    """The desk, Tune's loop and the driver's ear for what is new."""
    # the desk lives where the driver does: it is of no use without it
    placed = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        node_id=ray.get_runtime_context().get_node_id(), soft=False
    )
    desk = (
        ray.remote(Desk)
        .options(num_cpus=0, scheduling_strategy=placed, max_concurrency=10_000)
        .remote()
    )
    crew = Crew(desk, list(survey.targets), owners)
    trials = Trials(crew, roles, evaluate, survey)
    ear = threading.Thread(target=crew.listen, daemon=True)
    trials.start()
    ear.start()
    try:
        yield crew
    finally:
        crew.closing = True
        desk.close.remote()
        trials.join(GRACE_S)
