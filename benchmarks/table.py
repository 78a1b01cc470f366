"""A space of ours whose every candidate is trained: it answers in place of workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import moocore
import numpy as np
from numpy.typing import NDArray

from benchmarks.tabulate import TABLES, Tabulation
from objectives.measurement import Measurement, exact
from search.errors import RunFailedError
from search.evaluation import Artifact, Evaluation, Job, Price
from search.spec import read_study
from search.study import StudySpec
from spaces.candidate import Candidate

Array = NDArray[np.float64]
FULL_TRAININGS = 40
"""Budget of a run, in epochs of so many full trainings."""
OBJECTIVES = {
    "digits": ("accuracy", "flops", "latency"),
    "sms_spam": ("macro_f1", "size", "latency"),
}
UNITS = {"flops": "flops", "size": "bytes", "latency": "ms"}


@dataclass
class Table:
    """All that is known of a space."""

    name: str
    current: ClassVar["Table"]
    """The one that answers."""
    study: StudySpec | None = None
    """The study that asks."""
    epochs: int = 0
    """Spent so far."""
    trained: dict[str, int] = field(default_factory=dict)
    """Training -> epochs done."""
    found: list[tuple[int, int]] = field(default_factory=list)
    """(epochs spent, row) of candidates in the order in which they were trained in full."""

    @cached_property
    def tabulation(self) -> Tabulation:
        """The space, in the order of the table."""
        return Tabulation(read_study(str(TABLES / f"{self.name}.yaml"), ()))

    @cached_property
    def data(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of the file."""
        return dict(np.load(TABLES / f"{self.name}.npz"))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Candidate, whatever the study's name -> row of the table."""
        return {c.key(""): row for row, c in enumerate(self.tabulation.candidates)}

    @cached_property
    def values(self) -> Array:
        """(n, m) score of a full training and costs, in the order of the objectives."""
        _, *costs = OBJECTIVES[self.name]
        columns = [list(self.data["costs"]).index(name) for name in costs]
        return np.column_stack([self.data["scores"][:, -1], self.data["values"][:, columns]])

    @cached_property
    def losses(self) -> Array:
        """(n, m) share of errors and log10 of the costs."""
        return np.column_stack([1 - self.values[:, 0], np.log10(self.values[:, 1:])])

    @cached_property
    def ends(self) -> tuple[Array, Array]:
        """Ideal point and reference, as losses."""
        ideal = np.append(0.0, self.losses[:, 1:].min(axis=0))
        return ideal, np.append(np.median(self.losses[:, 0]), self.losses[:, 1:].max(axis=0))

    @property
    def worst(self) -> list[float]:
        """The reference as values."""
        reference = self.ends[1]
        return [float(1 - reference[0]), *map(float, 10 ** reference[1:])]

    @cached_property
    def uncompressed(self) -> list[int]:
        """Row -> that of the same training without compression."""
        candidates = self.tabulation.candidates
        plain = {c.train_key(""): row for row, c in enumerate(candidates) if not c.compression}
        return [plain[c.train_key("")] for c in candidates]

    def volume(self, rows: list[int]) -> float:
        """Hypervolume of some candidates in the unit box, as a share of that of all."""
        ideal, reference = self.ends
        unit = (self.losses[rows] - ideal) / (reference - ideal)
        inside = unit[(unit < 1).all(axis=1)]
        return float(moocore.hypervolume(inside, ref=np.ones(3))) if len(inside) else 0.0

    @cached_property
    def whole(self) -> float:
        """Hypervolume of the table's front."""
        return self.volume(list(range(len(self.losses))))

    def spend(self, training: str, row: int, until: int) -> None:
        """Count the epochs of a training to a rung, and those of recovery after the last."""
        done = self.trained.get(training, 0)
        self.epochs += max(0, until - done)
        self.trained[training] = max(done, until)
        if until == self.data["rungs"][-1]:
            self.epochs += recovery(self.tabulation.candidates[row])
            self.found.append((self.epochs, row))

    def answer(self, job: Job) -> Evaluation:
        """What a worker would have said.

        Raises:
            RunFailedError: the budget is spent.
        """
        row = self.rows[job.candidate.key("")]
        values: dict[str, Measurement] = {}
        if isinstance(job, Price):
            for column, name in enumerate(self.data["costs"]):
                if name in OBJECTIVES[self.name]:
                    values[name] = exact(float(self.data["values"][row, column]), UNITS[name])
            return Evaluation(
                trial=job.trial,
                candidate=job.candidate,
                rung=0,
                status="priced",
                measurements=values,
                deploy_key=str(self.data["deployed"][row]),
            )
        assert self.study is not None
        if self.epochs >= self.budget:
            raise RunFailedError("the budget is spent")
        training = job.candidate.train_key("")
        if not job.checkpoint:  # what went before is gone
            self.trained.pop(training, None)
        self.spend(training, row, job.rung)
        place = list(self.data["rungs"]).index(job.rung)
        last = job.rung == self.data["rungs"][-1]
        score = float(self.data["scores"][row if last else self.uncompressed[row], place])
        metric = OBJECTIVES[self.name][0]
        return Evaluation(
            trial=job.trial,
            candidate=job.candidate,
            rung=job.rung,
            status="done" if last else "trained",
            measurements={metric: exact(score, "ratio")},
            artifacts=(
                Artifact(
                    id=f"checkpoint-{training}-{job.rung}",
                    kind="checkpoint",
                    train_key=job.candidate.train_key(self.study.context()),
                    epoch=job.rung,
                    num_bytes=0,
                ),
            ),
        )

    @property
    def budget(self) -> int:
        """Epochs of a run."""
        return FULL_TRAININGS * int(self.data["rungs"][-1])


def recovery(candidate: Candidate) -> int:
    """Epochs of fine-tuning that its compression asks for."""
    return sum(
        int(options.get("finetune_epochs", 0))
        for name, options in candidate.compression
        if name == "prune"
    )


def answer(job: Job) -> Evaluation:
    """For `executor: {replay: {answers: 'benchmarks.table:answer'}}`."""
    return Table.current.answer(job)
