"""Any nn.Module, by import path, as a subject with made-up inputs."""

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.analysis.subject import Subject, read_target, told
from search.errors import InputError
from spaces.families import Module
from spaces.families.pretrained import NetworkError
from spaces.importing import import_path

CALIBRATION = 8
"""Inputs of a module's deployment, made up: speed does not depend on their values."""


def read_module(options: argparse.Namespace) -> Subject:
    """The nn.Module, class or factory that the user names, with made-up inputs.

    Raises:
        InputError: it does not import, is no module, or does not take such inputs.
    """
    for key in ("member", "overrides"):
        if vars(options)[key]:
            raise InputError(f"{options.subject}: {key} is of a study file, not of a module")
    if options.input is None:
        raise InputError(f"{options.subject}: give the shape of one input: --input 3x32x32")
    shape = read_shape(options.input)
    target = read_target(options)
    network = _made(options, shape)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(max(CALIBRATION, target.batch), *shape, generator=generator)
    subject = Subject(
        title=options.subject, network=network.eval(), calibration=inputs, target=target
    )
    _check_runs(subject, options.input)
    return subject


def changeable(options: argparse.Namespace) -> list[str]:
    """Lines that say what the part `module` can change in the network that the user names.

    Raises:
        InputError: it cannot be made, or does not take such inputs.
    """
    if ":" not in options.subject or options.input is None:
        raise InputError(
            f"{options.subject}: --changeable takes package.module:name and --input 3x32x32"
        )
    _import_from_here()
    shape = read_shape(options.input)
    try:
        return Module(factory=options.subject).derived(shape, options.outputs).listing()
    except NetworkError as error:
        raise InputError(f"{options.subject}: {error}") from error


def read_shape(text: str) -> tuple[int, ...]:
    """The shape of one input, without the batch.

    >>> read_shape("3x32x32")
    (3, 32, 32)

    Raises:
        InputError: not whole numbers above 0 between x or commas.
    """
    sides = text.lower().replace(",", "x").split("x")
    if not all(side.strip().isdecimal() and int(side) > 0 for side in sides):
        raise InputError(
            f"--input: {text!r} is not a shape of one input; write sides above 0: 3x32x32"
        )
    return tuple(map(int, sides))


def _made(options: argparse.Namespace, shape: tuple[int, ...]) -> nn.Module:
    """The module at the import path, built if it is a class or a factory.

    Raises:
        InputError: it does not import, cannot be built, or is no nn.Module.
    """
    _import_from_here()
    try:
        found: Any = import_path(options.subject)
    except ValueError as error:
        raise InputError(str(error)) from error
    if isinstance(found, nn.Module):
        return found
    known = {"input_shape": shape, "outputs": options.outputs}
    try:
        wanted = inspect.signature(found).parameters
        made = found(**{k: v for k, v in known.items() if k in wanted})
    except Exception as error:
        raise InputError(f"{options.subject}: cannot be built: {told(error)}") from error
    if not isinstance(made, nn.Module):
        raise InputError(
            f"{options.subject}: it is a {type(made).__name__}, not a torch.nn.Module; "
            "name a module, its class, or a factory that returns one"
        )
    return made


def _import_from_here() -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def _check_runs(subject: Subject, shape: str) -> None:
    try:
        with torch.no_grad():
            subject.network(subject.inputs())
    except Exception as error:
        raise InputError(
            f"--input: {subject.title} does not take inputs of {shape}: {told(error)}"
        ) from error
