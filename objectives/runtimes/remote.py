"""A target elsewhere: the model travels over ssh and is timed where it will run.

There it needs a POSIX shell, tar, Python 3.9, numpy and ONNX Runtime; nothing is installed and the
folder of every visit is removed at its end, also when the connection broke meanwhile. ssh asks
nothing: keys come from the agent or ~/.ssh, the host's key must be known already, passwords are
not used.
"""

import functools
import io
import json
import math
import os
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from objectives import agent
from objectives.device import Turnstile
from objectives.measurement import Condition, Measurement
from objectives.runtimes.deployment import Deployment, DeploymentError
from objectives.timing import TimingPlan, measurement

PREFIX = "ssh://"
CONNECT_S = 10
"""Seconds in which a host must answer."""
PATIENCE_S = 60
"""Seconds for a visit besides the timing: copying, starting Python, loading the model."""
LONGEST_FOLDER = 60
"""Of a shared connection's socket, whose whole path may have 107 characters; with a longer one
every visit makes a connection of its own."""
OPTIONS = (
    "-T",
    "-oBatchMode=yes",
    "-oStrictHostKeyChecking=yes",
    f"-oConnectTimeout={CONNECT_S}",
    "-oServerAliveInterval=5",
    "-oServerAliveCountMax=3",
)
_ADDRESS = re.compile(r"ssh://(?:(\w[\w.-]*)@)?(\w[\w.-]*|\[[0-9a-fA-F:]+\])(?::(\d+))?")
_VISIT = (
    'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && trap "exit 1" HUP INT TERM && '
    'tar x -C "$d" && cd "$d" && OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 {command}'
)


class TargetAwayError(RuntimeError):
    """The target does not answer; nothing is wrong with the network that was to be timed."""


def address_problem(device: str) -> str | None:
    """Why `device` is not an address of a host, or None."""
    if _ADDRESS.fullmatch(device) is None:
        return f"{device!r} is not ssh://USER@HOST or ssh://USER@HOST:PORT"
    return None


@functools.lru_cache
def probe(device: str, threads: int, python: str) -> Mapping[str, Condition]:
    """What the host says of itself: processor, cores, system, version of ONNX Runtime.

    Raises:
        TargetAwayError: it does not answer, or lacks Python, numpy or ONNX Runtime.
    """
    found: dict[str, Condition] = _visit(
        device, {}, python, ["--conditions", str(threads)], CONNECT_S
    )
    return found


@dataclass(frozen=True, kw_only=True)
class RemoteDeployment(Deployment):
    """An ONNX file that is scored here and timed on the host; answers must agree."""

    device: str
    threads: int
    precision: str
    python: str

    def time(
        self, inputs: Tensor, batch: int, plan: TimingPlan, turnstile: Turnstile
    ) -> Measurement:
        """Send file and inputs, time there, compare the answers with ours.

        Raises:
            TargetAwayError: the host does not answer.
            DeploymentError: the file answers differently there.
        """
        sent = inputs[:8].contiguous()
        request = {
            "threads": self.threads,
            "batch": batch,
            "cores": list(plan.cores),
            "clock": plan.clock,
            "precision": plan.precision,
            "max_s": plan.max_s,
            "limit_ms": plan.limit_ms if plan.limit_ms < float("inf") else None,
        }
        files = {
            "model.onnx": self.artefact,
            "inputs.npz": _npz(sent.numpy()),
            "request.json": json.dumps(request).encode(),
        }
        with Turnstile(self.device.removeprefix(PREFIX).replace("/", "_")).quiet():
            answer = _visit(self.device, files, self.python, [".", "--time"], 10 * plan.max_s)
        there, here = np.array(answer["answers"], np.float32), self.run(sent).numpy()
        compared = agent.compare(there, here, agent.TOLERANCES[self.precision])
        if not compared["holds"]:
            raise DeploymentError(
                f"the file answers differently on {self.device}: by "
                f"{compared['largest_difference']:.1e} of the largest output"
            )
        timed = measurement(answer["timed"], plan)
        conditions = {**answer["conditions"], **timed.conditions}
        return Measurement(**{**vars(timed), "conditions": conditions})


def _visit(
    device: str,
    files: Mapping[str, bytes],
    python: str,
    arguments: Sequence[str],
    work_s: float,
) -> Any:
    """What the agent prints as JSON in a folder on the host with `files`."""
    patience_s = math.ceil(work_s + PATIENCE_S)
    words = [python, "verify.py", *arguments, "--give-up", str(patience_s)]
    command = " ".join(map(shlex.quote, words))
    match = _ADDRESS.fullmatch(device)
    assert match is not None, device
    user, host, port = match.groups()
    place = [*(["-l", user] if user else []), *(["-p", port] if port else [])]
    remote_command = f"sh -c {shlex.quote(_VISIT.format(command=command))}"
    try:
        done = subprocess.run(
            ["ssh", *OPTIONS, *_sharing(), *place, "--", host.strip("[]"), remote_command],
            input=_tar({**files, "verify.py": Path(agent.__file__).read_bytes()}),
            capture_output=True,
            timeout=patience_s,
        )
    except FileNotFoundError as error:
        raise TargetAwayError(f"{device}: there is no ssh command on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise TargetAwayError(f"{device}: no answer in {error.timeout:.0f} s") from error
    if done.returncode != 0:
        raise TargetAwayError(f"{device}: {_reason(done.stderr.decode(errors='replace'))}")
    try:
        return json.loads(done.stdout.decode(errors="replace").strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise TargetAwayError(f"{device}: its answer is not what was asked for") from error


def _sharing() -> tuple[str, ...]:
    """One connection for many visits, kept for a minute; its socket is this user's alone."""
    folder = Path(tempfile.gettempdir()) / f"paretune-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if len(str(folder)) > LONGEST_FOLDER:
        return ()
    return ("-oControlMaster=auto", f"-oControlPath={folder}/ssh-%C", "-oControlPersist=60")


REMEDIES = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key has changed; if that is right, remove the old one with ssh-keygen -R",
    ),
    (
        "Host key verification failed",
        "the host's key is not known here; check it and connect once with ssh",
    ),
    ("Permission denied", "the host refuses every key that ssh offers; add one with ssh-copy-id"),
    (
        "No module named",
        "its python lacks numpy or onnxruntime; install them, or name another with "
        "runtime: {onnxruntime: {python: PATH}}",
    ),
    ("not found", "there python3 or tar is missing; install it"),
)
"""What ssh or the host says -> what it means and what to do."""


def _reason(stderr: str) -> str:
    """One line of what went wrong."""
    lines = [line.strip() for line in stderr.strip().splitlines() if line.strip()]
    last = lines[-1][:200] if lines else "the connection ended without a word"
    for told, meaning in REMEDIES:
        if told in stderr:
            return f"{meaning} ({last})"
    return last


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _npz(inputs: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, inputs=inputs)
    return buffer.getvalue()
