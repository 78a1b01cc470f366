"""A candidate of a study as a subject: a member of its front, or the middle of its plan."""

import argparse
import dataclasses
import sys
from typing import Any

import torch
from torch import Tensor, nn

from objectives.costs import Latency
from objectives.tasks import load
from search.analysis.subject import Subject, read_target
from search.applying import CALIBRATION_PRICE, real_inputs, rebuild
from search.artifacts import store_at
from search.checkpoints import weights_id
from search.errors import InputError
from search.evaluate import evaluate
from search.evaluation import Price
from search.members import find_member
from search.plan import draw_candidates, make_plan
from search.spec import read_study
from search.store.view import StudyView, view_of
from search.study import StudySpec
from spaces.candidate import Candidate


def read_candidate(options: argparse.Namespace) -> Subject:
    """A member of a study's front, or else the middle candidate of its plan.

    Raises:
        InputError: the study file is wrong, or there is no such member.
    """
    if options.input is not None:
        raise InputError("--input: the inputs of a study are those of its task; leave it out")
    study = read_study(options.subject, tuple(options.overrides))
    name, known = next(iter(study.targets.items()))
    target = read_target(options, known)
    study = dataclasses.replace(study, targets={**study.targets, name: target})
    candidate, what = _chosen(study, options.member)
    network, inputs, precision, notes = build(candidate, study)
    return Subject(
        title=f"{study.name}: {what}",
        network=network,
        calibration=inputs,
        target=target,
        precision=precision,
        # a limit is for the study's own conditions
        limit_ms=latency_limit(study, name) if target == known else None,
        study=study,
        candidate=candidate,
        notes=notes,
    )


def latency_limit(study: StudySpec, target: str) -> float | None:
    """The limit of latency on a target, in ms, if there is one."""
    return next(
        (
            objective.limit
            for objective in study.objectives
            if isinstance(objective.cost, Latency) and objective.cost.target == target
        ),
        None,
    )


def _chosen(study: StudySpec, member: str | None) -> tuple[Candidate, str]:
    """(candidate, what it is in the study).

    Raises:
        InputError: a member is asked for and there is none such.
    """
    view: StudyView | None = None
    try:
        view = view_of(study.name, study.storage, whole=False)
    except InputError:
        if member is not None:
            raise
    if view is not None and (member is not None or view.members):
        trial = find_member(view, member or "knee")
        return trial.candidate, f"trial {trial.number}" + ("" if member else ", the knee")
    plan = view.plan if view is not None and view.plan else _fresh_plan(study)
    middle = Candidate.from_dict(plan["examples"]["middle"]["candidate"])
    return middle, "the middle candidate of the plan"


def _fresh_plan(study: StudySpec) -> Any:
    """The plan of a study that has none yet, priced here and not stored."""
    candidates = draw_candidates(study)
    print(f"no database yet: pricing the plan's {len(candidates)} candidates", file=sys.stderr)
    jobs = (Price(trial=None, candidate=candidate) for candidate in candidates)
    return make_plan(study, [evaluate(job, study, "cpu", 1) for job in jobs]).summary


def build(
    candidate: Candidate, study: StudySpec
) -> tuple[nn.Module, Tensor, str, tuple[str, ...]]:
    """(compressed network, real inputs, precision, notes); with its weights if they are stored.

    Costs do not depend on the weights: a candidate that never trained is analyzed alike.
    """
    inputs = real_inputs(study, CALIBRATION_PRICE)
    artifact = weights_id(candidate, study)
    try:
        with store_at(study.artifacts).open_reader(artifact) as file:
            network, precision = rebuild(candidate, study, torch.load(file, weights_only=True))
            return network, inputs, precision, ()
    except FileNotFoundError:
        note = "its weights are not stored: fresh ones, on which no cost depends"
    splits = load(study.task)
    torch.manual_seed(study.seed)
    network = study.space.build(candidate, *splits.signature).eval()
    precision = "fp32"
    for _, step in study.space.pipeline(candidate):
        precision = step.apply(network, inputs).precision or precision
    return network.eval(), inputs, precision, (note,)
