"""Which files of a study stay: those of trials in flight, and of the front's members."""

from collections import Counter
from collections.abc import Iterable, Mapping

from search.artifacts import Artifacts, weights_name
from search.evaluation import Artifact
from search.state import Known
from search.store.lease import LEASE_S
from search.store.store import Store


class Files:
    """Checkpoints and weights of a study. A row goes first, then its file, if nobody needs it."""

    def __init__(self, store: Store, folder: Artifacts, epochs: int) -> None:
        self.store = store
        self.folder = folder
        self.epochs = epochs
        self.newest: dict[str, Artifact] = {}
        """Train key -> its checkpoint with the most epochs, of whichever trial."""
        self.training: Counter[str] = Counter()
        """Train key -> trainings in flight: they read its files, or have just written them."""
        self.teachers: dict[str, int] = {}
        """Train key -> the trial that teaches it."""

    def note(self, trial: Known, artifacts: Iterable[Artifact]) -> None:
        """Take up what an evaluation of a trial left."""
        for artifact in artifacts:
            trial.artifacts.append(artifact)
            newest = self.newest.get(artifact.train_key)
            if artifact.kind == "checkpoint" and (not newest or newest.epoch < artifact.epoch):
                self.newest[artifact.train_key] = artifact

    def drop_unneeded(self, trial: Known, *, member: bool) -> None:
        """Let go of a finished trial's files: all, but for a member or teacher its last rung's."""
        member = member or any(
            teacher == trial.number and self.training[train_key]
            for train_key, teacher in self.teachers.items()
        )
        self.drop(trial, [a for a in trial.artifacts if not member or a.epoch < self.epochs])

    def drop(self, trial: Known, artifacts: Iterable[Artifact]) -> None:
        """Forget files of a trial, unless the same weights are being trained right now."""
        ids = [artifact.id for artifact in artifacts]
        if not ids or self.training[trial.keys.train_key]:
            return
        trial.artifacts = [artifact for artifact in trial.artifacts if artifact.id not in ids]
        for artifact_id in self.store.drop_artifacts(trial.number, ids):
            self.folder.remove(artifact_id)
            newest = self.newest.get(trial.keys.train_key)
            if newest and newest.id == artifact_id:
                del self.newest[trial.keys.train_key]

    def sweep(self, trials: Mapping[int, Known], front: tuple[int, ...]) -> None:
        """Remove what a run of this study that was cut off left behind.

        Only files that our own candidates can have written: others may share the folder.
        """
        for trial in trials.values():
            if trial.final is not None:
                self.drop_unneeded(trial, member=trial.number in front)
        known = self.store.known_artifacts()
        ours = tuple(f"checkpoint-{trial.keys.train_key}-" for trial in trials.values())
        ours += tuple(weights_name(self.store.study, t.keys.key) for t in trials.values())
        # a file younger than a lease may belong to a run whose row is about to be written
        for artifact_id in self.folder.older_than(LEASE_S, prefixes=("checkpoint-", "weights-")):
            if artifact_id.startswith(ours) and artifact_id not in known:
                self.folder.remove(artifact_id)
