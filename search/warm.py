"""Warm start: what earlier studies of the same database know of candidates that are ours too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from objectives.tasks import load
from search.artifacts import Artifacts, weights_name
from search.errors import InputError
from search.evaluation import Artifact, Evaluation, worked_s
from search.keys import keys_of
from search.state import Known
from search.store.store import Store
from search.store.stored import Stored
from search.study import StudySpec
from spaces.candidate import Candidate
from spaces.choice import Scalar


@dataclass(frozen=True)
class Earlier:
    """A candidate that an earlier study has trained."""

    study: str
    trial: int
    candidate: Candidate
    parameters: Mapping[str, Scalar]
    """An assignment of our open choices that decodes to it."""
    scores: Mapping[int, Evaluation]
    """Rung of ours -> its evaluation there; one at least."""
    files: tuple[Artifact, ...]
    """What is kept of its full training: of members of the earlier study's front."""

    @property
    def last(self) -> int:
        """The highest rung known."""
        return max(self.scores)

    def told(self, trial: Known, rung: int, epochs: int) -> Evaluation:
        """Its evaluation at a rung as one of ours, which took none of our time."""
        found = self.scores[rung]
        return replace(
            found,
            trial=trial.number,
            candidate=trial.candidate,
            status="done" if rung == epochs else "trained",
            reason=f"known from trial {self.trial} of study {self.study}",
            seconds={"earlier": worked_s(found.seconds)},
            artifacts=(),
        )

    def adopted(self, key: str, study: str, folder: Artifacts) -> tuple[Artifact, ...] | None:
        """The files as those of `study`'s candidate `key`; None if they are not all there.

        A checkpoint is shared by all studies; each has weights of its own.
        """
        taken = []
        for file in self.files:
            name = weights_name(study, key) if file.kind == "weights" else file.id
            try:
                with folder.open_reader(file.id) as content:
                    if name != file.id:
                        folder.write(name, content)
            except FileNotFoundError:
                return None
            taken.append(replace(file, id=name))
        return tuple(taken) if {file.kind for file in taken} == {"checkpoint", "weights"} else None


def check_earlier(study: StudySpec, store: Store) -> None:
    """Whether the studies that `search.warm_start` names can tell us anything.

    Raises:
        InputError: there is none of a name, or it is scored by another metric.
    """
    for name in study.search.warm_start:
        objectives = Stored(store.engine, name).objectives()
        if name == study.name or objectives is None:
            what = "is this study" if name == study.name else "is not in the database"
            raise InputError(
                f"search.warm_start: {name!r} {what}; name earlier studies of {study.storage}"
            )
        if study.metric.name not in objectives:
            raise InputError(
                f"search.warm_start: study {name!r} has no {study.metric.name} "
                f"({', '.join(objectives)}); name one that is scored as this one is"
            )


def earlier_trials(study: StudySpec, store: Store) -> dict[str, Earlier]:
    """Candidate key -> what is known of it, for all that this study could propose.

    A key says that data, epochs, seed and sources are the same; of two studies that know a
    candidate the one named first counts, unless the other trained it further. Those with files
    come first: beside them fewer of the others join the front, and none of these can be known.
    """
    found: dict[str, Earlier] = {}
    for name in study.search.warm_start:
        theirs = Stored(store.engine, name)
        files, known = theirs.artifacts(), theirs.keys()
        for item in theirs.trials():
            scores = _scores(study, item.evaluations)
            if item.repeats is not None or not scores:
                continue
            key = keys_of(item.candidate, study).key
            parameters = _assignment(study, item.candidate, key)
            if key != known[item.number] or parameters is None:
                continue
            kept = tuple(f for f in files.get(item.number, ()) if f.epoch == study.epochs)
            earlier = Earlier(name, item.number, item.candidate, parameters, scores, kept)
            if key not in found or found[key].last < earlier.last:
                found[key] = earlier
    return dict(sorted(found.items(), key=lambda item: not item[1].files))


def _scores(study: StudySpec, evaluations: Sequence[Evaluation]) -> dict[int, Evaluation]:
    metric = study.metric.name
    return {
        e.rung: replace(e, measurements={metric: e.measurements[metric]})
        for e in evaluations
        if e.rung in study.search.rungs and metric in e.measurements
    }


def _assignment(study: StudySpec, candidate: Candidate, key: str) -> dict[str, Scalar] | None:
    """Values of our open choices that make this candidate, or None where our space lacks it."""
    try:
        parameters = study.space.encode(candidate)
        decoded = study.space.decode(parameters, load(study.task).input_shape)
    except (KeyError, ValueError, StopIteration):
        return None
    return parameters if keys_of(decoded, study).key == key else None
