"""All choices of a study, and the way from their values to a candidate and back."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from spaces.candidate import Candidate, Options
from spaces.choice import Choice, Fixed, Range, Scalar, Values, draw, members, representatives
from spaces.compression import Canonical, Step, TrainingFree
from spaces.families import Family, Own
from spaces.part import Part

FAMILY = "architecture"
"""Name of the choice between families, where there are several."""


@dataclass(frozen=True)
class Group:
    """A part and the choices made for its fields."""

    prefix: str
    """Dotted path of the part, such as `architecture.convnet`."""
    part: Part
    choices: tuple[Choice, ...]

    def options(self, values: Mapping[str, Scalar]) -> dict[str, Any]:
        """Field -> value, or tuple of values a stage, of the active choices."""
        options: dict[str, Any] = {}
        for choice in self.choices:
            if choice.name not in values:
                continue
            field, _, stage = choice.name.removeprefix(f"{self.prefix}.").partition(".")
            value = values[choice.name]
            options[field] = (*options.get(field, ()), value) if stage else value
        return options


@dataclass(frozen=True)
class Space:
    """Families, training, augmentation and compression of a study with all their choices."""

    families: tuple[Group, ...]
    training: Group
    augmentation: Group
    compression: tuple[Group, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every group, in the order in which choices are decided."""
        return (*self.families, self.training, self.augmentation, *self.compression)

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Every choice, also those with a fixed value."""
        names = tuple(group.part.name for group in self.families)
        family = (Choice(FAMILY, Values(names)),) if len(names) > 1 else ()
        return (*family, *(choice for group in self.groups for choice in group.choices))

    @property
    def open_choices(self) -> tuple[Choice, ...]:
        """The choices that are left to a sampler."""
        return tuple(c for c in self.choices if not isinstance(c.domain, Fixed))

    def decode(self, parameters: Mapping[str, Scalar], input_shape: tuple[int, ...]) -> Candidate:
        """The canonical candidate of a full assignment of the open choices.

        Choices that do not matter are dropped: those whose condition does not hold, those of
        other families, of stages that do not exist, of a training that does not read them, of
        augmentations and steps that are off.
        """
        values = self.active(parameters)
        family = self._family(values)
        options = {**family.part.defaults, **family.options(values)}
        steps = (
            (group.part.name, group.part.make(group.options(values))) for group in self.compression
        )
        return Candidate(
            family=family.part.name,
            architecture=_canonical(family.part, options, input_shape),
            training=self.training.part.make(self.training.options(values)).in_use(),
            augmentation=self.augmentation.part.make(self.augmentation.options(values)).in_use(),
            compression=tuple(
                (name, _plain(step.canonical() if isinstance(step, Canonical) else step))
                for name, step in steps
                if not step.idle()
            ),
        )

    def active(self, parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Values of the choices whose conditions hold, fixed ones included, in order."""
        values: dict[str, Scalar] = {}
        for choice in self.choices:
            if not choice.when or choice.active(values):
                domain = choice.domain
                values[choice.name] = (
                    domain.value if isinstance(domain, Fixed) else parameters[choice.name]
                )
        return values

    def encode(self, candidate: Candidate) -> dict[str, Scalar]:
        """An assignment of the open choices that decodes to `candidate`.

        A choice that is inactive in `candidate` gets the first value of its domain.
        """
        known = {
            FAMILY: candidate.family,
            **_flat(f"{FAMILY}.{candidate.family}", candidate.architecture),
        }
        # what does not matter there is at its default, which switches nothing on
        for group in (self.training, self.augmentation):
            chosen = getattr(candidate, group.prefix)
            known |= _flat(group.prefix, {**group.part.defaults, **chosen})
        for group in self.compression:
            idle = _idle_options(group)
            known |= _flat(group.prefix, dict(candidate.compression).get(group.part.name, idle))
        return {
            choice.name: _possible(choice, known.get(choice.name)) for choice in self.open_choices
        }

    def family(self, candidate: Candidate) -> Family:
        """The family with the candidate's choices, ready to check and build."""
        group = next(g for g in self.families if g.part.name == candidate.family)
        return _make_family(group.part, candidate.architecture)

    def check(
        self,
        candidate: Candidate,
        input_shape: tuple[int, ...],
        outputs: int,
        vocabulary: tuple[int, ...] = (),
    ) -> str | None:
        """The reason why the candidate's choices do not fit each other or the task, or None."""
        try:
            return self.family(candidate).check(input_shape, outputs, vocabulary)
        except ValueError as error:
            return f"{candidate.family}: {str(error).splitlines()[0]}"

    def build(
        self,
        candidate: Candidate,
        input_shape: tuple[int, ...],
        outputs: int,
        vocabulary: tuple[int, ...] = (),
    ) -> nn.Module:
        """The candidate's network before compression, freshly initialised."""
        return self.family(candidate).build(input_shape, outputs, vocabulary)

    def pipeline(self, candidate: Candidate) -> tuple[tuple[str, Step], ...]:
        """(name, step) in order: those of the candidate that change something."""
        parts = {group.part.name: group.part for group in self.compression}
        return tuple((name, parts[name].make(options)) for name, options in candidate.compression)

    def training_free(self, candidate: Candidate) -> bool:
        """Whether the candidate's compression needs no training; that of none is."""
        steps = (step for _, step in self.pipeline(candidate))
        return all(isinstance(step, TrainingFree) and step.training_free() for step in steps)

    def draw(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """A random full assignment of the open choices."""
        return {choice.name: draw(choice.domain, rng) for choice in self.open_choices}

    def size(self) -> tuple[int, int]:
        """(assignments of all finite open choices, families counted apart; continuous choices).

        Assignments that decode to the same candidate are counted each.
        """
        shared = [c for g in self.groups if g not in self.families for c in g.choices]
        finite = sum(_product(group.choices) for group in self.families) * _product(shared)
        return finite, sum(members(c.domain) is None for c in self.choices)

    def assignments(self, most: int) -> list[dict[str, Scalar]] | None:
        """Every assignment of the open choices; None if there are more than `most`."""
        names = [choice.name for choice in self.open_choices]
        domains = [members(choice.domain) for choice in self.open_choices]
        finite = [domain for domain in domains if domain is not None]
        if len(finite) < len(domains) or math.prod(map(len, finite)) > most:
            return None
        return [dict(zip(names, values, strict=True)) for values in itertools.product(*finite)]

    def siblings(
        self, parameters: Mapping[str, Scalar], most: int, rng: np.random.Generator
    ) -> list[dict[str, Scalar]]:
        """Assignments that differ from `parameters` in their compression alone.

        All where there are no more than `most`; else none at all, and each step alone and all of
        them in turn with choices at random. Some may decode to the same candidate.
        """
        choices = [c for c in self.open_choices if c.name.startswith("compression.")]
        domains = [members(choice.domain) for choice in choices]
        finite = [domain for domain in domains if domain is not None]
        if len(finite) == len(domains) and math.prod(map(len, finite)) <= most:
            names = [choice.name for choice in choices]
            found = [dict(zip(names, each, strict=True)) for each in itertools.product(*finite)]
        else:
            idle = self._idle()
            drawn = [{c for c in group.choices if c in choices} for group in self.compression]
            turns = itertools.cycle([*filter(None, drawn), set(choices)])
            found = [idle] + [
                {c.name: draw(c.domain, rng) if c in some else idle[c.name] for c in choices}
                for some in itertools.islice(turns, most - 1)
            ]
        return [{**parameters, **each} for each in found]

    def source(self) -> str:
        """Hash of the sources of the user's own parts; empty where there are none."""
        return "".join(group.part.source for group in self.groups)

    def _idle(self) -> dict[str, Scalar]:
        """Open choices of the compression, so that no step changes anything where that can be."""
        known: dict[str, Any] = {}
        for group in self.compression:
            known |= _flat(group.prefix, _idle_options(group))
        choices = (c for c in self.open_choices if c.name.startswith("compression."))
        return {choice.name: _possible(choice, known.get(choice.name)) for choice in choices}

    def _family(self, values: Mapping[str, Scalar]) -> Group:
        if len(self.families) == 1:
            return self.families[0]
        return next(g for g in self.families if g.part.name == values[FAMILY])


def _make_family(part: Part, options: Options) -> Family:
    """A family is a dataclass; any other callable builds a network of the user's own."""
    if dataclasses.is_dataclass(part.factory):
        made: Family = part.make(options)
        return made
    return Own(part.factory, options)


def _canonical(part: Part, options: Options, input_shape: tuple[int, ...]) -> Options:
    """Canonical fields; as they are if the family refuses them (`check` says why)."""
    try:
        return _plain(_make_family(part, options).canonical(input_shape))
    except ValueError:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def _plain(part: Any) -> Options:
    """A part's fields as JSON data."""
    fields = part.options if isinstance(part, Own) else dataclasses.asdict(part)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _flat(prefix: str, options: Options) -> dict[str, Any]:
    """Options by dotted name, stages counted from 1.

    A per-stage field is known under its plain name too, by the first value that is not 0 (a
    skipped pooling), for spaces that choose one value for all stages.
    """
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, (list, tuple)):
            flat |= {f"{prefix}.{name}.{stage}": v for stage, v in enumerate(value, 1)}
            flat[f"{prefix}.{name}"] = next((v for v in value if v), next(iter(value), None))
        else:
            flat[f"{prefix}.{name}"] = value
    return flat


def _idle_options(group: Group) -> Options:
    """Options of a step of the space that change nothing, if there are any; stages alike."""
    first = {choice.name: representatives(choice.domain)[0] for choice in group.choices}
    for choice in group.choices:
        field = choice.name.removeprefix(f"{group.prefix}.").partition(".")[0]
        same = [n for n in first if n == choice.name or n.startswith(f"{group.prefix}.{field}.")]
        for value in members(choice.domain) or ():
            options = group.options({**first, **dict.fromkeys(same, value)})
            with suppress(TypeError, ValueError):  # options that do not fit each other
                if group.part.make(options).idle():
                    return options
    return {}


def _possible(choice: Choice, value: Any) -> Scalar:
    """`value` if the choice can take it, else the first of its domain.

    What it cannot take was not chosen: a skipped pooling, the default of an inactive choice.
    """
    domain, values = choice.domain, members(choice.domain)
    if isinstance(domain, Range) and values is None and value is not None:
        inside = domain.low <= value <= domain.high
    else:
        inside = value in (values or ())
    possible: Scalar = value if inside else representatives(domain)[0]
    return possible


def _product(choices: Iterable[Choice]) -> int:
    return math.prod(len(members(choice.domain) or (0,)) for choice in choices)
