"""One training on several devices: a process each, the same steps as one process would do.

Batches are shared out and gradients summed (see `training.peers`), so `batch` means what it means
on one device. Statistics of batch normalisation are those of the whole batch. Different from one
process are the rounding of sums, and which units dropout drops.

Each process reads the data itself. For a network that one device trains in milliseconds a step,
the exchange costs more than it saves.
"""

import io
import multiprocessing
import os
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from objectives.batch_norm import share_statistics
from objectives.device import Turnstile
from objectives.tasks.task import Task, load
from objectives.training import Augment, NonFiniteLossError, Progress, Training, begin, train
from objectives.training.peers import Peers

PRELOAD = ["objectives.parallel"]
"""Imported by the server that the processes are forked from: torch is loaded once, not by each."""


class PeerError(RuntimeError):
    """A process of several that train together failed or died."""


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What every process is to do; picklable."""

    started: bytes
    """(network, state of its progress), saved by torch."""
    task: Task
    settings: Training
    augment: Augment
    epochs: int
    until_epoch: int
    devices: tuple[str, ...]
    threads: int
    turnstile: str
    meeting: str
    """A file that does not exist yet, where the processes find each other."""
    teacher: Tensor | None


def devices_of(device: str, count: int) -> tuple[str, ...]:
    """`device`, or of several the first `count` of its kind; the CPU so many times.

    >>> devices_of("cuda", 2)
    ('cuda:0', 'cuda:1')
    """
    if count == 1:
        return (device,)
    kind = device.partition(":")[0]
    return tuple(f"{kind}:{index}" if kind == "cuda" else kind for index in range(count))


def train_on(
    devices: tuple[str, ...],
    progress: Progress,
    task: Task,
    settings: Training,
    augment: Augment,
    *,
    epochs: int,
    until_epoch: int,
    threads: int,
    turnstile: Turnstile,
    teacher: Tensor | None = None,
) -> None:
    """`train` here on one device, or by a process on each of several.

    `epochs`: of the full training, as `begin` was told. `threads`: CPU threads of each process.
    With several devices everything given must be picklable, the network too, and `progress` ends
    on the CPU.

    Raises:
        NonFiniteLossError: the loss became infinite or not a number.
        PeerError: a process of several failed or died.
    """
    if len(devices) == 1:
        train(
            progress,
            task,
            settings,
            augment,
            until_epoch=until_epoch,
            device=devices[0],
            turnstile=turnstile,
            teacher=teacher,
        )
        return
    if progress.epoch >= until_epoch or progress.stopped:
        progress.epoch = max(progress.epoch, until_epoch)
        progress.network.eval()
        return
    progress.to("cpu")
    with tempfile.TemporaryDirectory() as folder:
        order = _Order(
            started=_saved((progress.network, progress.state())),
            task=task,
            settings=settings,
            augment=augment,
            epochs=epochs,
            until_epoch=until_epoch,
            devices=devices,
            threads=threads,
            turnstile=turnstile.device,
            meeting=str(Path(folder) / "meeting"),
            teacher=teacher,
        )
        state, waited_s = _run(order)
    turnstile.waited_s += waited_s
    progress.restore(torch.load(io.BytesIO(state), map_location="cpu", weights_only=True))
    progress.network.eval()


def _saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def _run(order: _Order) -> tuple[bytes, float]:
    """(final state, seconds of waiting) of the first process, once all are done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)  # without effect where a server runs already
    with ExitStack() as stack:
        pipes: list[Connection] = []
        for rank in range(len(order.devices)):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, rank, order), daemon=True)
            process.start()
            theirs.close()
            stack.callback(_end, process)
            pipes.append(ours)
        found: dict[Any, Any] = {}
        while len(found) < len(pipes):
            for pipe in wait([pipe for pipe in pipes if pipe not in found]):
                found[pipe] = _received(pipes, pipe)
        result: tuple[bytes, float] = found[pipes[0]]
        return result


def _received(pipes: list[Connection], pipe: Any) -> Any:
    """What a process answers.

    Raises:
        NonFiniteLossError: its training diverged.
        PeerError: it failed otherwise, or died.
    """
    try:
        answer = pipe.recv()
    except EOFError as error:
        raise PeerError(f"process {pipes.index(pipe) + 1} of {len(pipes)} died") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _end(process: Any) -> None:
    process.kill()
    process.join()
    process.close()


def _work(pipe: Connection, rank: int, order: _Order) -> None:
    """One process: train, answer with (state, seconds) or the exception."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        pipe.send(_train(rank, order))
    except NonFiniteLossError as error:
        pipe.send(error)
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        pipe.send(PeerError(told))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train(rank: int, order: _Order) -> tuple[bytes, float]:
    device = order.devices[rank]
    torch.set_num_threads(order.threads)
    if on_gpu := device.startswith("cuda"):
        torch.cuda.set_device(device)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all are on this machine
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"file://{order.meeting}",
        rank=rank,
        world_size=len(order.devices),
    )
    try:
        progress, turnstile = _resumed(order), Turnstile(order.turnstile)
        share_statistics(progress.network)
        train(
            progress,
            order.task,
            order.settings,
            order.augment,
            until_epoch=order.until_epoch,
            device=device,
            turnstile=turnstile,
            teacher=order.teacher,
            peers=Peers(rank, len(order.devices)),
        )
        return (_saved(progress.state()) if rank == 0 else b"", turnstile.waited_s)
    finally:
        distributed.destroy_process_group()


def _resumed(order: _Order) -> Progress:
    started = io.BytesIO(order.started)
    network: nn.Module
    network, state = torch.load(started, map_location="cpu", weights_only=False)
    progress = begin(
        network,
        order.settings,
        examples=len(load(order.task).train),
        epochs=order.epochs,
        seed=0,  # of the generator, whose state is restored
    )
    progress.restore(state)
    return progress
