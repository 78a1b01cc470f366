"""Writing and resuming a study: every result is one transaction of ours, then Optuna is told."""

import dataclasses
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from objectives.measurement import Measurement
from search.errors import InputError, RunFailedError
from search.evaluation import Artifact, Evaluation
from search.store import schema
from search.store.lease import alive, clock
from search.store.patience import patient
from search.store.records import Front, Keys
from search.store.stored import Stored
from spaces.candidate import Candidate, digest
from spaces.choice import Scalar

CONCLUDING = "concluding"
"""Outcome of a run that proposes nothing more and has not ended."""
_LOCK_NUMBER = 7270_8864
"""First half of the advisory lock of a study on PostgreSQL: any number."""


TAKEN_FOR_DEAD = (
    "run {run} gave no sign of life for so long that another run has taken over its candidates; "
    "start it again to help"
)


class BehindError(Exception):
    """Another run has written what this one must know first."""


class Store(Stored):
    """The tables of one study during one run."""

    def __init__(self, engine: Engine, study: str) -> None:
        super().__init__(engine, study)
        self.run = 0
        self._front = 0
        """Number of the newest front that we know."""
        self._seen_candidates: set[str] = set()
        self._seen_conditions: set[str] = set()

    def check_study(self, definition: Mapping[str, str]) -> None:
        """Find out, without writing, whether the study of this name asks the same question.

        Raises:
            InputError: it has trials of another one.
        """
        with self.engine.connect() as connection:
            changed = self._changed(connection, definition)
            if changed and self._has_trials(connection):
                raise InputError(
                    f"name: study {self.study!r} is in the database with another "
                    f"{' and '.join(changed)}; give the changed study another name"
                )

    def begin_study(self, definition: Mapping[str, str], objectives: Sequence[Any]) -> None:
        """Create the study; one that was planned and never searched may change its question.

        Raises:
            InputError: under this name the database holds another question.
        """
        self.check_study(definition)
        asked = {"definition": dict(definition), "objectives": list(objectives)}
        with self.engine.begin() as connection:
            write_lock(connection, self.study)
            changed = self._changed(connection, definition)
            if changed is None:
                connection.execute(
                    insert(schema.studies).values(name=self.study, created_at=time.time(), **asked)
                )
            elif changed:
                self._check_not_run(connection)
                connection.execute(
                    update(schema.studies)
                    .where(schema.studies.c.name == self.study)
                    .values(scale=None, plan=None, **asked)
                )

    def check_not_run(self) -> None:
        """Find out, without writing, whether a run of the study lives.

        Raises:
            InputError: one does.
        """
        with self.engine.connect() as connection:
            self._check_not_run(connection)

    def begin_run(
        self,
        spec: Mapping[str, Any],
        versions: Mapping[str, Any],
        price_key: str,
        workers: int,
        *,
        alone: bool = False,
    ) -> int:
        """Take a lease on the study, beside those of other runs; returns the number of this run.

        Raises:
            InputError: another run of this study is alive, and this one must be `alone`; or it
                measures otherwise than we would.
        """
        runs, now = schema.runs, time.time()
        with self.engine.begin() as connection:
            write_lock(connection, self.study)
            beat = clock(connection)
            for row in self.unended(connection):
                if alive(row, beat):
                    self._check_beside(row, price_key, alone)
                    continue
                connection.execute(
                    update(runs)
                    .where(runs.c.id == row.id)
                    .values(ended_at=row.heartbeat_at, outcome="killed")
                )
            result = connection.execute(
                insert(runs).values(
                    study=self.study,
                    spec=dict(spec),
                    versions=dict(versions),
                    price_key=price_key,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    started_at=now,
                    heartbeat_at=beat,
                    busy_s=0.0,
                    workers=workers,
                )
            )
            assert result.inserted_primary_key is not None
            self.run = int(result.inserted_primary_key[0])
        return self.run

    def beat(self) -> None:
        """Show that this run is alive."""
        with self.engine.begin() as connection:
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.id == self.run)
                .values(heartbeat_at=clock(connection))
            )

    @patient
    def older_lives(self) -> bool:
        """Whether a run of the study that began before ours lives."""
        with self.engine.connect() as connection:
            return any(row.id < self.run for row in self._living(connection))

    @patient
    def last_to_end(self) -> bool:
        """Whether it is ours to complete the study; of several that ask, it is the last one's."""
        runs = schema.runs
        with self.engine.begin() as connection:
            write_lock(connection, self.study)
            connection.execute(
                update(runs).where(runs.c.id == self.run).values(outcome=CONCLUDING)
            )
            return all(
                row.id == self.run or row.outcome == CONCLUDING for row in self._living(connection)
            )

    @patient
    def end_run(self, outcome: str, busy_s: float) -> None:
        """Give the lease back."""
        with self.engine.begin() as connection:
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.id == self.run)
                .values(ended_at=time.time(), outcome=outcome, busy_s=busy_s)
            )

    @patient
    def keep_scale(self, scale: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
        """Freeze the scale of the hypervolume and what the plan found; the first one holds."""
        studies = schema.studies
        ours = studies.c.name == self.study
        with self.engine.begin() as connection:
            write_lock(connection, self.study)
            if connection.execute(select(studies.c.scale).where(ours)).scalar() is None:
                values = {"scale": dict(scale), "plan": dict(plan)}
                connection.execute(update(studies).where(ours).values(**values))

    @partial(patient, written=lambda self, number, *_, **__: self._added(number))
    def add_trial(
        self,
        number: int,
        candidate: Candidate,
        keys: Keys,
        parameters: Mapping[str, Scalar],
        repeats: int | None = None,
    ) -> int | None:
        """A proposal, before anything is done about it.

        Returns:
            The trial that it repeats: the one given, or one that another run has just added.
        """
        with self._writing() as connection:
            write_lock(connection, self.study)
            self._check_ours(connection)
            if repeats is None:
                repeats = self._first(connection, keys.key)
            else:  # which may have turned out to repeat another one itself
                repeats = self._repeats(connection, repeats) or repeats
            self._add_candidate(connection, candidate, keys)
            connection.execute(
                insert(schema.trials).values(
                    study=self.study,
                    number=number,
                    candidate=keys.key,
                    run=self.run,
                    parameters=dict(parameters),
                    repeats=repeats,
                    proposed_at=time.time(),
                )
            )
        return repeats

    @patient
    def mark_repeat(self, number: int, first: int) -> None:
        """A trial turned out to be the network of another; so are those that repeat it."""
        table = schema.trials
        with self._writing() as connection:
            write_lock(connection, self.study)
            self._check_ours(connection)
            connection.execute(
                update(table)
                .where(
                    table.c.study == self.study,
                    or_(table.c.number == number, table.c.repeats == number),
                )
                .values(repeats=first)
            )

    @partial(patient, written=lambda self, evaluation, *_, **__: self._recorded(evaluation))
    def record(self, evaluation: Evaluation, keys: Keys, front: Front | None = None) -> None:
        """An evaluation with measurements, artifacts and the front it makes: one transaction.

        Raises:
            BehindError: another run made a front since `last_front` was read: nothing is written.
            RunFailedError: another run has taken over our trials: nothing is written.
        """
        with self._writing() as connection:
            # prices are numbered in the order in which others see them: see `first_trained`
            if front is not None or evaluation.status == "priced":
                write_lock(connection, self.study)
            self._check_ours(connection)
            if front is not None:
                newest = self._newest_front(connection)
                if self._is_recorded(connection, evaluation):  # by a call whose reply was lost
                    self._front = newest
                    return
                if newest != self._front:
                    raise BehindError
            self._add_candidate(connection, evaluation.candidate, keys, evaluation.deploy_key)
            result = connection.execute(
                insert(schema.evaluations).values(
                    study=self.study,
                    trial=evaluation.trial,
                    candidate=keys.key,
                    run=self.run,
                    rung=evaluation.rung,
                    status=evaluation.status,
                    reason=evaluation.reason,
                    seconds=dict(evaluation.seconds),
                    at=time.time(),
                )
            )
            assert result.inserted_primary_key is not None
            self._add_measurements(connection, int(result.inserted_primary_key[0]), evaluation)
            if evaluation.artifacts and evaluation.trial is not None:
                connection.execute(
                    insert(schema.checkpoints),
                    [self._artifact_row(evaluation.trial, a) for a in evaluation.artifacts],
                )
            made = None if front is None else self._add_front(connection, front)
        if made is not None:
            self._front = made

    @partial(patient, written=lambda *_, **__: [None])
    def add_confirmation(self, trial: int, seed: int, found: Mapping[str, Measurement]) -> None:
        """What a member was worth when it was trained anew."""
        with self.engine.begin() as connection:
            connection.execute(
                insert(schema.confirmations).values(
                    study=self.study,
                    trial=trial,
                    seed=seed,
                    at=time.time(),
                    measurements={name: dataclasses.asdict(m) for name, m in found.items()},
                )
            )

    @patient
    def drop_artifacts(self, trial: int, ids: Sequence[str]) -> list[str]:
        """Forget artifacts of a trial; returns those that nobody refers to any more."""
        rows = schema.checkpoints
        with self.engine.begin() as connection:
            connection.execute(
                delete(rows).where(
                    rows.c.study == self.study, rows.c.trial == trial, rows.c.artifact.in_(ids)
                )
            )
            used = set(
                connection.execute(
                    select(rows.c.artifact).where(rows.c.artifact.in_(ids))
                ).scalars()
            )
        return [artifact for artifact in ids if artifact not in used]

    @patient
    def last_front(self) -> Front | None:
        """The newest front of the study."""
        fronts, members = schema.fronts, schema.front_members
        with self.engine.connect() as connection:
            row = connection.execute(
                select(fronts)
                .where(fronts.c.study == self.study)
                .order_by(fronts.c.id.desc())
                .limit(1)
            ).one_or_none()
            if row is None:
                return None
            self._front = row.id
            numbers = connection.execute(
                select(members.c.trial).where(members.c.front == row.id).order_by(members.c.trial)
            ).scalars()
            return Front(trial=row.trial, hypervolume=row.hypervolume, members=tuple(numbers))

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction; after one that failed nothing counts as stored already."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except BaseException:
            self._seen_candidates.clear()
            self._seen_conditions.clear()
            raise

    def _changed(self, connection: Connection, definition: Mapping[str, str]) -> list[str] | None:
        """What is defined otherwise in the database; None if the study is new."""
        table = schema.studies
        known: dict[str, str] | None = connection.execute(
            select(table.c.definition).where(table.c.name == self.study)
        ).scalar()
        if known is None:
            return None
        return [key for key, value in definition.items() if known.get(key) != value]

    def unended(self, connection: Connection) -> Sequence[Row[Any]]:
        """Runs of the study that have not ended, as far as they could tell."""
        runs = schema.runs
        query = select(runs).where(runs.c.study == self.study, runs.c.ended_at.is_(None))
        return connection.execute(query.order_by(runs.c.id)).all()

    def _living(self, connection: Connection) -> list[Row[Any]]:
        rows = self.unended(connection)
        now = clock(connection) if rows else 0.0
        return [row for row in rows if alive(row, now)]

    def _check_not_run(self, connection: Connection) -> None:
        """Raises InputError if a run of the study lives."""
        for row in self._living(connection):
            raise InputError(self._refusal(row))

    def _check_beside(self, row: Row[Any], price_key: str, alone: bool) -> None:
        """Raises InputError if no run like ours may begin beside a living one."""
        if alone:
            raise InputError(self._refusal(row))
        if row.price_key != price_key:
            raise InputError(
                f"name: study {self.study!r} is being run by process {row.pid} on {row.host}, "
                "which measures on another machine, with other library versions or with "
                "--prices-from; runs that share a study must measure alike"
            )

    def _refusal(self, row: Row[Any]) -> str:
        return (
            f"name: study {self.study!r} is being run by process {row.pid} on "
            f"{row.host}; wait for it, stop it, or choose another name"
        )

    def _first(self, connection: Connection, key: str) -> int | None:
        """The trial that has a candidate already, of whichever run."""
        return min(self._trials_of(connection, [key]), default=None)

    def _repeats(self, connection: Connection, number: int) -> int | None:
        """What a trial that is stored repeats."""
        trials = schema.trials
        query = select(trials.c.repeats).where(trials.c.study == self.study)
        return connection.execute(query.where(trials.c.number == number)).scalar()

    def _added(self, number: int) -> list[int | None]:
        """[what a trial repeats], [] if it is not stored."""
        trials = schema.trials
        query = select(trials.c.repeats).where(trials.c.study == self.study)
        with self.engine.connect() as connection:
            return list(connection.execute(query.where(trials.c.number == number)).scalars())

    def _recorded(self, evaluation: Evaluation) -> list[None]:
        """[None] if an evaluation is stored."""
        with self.engine.connect() as connection:
            return [None] if self._is_recorded(connection, evaluation) else []

    def _is_recorded(self, connection: Connection, evaluation: Evaluation) -> bool:
        """Whether this run has stored it; those of the plan, which have no number, never count."""
        table = schema.evaluations
        query = select(table.c.id).where(
            table.c.study == self.study,
            table.c.trial == evaluation.trial,
            table.c.rung == evaluation.rung,
            table.c.run == self.run,
        )
        return evaluation.trial is not None and connection.execute(query).first() is not None

    def _check_ours(self, connection: Connection) -> None:
        """Raises RunFailedError if another run has declared ours dead.

        Until the end of the transaction none can.
        """
        runs = schema.runs
        query = select(runs.c.outcome).where(runs.c.id == self.run).with_for_update(read=True)
        if connection.execute(query).scalar() == "killed":
            raise RunFailedError(TAKEN_FOR_DEAD.format(run=self.run))

    def _newest_front(self, connection: Connection) -> int:
        fronts = schema.fronts
        query = select(func.max(fronts.c.id)).where(fronts.c.study == self.study)
        return connection.execute(query).scalar() or 0

    def _has_trials(self, connection: Connection) -> bool:
        query = select(schema.trials.c.number).where(schema.trials.c.study == self.study).limit(1)
        return connection.execute(query).scalar() is not None

    def _add_candidate(
        self, connection: Connection, candidate: Candidate, keys: Keys, deploy_key: str = ""
    ) -> None:
        table = schema.candidates
        if keys.key not in self._seen_candidates:
            _insert_new(
                connection,
                table,
                key=keys.key,
                train_key=keys.train_key,
                recipe_key=keys.recipe_key,
                deploy_key=deploy_key or None,
                data=candidate.as_dict(),
            )
            self._seen_candidates.add(keys.key)
        if deploy_key:
            connection.execute(
                update(table).where(table.c.key == keys.key).values(deploy_key=deploy_key)
            )

    def _add_measurements(
        self, connection: Connection, evaluation_id: int, evaluation: Evaluation
    ) -> None:
        rows = []
        for objective, measurement in evaluation.measurements.items():
            key = digest(dict(measurement.conditions))
            self._add_conditions(connection, key, measurement)
            rows.append(
                {
                    "evaluation": evaluation_id,
                    "objective": objective,
                    "value": measurement.value,
                    "unit": measurement.unit,
                    "low": measurement.low,
                    "high": measurement.high,
                    "samples": list(measurement.samples),
                    "flags": list(measurement.flags),
                    "details": dict(measurement.details),
                    "conditions": key,
                }
            )
        if rows:
            connection.execute(insert(schema.measurements), rows)

    def _add_conditions(self, connection: Connection, key: str, measurement: Measurement) -> None:
        if key in self._seen_conditions:
            return
        _insert_new(connection, schema.conditions, key=key, data=dict(measurement.conditions))
        self._seen_conditions.add(key)

    def _artifact_row(self, trial: int, artifact: Artifact) -> dict[str, Any]:
        return {
            "study": self.study,
            "trial": trial,
            "artifact": artifact.id,
            "kind": artifact.kind,
            "train_key": artifact.train_key,
            "epoch": artifact.epoch,
            "num_bytes": artifact.num_bytes,
        }

    def _add_front(self, connection: Connection, front: Front) -> int:
        result = connection.execute(
            insert(schema.fronts).values(
                study=self.study,
                trial=front.trial,
                at=time.time(),
                hypervolume=front.hypervolume,
            )
        )
        assert result.inserted_primary_key is not None
        front_id = int(result.inserted_primary_key[0])
        if front.members:
            connection.execute(
                insert(schema.front_members),
                [{"front": front_id, "trial": member} for member in front.members],
            )
        return front_id


def _insert_new(connection: Connection, table: Table, **values: Any) -> None:
    """A row, unless there is one of its key: several studies may bring the same at once."""
    new = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(new(table).values(**values).on_conflict_do_nothing())


def write_lock(connection: Connection, study: str) -> None:
    """Let no other run of the study decide anything until this transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK_NUMBER, func.hashtext(study))))
