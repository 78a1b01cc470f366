"""Which choices decide an objective, told from the candidates that were tried."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.store.view import ObjectiveView, StudyView
from spaces.candidate import Candidate

LEAST = 20
"""Candidates below which nothing is told."""
MOST = 500
"""Candidates that are looked at, drawn at random: enough for a rank, and a second of work."""
TREES, SHUFFLES, AT_ONCE = 64, 3, 16
TAUGHT = ("training.", "augmentation.")
"""Begin of the names of choices on which no cost depends."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How far choices tell an objective's values of the candidates that were tried."""

    objective: str
    explained: float
    """R squared of a forest on candidates that it was not grown on (out of bag)."""
    shares: Mapping[str, float]
    """Choice -> its share; they sum to 1."""


def flat(candidate: Candidate) -> dict[str, Any]:
    """Dotted name -> value of every choice that is active; lists by stage."""
    found: dict[str, Any] = {}
    sections: list[tuple[str, Mapping[str, Any]]] = [
        ("", candidate.architecture),
        ("training.", candidate.training),
        ("augmentation.", candidate.augmentation),
        *((f"{name}.", options) for name, options in candidate.compression),
    ]
    for prefix, options in sections:
        for name, value in options.items():
            if isinstance(value, list | tuple):
                found |= {f"{prefix}{name}[{i}]": v for i, v in enumerate(value)}
            else:
                found[f"{prefix}{name}"] = value
    found.setdefault("family", candidate.family)
    return {
        name: str(value) if isinstance(value, dict | list) or value is None else value
        for name, value in found.items()
    }


def varied(taken: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the choices that are not the same in all; each as `flat` tells it."""
    names = dict.fromkeys(name for each in taken for name in each)
    return [name for name in names if len({each.get(name) for each in taken}) > 1]


def importances(view: StudyView) -> list[Importance]:
    """One for each objective of which enough is known."""
    found = (_importance(view, objective) for objective in view.objectives)
    return [each for each in found if each is not None]


def _importance(view: StudyView, objective: ObjectiveView) -> Importance | None:
    """By permutation in a random forest, of logarithms where the scale has them.

    How much worse the forest tells an objective when the values of one choice are shuffled
    (Breiman 2001, doi:10.1023/A:1010933404324, section 10).
    """
    trials = [t for t in view.trials if objective.name in t.measurements]
    # scores of different rungs do not compare
    trials = [t for t in trials if t.status == "done" or not _scored(view, objective)]
    if len(trials) < LEAST:
        return None
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(0)
    if len(trials) > MOST:
        trials = [trials[i] for i in sorted(rng.choice(len(trials), MOST, replace=False))]
    taken = [flat(trial.candidate) for trial in trials]
    names = [n for n in varied(taken) if _scored(view, objective) or not n.startswith(TAUGHT)]
    values = np.array([t.measurements[objective.name].value for t in trials])
    if not names or values.min() == values.max():
        return None
    if view.scale is not None and view.scale.log[objective.name]:
        values = np.log(np.maximum(values, 1e-300))
    columns = np.array([_column([each.get(name) for each in taken]) for name in names]).T
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0, n_jobs=1)
    forest.fit(columns, values)
    errors = []
    # copies of several choices at once: a call of the forest costs more than its rows
    for some in np.array_split(np.arange(len(names)), math.ceil(len(names) / AT_ONCE)):
        shuffled = np.tile(columns, (len(some), SHUFFLES, 1, 1))
        for copies, place in zip(shuffled, some, strict=True):
            for copy in copies:
                copy[:, place] = rng.permutation(copy[:, place])
        told = forest.predict(shuffled.reshape(-1, len(names)))
        missed = (told.reshape(len(some), -1, len(values)) - values) ** 2
        errors += missed.mean(axis=(1, 2)).tolist()
    lost = (np.array(errors) - ((forest.predict(columns) - values) ** 2).mean()).clip(0.0)
    if lost.sum() == 0:
        return None
    return Importance(
        objective=objective.name,
        explained=max(0.0, float(forest.oob_score_)),
        shares=dict(zip(names, (lost / lost.sum()).tolist(), strict=True)),
    )


def _scored(view: StudyView, objective: ObjectiveView) -> bool:
    """Whether training decides it."""
    return view.scale is None or not view.scale.log[objective.name]


def _column(values: Sequence[Any]) -> list[float]:
    """Numbers as they are, other values by their place; -1 where the choice is inactive."""
    words = sorted({value for value in values if isinstance(value, str)})
    return [
        -1.0 if v is None else float(words.index(v)) if isinstance(v, str) else float(v)
        for v in values
    ]
