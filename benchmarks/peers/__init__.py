"""Searchers of other projects, each in an environment of its own: `make peers`."""

import json
import os
import resource
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = Path(__file__).parent.parent.parent / ".peers"
PEERS = {
    "pymoo_nsga2": "pymoo",
    "syne_tune_morea": "syne_tune",
    "syne_tune_moasha": "syne_tune",
    "botorch_qlognehvi": "ax",
    "ax_default": "ax",
    "neps_bo": "neps",
}
"""Peer -> environment; BoTorch comes with Ax."""


def ask_peer(
    peer: str,
    choices: Sequence[int],
    ends: tuple[Sequence[float], Sequence[float]],
    seed: int,
    train: Callable[[list[int], int | None], list[float] | None],
    rungs: Sequence[int] = (),
) -> float:
    """CPU seconds of a peer that trains networks until `train` has no more losses for it.

    Args:
        peer: its file here.
        choices: number of options of each choice.
        ends: ideal point and reference, as losses.
        seed: of its draws.
        train: options of a network and epochs (None for a full training) -> its losses.
        rungs: epochs at which it may ask for losses.

    Raises:
        RuntimeError: it is not installed, or it ended by itself.
    """
    python = ENVIRONMENTS / PEERS[peer] / "bin" / "python"
    if not python.exists():
        raise RuntimeError(f"{peer} is not installed; make peers")
    before = _children_s()
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        [python, HERE / f"{peer}.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **threads},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def tell(data: object) -> None:
            print(json.dumps(data), file=process.stdin, flush=True)

        tell(
            {
                "choices": list(choices),
                "ideal": list(ends[0]),
                "reference": list(ends[1]),
                "seed": seed,
                "rungs": list(rungs),
            }
        )
        for line in process.stdout:
            asked = json.loads(line)
            losses = train(asked["choices"], asked["epochs"])
            if losses is None:
                process.stdin.close()
                break
            tell(losses)
        else:
            raise RuntimeError(f"{peer} ended by itself, exit code {process.wait()}")
    return _children_s() - before


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
