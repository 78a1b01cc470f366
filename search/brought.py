"""Networks that the user brings are rehearsed before anything starts: made, fitted, answering.

The part `module` is built with the largest and with the smallest of its choices, for each factory
and weights; their sources go into every key.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from search.document import Document
from spaces.choice import representatives
from spaces.families import Module
from spaces.families.pretrained import NetworkError, evidence
from spaces.part import Part
from spaces.space import FAMILY, Group, Space

Signature = tuple[tuple[int, ...], int, tuple[int, ...]]
"""(shape of one input, outputs, vocabulary) of the task."""


def with_rehearsed(document: Document, space: Space, signature: Signature) -> Space:
    """`space` with the sources of the networks that it brings.

    Raises:
        InputError: one of them cannot be made, fitted to the task, or made smaller as asked.
    """
    families = tuple(
        dataclasses.replace(group, part=_rehearsed(document, group, signature))
        if group.part.factory is Module
        else group
        for group in space.families
    )
    return dataclasses.replace(space, families=families)


def _rehearsed(document: Document, group: Group, signature: Signature) -> Part:
    sources: dict[str, str] = {}
    for options in _extremes(group):
        made = Module(**options)
        try:
            if reason := made.check(*signature):
                raise NetworkError("factory", reason)
            made.rehearse(*signature)
            sources[f"{made.factory} {made.weights}"] = evidence(made.factory, made.weights)
        except NetworkError as error:
            path = ("space", FAMILY, group.part.name, error.field)
            raise document.error(path, str(error)) from error
    told = "".join(f"{name} {source}\n" for name, source in sorted(sources.items()))
    return dataclasses.replace(group.part, source=told)


def _extremes(group: Group) -> Iterator[dict[str, Any]]:
    """Options with the largest and with the smallest value of each, for all factories and weights.

    What the largest `drop` or the smallest `width` allows, those between allow too.
    """
    named = [c for c in group.choices if c.name.rpartition(".")[2] in ("factory", "weights")]
    for pick in (max, min):
        for chosen in itertools.product(*(representatives(c.domain) for c in named)):
            given = {c.name: value for c, value in zip(named, chosen, strict=True)}
            values: dict[str, Any] = {FAMILY: group.part.name}
            for choice in group.choices:
                if choice.active(values):
                    extreme = pick(representatives(choice.domain))
                    values[choice.name] = given.get(choice.name, extreme)
            yield group.options(values)
