"""Other runs of the same study: which of them live, what they store, and what those leave that go.

Several runs share a study through its database alone. Each owns the trials that it proposed; of a
run that has ended or died the others take over what it left unfinished.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, or_, select, update

from search.errors import RunFailedError
from search.store import schema
from search.store.lease import LEASE_S, alive, clock
from search.store.patience import away_within, patient
from search.store.records import StoredTrial
from search.store.store import TAKEN_FOR_DEAD, Store, write_lock

WINDOW = 200
"""Numbers are given when rows are written, and seen when they are committed: of rows of others so
many are looked at again. More of them are never on their way at once."""


@dataclass
class _Seen:
    """Up to where news were told."""

    trial: int = -1
    """Highest number of a trial."""
    evaluation: int = 0
    """Highest number of an evaluation."""
    recent: set[int] = field(default_factory=set)
    """Evaluations within the window below it."""


class Others:
    """What `store`'s run knows of the other runs of its study."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.living: frozenset[int] = frozenset()
        self.trials: set[int] = set()
        """Every trial that was told of."""
        self.repeated: dict[int, int] = {}
        """Those among them that repeat one -> the one."""
        self._newest_run = store.run
        self._seen: _Seen | None = None
        self._unfinished: set[int] = set()
        """Trials of others that may still turn out to repeat one."""
        self._taking: set[int] = set()
        """Trials that are being taken over."""

    @patient
    def gone(self) -> frozenset[int]:
        """Runs that have ended or died since the last call; looks anew who lives.

        Raises:
            RunFailedError: we were taken for dead, and others do our work.
        """
        runs = schema.runs
        query = select(runs).where(
            runs.c.study == self.store.study,
            or_(runs.c.ended_at.is_(None), runs.c.id > self._newest_run),
        )
        with self.store.engine.connect() as connection:
            rows = connection.execute(query).all()
            now = clock(connection) if len(rows) > 1 else 0.0
        unended = {row.id: row for row in rows if row.ended_at is None}
        if unended.pop(self.store.run, None) is None:
            raise RunFailedError(TAKEN_FOR_DEAD.format(run=self.store.run))
        before = self.living | {row.id for row in rows if row.id > self._newest_run}
        living = {number for number, row in unended.items() if alive(row, now)}
        if away_within(LEASE_S):  # nobody could renew a lease
            living |= self.living & unended.keys()
        self.living = frozenset(living)
        self._newest_run = max([self._newest_run, *before])
        return before - self.living

    @patient
    def news(self) -> list[StoredTrial]:
        """Trials of other runs that changed since the last call, whole; at first all trials."""
        if self._seen is None:
            ids = schema.evaluations.c.id
            with self.store.engine.connect() as connection:
                highest = connection.execute(select(func.max(ids))).scalar() or 0
            seen, found = _Seen(evaluation=highest), self.store.trials()
        else:
            with self.store.engine.connect() as connection:
                numbers, seen = self._changed(connection, self._seen)
            found = self.store.trials(numbers) if numbers else []
        for item in found:
            self.trials.add(item.number)
            if item.repeats is not None:
                self.repeated[item.number] = item.repeats
            open_ = item.repeats is None and item.run != self.store.run and not item.final
            (self._unfinished.add if open_ else self._unfinished.discard)(item.number)
        seen.trial = max([seen.trial, *(item.number for item in found)])
        self._seen = seen
        return found

    @patient
    def inherit(self, running: Collection[int]) -> list[int]:
        """Trials that are ours from now on, of those in `running` whose run does not live.

        A run that was taken for dead cannot write any more.
        """
        trials, runs = schema.trials, schema.runs
        with self.store.engine.begin() as connection:
            write_lock(connection, self.store.study)
            now = clock(connection)
            living = [self.store.run]
            for row in self.store.unended(connection):
                if row.id in self.living or alive(row, now):
                    living.append(row.id)
                elif row.id != self.store.run:
                    connection.execute(
                        update(runs)
                        .where(runs.c.id == row.id)
                        .values(ended_at=row.heartbeat_at, outcome="killed")
                    )
            theirs = or_(
                trials.c.run.not_in(living),
                # ours by a call of which the answer was lost
                (trials.c.run == self.store.run) & trials.c.number.in_(self._taking),
            )
            rows = connection.execute(
                select(trials.c.number)
                .where(trials.c.study == self.store.study, trials.c.number.in_(running), theirs)
                .order_by(trials.c.number)
            )
            numbers = list(rows.scalars())
            self._taking |= set(numbers)
            connection.execute(
                update(trials)
                .where(trials.c.study == self.store.study, trials.c.number.in_(numbers))
                .values(run=self.store.run)
            )
        self._taking.clear()
        self._unfinished -= set(numbers)
        return numbers

    def _changed(self, connection: Connection, seen: _Seen) -> tuple[list[int], _Seen]:
        """Numbers of trials of others of which something is new, and up to where that is."""
        trials, table, mine = schema.trials, schema.evaluations, self.store.run
        written = connection.execute(
            select(table.c.id, table.c.trial).where(
                table.c.id > seen.evaluation - WINDOW,
                table.c.study == self.store.study,
                table.c.run != mine,
                table.c.trial.is_not(None),
            )
        ).all()
        new = {row.trial for row in written if row.id not in seen.recent}
        recent = {row.id for row in written}
        others = (trials.c.study == self.store.study, trials.c.run != mine)
        proposed = connection.execute(
            select(trials.c.number).where(*others, trials.c.number > seen.trial - WINDOW)
        ).scalars()
        merged = connection.execute(
            select(trials.c.number).where(
                *others, trials.c.number.in_(self._unfinished), trials.c.repeats.is_not(None)
            )
        ).scalars()
        numbers = sorted(new | (set(proposed) - self.trials) | set(merged))
        return numbers, _Seen(seen.trial, max([seen.evaluation, *recent]), recent)
