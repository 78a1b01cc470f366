"""A Ray to run on: one of our own on this machine, or a cluster that is there."""

import json
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import ray
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.exceptions import RayError

from search.errors import InputError
from search.executors.pieces import TRAIN
from spaces.importing import own_modules

CARRIED = ("PARETUNE_DATA", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
"""Of the driver's environment, what workers of a running cluster are told."""
ANSWER_S = 10.0
OWNED = "target:"
"""Prefix of the resource by which a node says that it has a target."""


@contextmanager
def connected(address: str | None, share: Mapping[str, Any]) -> Iterator[None]:
    """Ray, until the context ends.

    `address`: of a running cluster; None for a Ray of our own that has `share`.

    Raises:
        InputError: nobody answers there, or with another version of Ray or Python.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    with ExitStack() as stack:
        if address is None:
            # sockets lie in it: their paths have a short limit
            folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            quiet |= {"address": "local", "include_dashboard": False, "_temp_dir": folder, **share}
        else:
            _check_answer(address)
            quiet |= {"address": address, "runtime_env": _environment()}
        stack.callback(ray.shutdown)
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(**quiet)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
            if address is None:
                raise InputError(f"executor.ray: {' '.join(str(error).split())[:300]}") from error
            raise InputError(f"executor.ray.address: {_explained(address, error)}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own ends the process at once
        yield


def _check_answer(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        InputError: nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise InputError(f"executor.ray.address: {_explained(address, error)}") from error


def _environment() -> dict[str, Any]:
    """What workers of a cluster need of the driver: settings, and the user's own modules.

    Less what a job of the cluster has settled already: Ray takes neither twice.
    """
    job = json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")).get("runtime_env") or {}
    told = {
        name: os.environ[name]
        for name in CARRIED
        if name in os.environ and name not in job.get("env_vars", {})
    }
    modules = [str(path) for path in own_modules()]
    # an empty list of modules is an error to Ray
    carries = modules and "py_modules" not in job
    return {"env_vars": told, **({"py_modules": modules} if carries else {})}


def _explained(address: str, error: BaseException) -> str:
    message = " ".join(str(error).split())
    if "ersion mismatch" in message or "different version" in message.lower():
        return (
            f"the cluster at {address!r} runs another version of Ray or Python; "
            f"install the same on both ({message[:300]})"
        )
    if "auth" in message.lower() or "token" in message.lower():
        return (
            f"the cluster at {address!r} wants another token; copy ~/.ray/auth_token of its head "
            f"here and set RAY_AUTH_MODE=token ({message[:200]})"
        )
    return (
        f"no Ray cluster answers at {address!r}; start one with `ray start --head`, "
        f"or leave address out to use this machine ({message[:200]})"
    )


def own_share(
    cpus: float, gpus: float, workers: int | None, resources: Mapping[str, float]
) -> dict[str, Any]:
    """What a Ray of our own is told to have: the machine's cores, and enough for all workers."""
    many = workers or 1
    return {
        "num_cpus": max(len(os.sched_getaffinity(0)), math.ceil(cpus * many)),
        "num_gpus": _gpus() if gpus else 0,
        "resources": {name: math.ceil(amount * many) for name, amount in resources.items()},
    }


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def nodes() -> list[dict[str, float]]:
    """The resources of every node that lives."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def room(needs: Mapping[str, float]) -> int:
    """How many of `needs` the nodes hold together, all of each on one node."""
    wanted = {name: amount for name, amount in needs.items() if amount > 0}
    if not wanted:
        return len(nodes())
    return sum(
        int(min((node.get(name, 0.0) + 1e-9) // amount for name, amount in wanted.items()))
        for node in nodes()
    )


def owners_of(
    targets: Sequence[str], found: Sequence[Mapping[str, float]], *, own: bool
) -> dict[str, str]:
    """Target -> the resource of the node that measures on it.

    That is the node which claims it, else the driver's; in a Ray of our own, which never has
    another node, any worker will do.
    """
    claimed = {name for node in found for name in node if name.startswith(OWNED)}
    nobody = TRAIN if own else _here()
    return {t: OWNED + t if OWNED + t in claimed else nobody for t in targets}


def _here() -> str:
    """The resource that the driver's own node has."""
    own = ray.get_runtime_context().get_node_id()
    [address] = [n["NodeManagerAddress"] for n in ray.nodes() if n["NodeID"] == own]
    return f"node:{address}"


def check_room(what: str, needs: Mapping[str, float]) -> None:
    """See that some node has all of it.

    Raises:
        InputError: none has.
    """
    if room(needs):
        return
    asked = ", ".join(f"{name}: {amount:g}" for name, amount in needs.items() if amount)
    offered = "; ".join(_shown(node) for node in nodes())
    raise InputError(
        f"executor.ray: {what} needs {asked} on one node; the cluster has {offered}; "
        "ask for less, or start a node that has it"
    )


def _shown(node: Mapping[str, float]) -> str:
    """What a user may ask a node for."""
    own = {k: v for k, v in node.items() if not k.startswith("node:") and "memory" not in k}
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in sorted(own.items())) + "}"


def say(line: str) -> None:
    """One line for the user, beside the live line."""
    print(f"paretune: {line}", file=sys.stderr)
