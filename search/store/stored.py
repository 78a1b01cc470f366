"""Reading what is stored of a study; nothing here writes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from objectives.measurement import Measurement
from search.drift import READING
from search.evaluation import Artifact
from search.store import schema
from search.store.patience import patient
from search.store.records import StoredTrial
from search.store.rows import evaluations_of, measurements_of
from spaces.candidate import Candidate

MOST_LISTED = 1000
"""Values that a statement names one by one; PostgreSQL takes 65,535."""
PRICED = ("priced", "infeasible", "hopeless")
"""Statuses at rung 0 that come with a price."""


class Stored:
    """The tables of one study, to be read."""

    def __init__(self, engine: Engine, study: str) -> None:
        self.engine = engine
        self.study = study

    @patient
    def scale(self) -> tuple[Any, Any]:
        """(scale, plan) as stored; (None, None) before the plan is made."""
        with self.engine.connect() as connection:
            row = connection.execute(
                select(schema.studies.c.scale, schema.studies.c.plan).where(
                    schema.studies.c.name == self.study
                )
            ).one()
        return row.scale, row.plan

    @patient
    def trials(self, numbers: Sequence[int] | None = None) -> list[StoredTrial]:
        """Trials of the study with what is known of them, by number; default all of them."""
        trials, candidates = schema.trials, schema.candidates
        query = (
            select(trials.c.number, trials.c.run, trials.c.repeats, candidates.c.data)
            .join(candidates, candidates.c.key == trials.c.candidate)
            .where(trials.c.study == self.study)
            .order_by(trials.c.number)
        )
        if numbers is not None:
            query = query.where(trials.c.number.in_(numbers))
        with self.engine.connect() as connection:
            # evaluations last: a trial that is told without its last one gets it another time
            rows = connection.execute(query).all()
            evaluations = evaluations_of(connection, self.study, numbers)
        return [
            StoredTrial(
                number=row.number,
                candidate=Candidate.from_dict(row.data),
                repeats=row.repeats,
                evaluations=tuple(evaluations.get(row.number, ())),
                run=row.run,
            )
            for row in rows
        ]

    def confirmations(self) -> dict[int, dict[int, dict[str, Measurement]]]:
        """Trial -> seed -> objective (and `validation`) -> what was measured."""
        table = schema.confirmations
        query = select(table).where(table.c.study == self.study).order_by(table.c.seed)
        found: dict[int, dict[int, dict[str, Measurement]]] = {}
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                found.setdefault(row.trial, {})[row.seed] = {
                    name: Measurement(**data) for name, data in row.measurements.items()
                }
        return found

    def prices(
        self, *, price_key: str | None = None, run: int | None = None
    ) -> dict[str, tuple[str, dict[str, Measurement]]]:
        """Recipe -> (deploy key, costs) of all runs of a price key, or of one run.

        Where a deployed network was priced twice, the first price holds.
        """
        evaluations, candidates, runs = schema.evaluations, schema.candidates, schema.runs
        query = (
            select(evaluations.c.id, candidates.c.recipe_key, candidates.c.deploy_key)
            .join(candidates, candidates.c.key == evaluations.c.candidate)
            .join(runs, runs.c.id == evaluations.c.run)
            .where(evaluations.c.rung == 0, evaluations.c.status.in_(PRICED))
            .order_by(evaluations.c.id)
        )
        if run is None:
            query = query.where(runs.c.price_key == price_key)
        else:
            # a study that was stopped and resumed has its prices in several runs
            study = select(runs.c.study).where(runs.c.id == run).scalar_subquery()
            query = query.where(runs.c.study == study, runs.c.id <= run)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
            measured = measurements_of(connection, query.with_only_columns(evaluations.c.id))
        prices: dict[str, tuple[str, dict[str, Measurement]]] = {}
        first: dict[str, dict[str, Measurement]] = {}
        for row in rows:
            costs = first.setdefault(row.deploy_key, measured.get(row.id, {}))
            prices.setdefault(row.recipe_key, (row.deploy_key, costs))
        return prices

    def priced(self) -> list[tuple[Candidate, dict[str, Measurement]]]:
        """(candidate, costs) of every price of the study, those of its plan included."""
        evaluations, candidates = schema.evaluations, schema.candidates
        query = (
            select(evaluations.c.id, candidates.c.data)
            .join(candidates, candidates.c.key == evaluations.c.candidate)
            .where(evaluations.c.study == self.study, evaluations.c.rung == 0)
            .order_by(evaluations.c.id)
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
            measured = measurements_of(connection, query.with_only_columns(evaluations.c.id))
        return [(Candidate.from_dict(r.data), measured[r.id]) for r in rows if r.id in measured]

    def readings(self) -> list[float]:
        """What `search.drift` reads beside the measurements of the study, confirmations apart."""
        measurements, evaluations = schema.measurements, schema.evaluations
        reading = measurements.c.details[READING].as_float()
        query = (
            select(reading)
            .join(evaluations, evaluations.c.id == measurements.c.evaluation)
            .where(evaluations.c.study == self.study, reading.is_not(None))
        )
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def planned(self) -> list[Candidate]:
        """The candidates that were priced before the first trial."""
        evaluations, candidates = schema.evaluations, schema.candidates
        query = (
            select(candidates.c.data)
            .join(evaluations, candidates.c.key == evaluations.c.candidate)
            .where(
                evaluations.c.study == self.study,
                evaluations.c.trial.is_(None),
                evaluations.c.status == "priced",
            )
            .order_by(evaluations.c.id)
        )
        with self.engine.connect() as connection:
            return [Candidate.from_dict(row.data) for row in connection.execute(query)]

    def objectives(self) -> list[str] | None:
        """Names of the study's objectives; None if there is no such study."""
        query = select(schema.studies.c.objectives).where(schema.studies.c.name == self.study)
        with self.engine.connect() as connection:
            stored = connection.execute(query).scalar()
        return None if stored is None else [objective["name"] for objective in stored]

    def keys(self) -> dict[int, str]:
        """Trial -> key of its candidate."""
        trials = schema.trials
        query = select(trials.c.number, trials.c.candidate).where(trials.c.study == self.study)
        with self.engine.connect() as connection:
            return {row.number: row.candidate for row in connection.execute(query)}

    def num_trials(self) -> int:
        """One more than the highest trial number of the study."""
        numbers = select(func.max(schema.trials.c.number)).where(
            schema.trials.c.study == self.study
        )
        with self.engine.connect() as connection:
            highest = connection.execute(numbers).scalar()
        return 0 if highest is None else int(highest) + 1

    def spec_of(self, run: int) -> dict[str, Any] | None:
        """The study file, as data, of a run of any study; None if there is no such run."""
        with self.engine.connect() as connection:
            spec: dict[str, Any] | None = connection.execute(
                select(schema.runs.c.spec).where(schema.runs.c.id == run)
            ).scalar()
        return spec

    def price_keys(self) -> set[str]:
        """Price keys of the runs of this study that proposed candidates."""
        runs, trials = schema.runs, schema.trials
        query = select(runs.c.price_key).join(trials, trials.c.run == runs.c.id)
        with self.engine.connect() as connection:
            return set(connection.execute(query.where(runs.c.study == self.study)).scalars())

    @patient
    def artifacts(self, numbers: Sequence[int] | None = None) -> dict[int, list[Artifact]]:
        """Trial -> its artifacts; default of all trials."""
        found: dict[int, list[Artifact]] = {}
        table = schema.checkpoints
        query = select(table).where(table.c.study == self.study)
        if numbers is not None and len(numbers) <= MOST_LISTED:
            query = query.where(table.c.trial.in_(numbers))
        wanted = None if numbers is None else set(numbers)
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                if wanted is not None and row.trial not in wanted:
                    continue
                artifact = Artifact(
                    id=row.artifact,
                    kind=row.kind,
                    train_key=row.train_key,
                    epoch=row.epoch,
                    num_bytes=row.num_bytes,
                )
                found.setdefault(row.trial, []).append(artifact)
        return found

    @patient
    def known_artifacts(self) -> set[str]:
        """Ids of all artifacts that any study of the database refers to."""
        with self.engine.connect() as connection:
            return set(connection.execute(select(schema.checkpoints.c.artifact)).scalars())

    @patient
    def first_trained(self, train_key: str, deploy_key: str) -> int | None:
        """Of the trials that are this network with these weights, the one that trains it.

        It is the first that was priced, whichever run it is of; None if none is known.
        """
        candidates, evaluations = schema.candidates, schema.evaluations
        same = select(candidates.c.key).where(
            candidates.c.train_key == train_key, candidates.c.deploy_key == deploy_key
        )
        with self.engine.connect() as connection:
            numbers = self._trials_of(connection, connection.execute(same).scalars().all())
            priced = (
                select(evaluations.c.trial)
                .where(
                    evaluations.c.study == self.study,
                    evaluations.c.trial.in_(numbers),
                    evaluations.c.rung == 0,
                    evaluations.c.status == "priced",
                )
                .order_by(evaluations.c.id)
            )
            return connection.execute(priced.limit(1)).scalar()

    def _trials_of(self, connection: Connection, keys: Sequence[str]) -> list[int]:
        """Trials of the study with one of these candidates, without repeats.

        Not asked for by the study: SQLite would look through all its trials.
        """
        trials = schema.trials
        query = select(trials.c.study, trials.c.number).where(
            trials.c.candidate.in_(keys), trials.c.repeats.is_(None)
        )
        return [row.number for row in connection.execute(query) if row.study == self.study]
