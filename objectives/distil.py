"""Another network as a teacher: loaded, checked against the task, asked once a process."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from objectives.tasks.task import Splits, Task, load
from objectives.training.answers import answers

SUFFIXES = (".onnx", ".pt2")
Run = Callable[[Tensor], Tensor]
"""Prepared inputs (N, ...) on the CPU -> outputs (N, K) on the CPU, float32."""


class TeacherError(ValueError):
    """A teacher that cannot be had or does not fit the task: what, and what to do about it."""


@lru_cache(maxsize=4)
def teacher_outputs(name: str, task: Task, device: str) -> Tensor:
    """What the teacher answers (N, K) on the training split in its order; asked once a process.

    Raises:
        TeacherError: there is no such teacher.
    """
    splits = load(task)
    with torch.inference_mode():
        outputs = answers(_load(name, device), splits.train.inputs, splits)
    return outputs.clone()  # outside inference mode: a loss may keep it for its gradient


def check_teacher(name: str, splits: Splits) -> str:
    """Hash of what the teacher is made of: the bytes of its file, or its source's.

    Raises:
        TeacherError: there is no such teacher, or its answers to two training inputs are not those
            of the task.
    """
    run = _load(name, "cpu")
    inputs = splits.prepare(splits.train.inputs[:2])
    try:
        with torch.inference_mode():
            shape = tuple(run(inputs).shape)
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TeacherError(
            f"teacher {name!r} fails on inputs of shape {tuple(splits.input_shape)} ({told}); "
            "give one that was made for this task"
        ) from error
    if shape != (2, splits.outputs):
        raise TeacherError(
            f"teacher {name!r} answers two inputs with shape {shape}, the task needs "
            f"{(2, splits.outputs)}; give one that was made for this task"
        )
    return hashlib.sha256(_made_of(name)).hexdigest()[:16]


def _load(name: str, device: str) -> Run:
    if name.endswith(SUFFIXES):
        return _load_file(_path(name), device)
    return _run_of(_make(name).eval().to(device), device)


def _path(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise TeacherError(
            f"teacher {name!r} does not exist; relative paths start where the command is given"
        )
    return path


def _load_file(path: Path, device: str) -> Run:
    try:
        if path.suffix == ".pt2":
            return _run_of(torch.export.load(path).module().to(device), device)
        from objectives.runtimes.onnxruntime import open_session

        return open_session(path.read_bytes(), torch.get_num_threads())[0]
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TeacherError(
            f"teacher {str(path)!r} does not load ({told}); give a file that search.export wrote"
        ) from error


def _run_of(network: nn.Module, device: str) -> Run:
    def run(inputs: Tensor) -> Tensor:
        outputs: Tensor = network(inputs.to(device))
        return outputs.float().cpu()

    return run


def _make(name: str) -> nn.Module:
    """The network that the function at `package.module:name` returns."""
    factory = _factory(name)
    try:
        with torch.random.fork_rng(devices=[]):
            network = factory()
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TeacherError(
            f"teacher {name!r} cannot be made ({told}); it is called without arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise TeacherError(
            f"teacher {name!r} returned {type(network).__name__}; return a torch.nn.Module"
        )
    return network


def _factory(name: str) -> Callable[[], Any]:
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise TeacherError(
            f"teacher {name!r} is neither 'package.module:name' nor a path that ends with "
            f"{' or '.join(SUFFIXES)}"
        )
    try:
        found: Any = vars(importlib.import_module(module_name)).get(attribute)
    except Exception as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise TeacherError(
            f"teacher {name!r}: module {module_name!r} does not import ({told}); it must stand "
            "beside the study file, in the current folder, or be installed"
        ) from error
    if not callable(found):
        raise TeacherError(
            f"teacher {name!r}: module {module_name!r} has no function {attribute!r}; add it"
        )
    made: Callable[[], Any] = found
    return made


def _made_of(name: str) -> bytes:
    """A file's bytes; a function's source file with a hash of the weights that it gives."""
    if name.endswith(SUFFIXES):
        return _path(name).read_bytes()
    source = Path(inspect.getfile(_factory(name))).read_bytes()
    first, again = _weights_hash(_make(name)), _weights_hash(_make(name))
    if first != again:
        raise TeacherError(
            f"teacher {name!r} returns other weights at each call; read them from a file, or fix "
            "the seed they come from"
        )
    return source + first


def _weights_hash(network: nn.Module) -> bytes:
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()
