"""Train every candidate of a small space, to every rung: python -m benchmarks.tabulate TABLE.

`benchmarks/tables/TABLE.yaml` is a study whose space is finite. Every assignment of its choices is
priced, every training is done once and scored at every rung with each of its compressions, as it
would ship. `TABLE.npz` then answers for all of them: searches of this space can be compared
without training, whether they judge a network on the way as it is or compressed. Rungs are true
prefixes of one training.
"""

import argparse
import dataclasses
import tempfile
import time
from collections import defaultdict, deque
from functools import partial
from pathlib import Path

import numpy as np

from objectives.device import MACHINE, Turnstile
from objectives.tasks import load
from objectives.training import answers
from search.artifacts import store_at
from search.bench import Bench
from search.compressing import compress
from search.evaluate import as_shipped, evaluate
from search.evaluation import Evaluation, Job, Price, Train
from search.keys import keys_of
from search.learning import resume
from search.places import Survey
from search.spec import read_study
from search.study import StudySpec

TABLES = Path(__file__).parent / "tables"
MOST = 10_000


class Tabulation:
    """`ask` and `tell` of all jobs: prices first, then trainings, rung after rung."""

    def __init__(self, study: StudySpec) -> None:
        shape = load(study.task).input_shape
        assignments = study.space.assignments(MOST)
        assert assignments is not None, f"{study.name}: more than {MOST} candidates"
        self.study = study
        self.assignments = assignments
        self.candidates = [study.space.decode(each, shape) for each in assignments]
        self.keys = [keys_of(candidate, study) for candidate in self.candidates]
        self.costs = [o.name for o in study.objectives if o.cost is not None]
        self.values = np.full((len(assignments), len(self.costs)), np.nan)
        self.scores = np.full((len(assignments), len(study.search.rungs)), np.nan)
        self.seconds = np.zeros((len(assignments), 1 + len(study.search.rungs)))
        self.deployed = [""] * len(assignments)
        self.ready: deque[Job] = deque(
            Price(trial=row, candidate=candidate) for row, candidate in enumerate(self.candidates)
        )
        self.siblings: dict[str, list[int]] = defaultdict(list)
        for row, keys in enumerate(self.keys):
            self.siblings[keys.train_key].append(row)
        # of a training one at a time: the first to reach a rung leaves the others its checkpoint
        self.ready.extend(self._train(rows[0], 0, None) for rows in self.siblings.values())

    def ask(self) -> Job | None:
        """The next job."""
        return self.ready.popleft() if self.ready else None

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        """Note what came of it; the next sibling at this rung, or the first one at the next."""
        assert job.trial is not None
        row = job.trial
        if evaluation.status not in ("priced", "trained", "done"):
            raise RuntimeError(f"{job.candidate}: {evaluation.status}, {evaluation.reason}")
        values = evaluation.measurements
        if isinstance(job, Price):
            self.values[row] = [values[name].value for name in self.costs]
            self.deployed[row] = evaluation.deploy_key
            self.seconds[row, 0] = sum(evaluation.seconds.values())
            return
        place = self.study.search.rungs.index(job.rung)
        self.scores[row, place] = values[self.study.metric.name].value
        self.seconds[row, 1 + place] = sum(evaluation.seconds.values())
        checkpoint = next(a.id for a in evaluation.artifacts if a.kind == "checkpoint")
        rows = self.siblings[self.keys[row].train_key]
        if row != rows[-1]:
            self.ready.appendleft(self._train(rows[rows.index(row) + 1], place, checkpoint))
        elif place + 1 < len(self.study.search.rungs):
            self.ready.appendleft(self._train(rows[0], place + 1, checkpoint))
        elif np.isfinite(self.scores).all(axis=1).sum() % 60 < len(rows):
            print(f"{np.isfinite(self.scores).all(axis=1).sum()} done", flush=True)

    def _train(self, row: int, place: int, checkpoint: str | None) -> Train:
        return Train(
            trial=row,
            candidate=self.candidates[row],
            until_epoch=self.study.search.rungs[place],
            checkpoint=checkpoint,
        )

    def save(self, path: Path) -> None:
        """Choices by their number among their values, costs, scores at every rung, seconds."""
        names = [choice.name for choice in self.study.space.open_choices]
        columns = {name: sorted({a[name] for a in self.assignments}, key=str) for name in names}
        choices = [[columns[name].index(a[name]) for name in names] for a in self.assignments]
        np.savez_compressed(
            path,
            names=np.array(names),
            choices=np.array(choices, dtype=np.int8),
            costs=np.array(self.costs),
            values=self.values,
            rungs=np.array(self.study.search.rungs),
            scores=self.scores,
            seconds=self.seconds.astype(np.float32),
            deployed=np.array(self.deployed),
        )


def shipped(job: Job, study: StudySpec) -> Evaluation:
    """What a worker answers; but compressed at every rung, not at the last alone."""
    evaluation = evaluate(job, study, "cpu", 1)
    if not isinstance(job, Train) or evaluation.status != "trained":
        return evaluation
    bench, splits = Bench("cpu", 1, Turnstile(MACHINE)), load(study.task)
    [checkpoint] = evaluation.artifacts
    trained = dataclasses.replace(job, checkpoint=checkpoint.id)
    with bench.stage("compress"):
        network = resume(trained, study, store_at(study.artifacts)).result().cpu()
        precision = compress(network, job.candidate, study, bench)
    with bench.stage("ship"):
        run = as_shipped(network, study, precision)
        outputs = answers(run, splits.validation.inputs, splits)
    return dataclasses.replace(
        evaluation,
        measurements={study.metric.name: study.metric.score(outputs, splits.validation.targets)},
        seconds={**evaluation.seconds, **bench.seconds},
    )


def main() -> None:
    """Tabulate, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="*", default=[p.stem for p in TABLES.glob("*.yaml")])
    for name in parser.parse_args().tables:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            study = read_study(str(TABLES / f"{name}.yaml"), (f"artifacts={folder}",))
            table = Tabulation(study)
            work = partial(shipped, study=study)
            with study.executor.start(work, Survey()) as workers:
                workers.run(table.ask, table.tell)
        table.save(TABLES / f"{name}.npz")
        minutes = (time.perf_counter() - start) / 60
        print(f"{name}: {len(table.assignments)} candidates, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
