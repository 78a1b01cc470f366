"""Other runs of the same study: which of them live, what they store, and what one leaves behind.

Several runs share a study through its database alone. Each owns the trials that it proposed; of a
run that has ended or died the others take over what it left unfinished.
"""

from collections.abc import Collection

from sqlalchemy import Connection, func, select, update

from search.errors import RunFailedError
from search.store import schema
from search.store.lease import alive, clock
from search.store.patience import patient
from search.store.records import StoredTrial
from search.store.store import Store, write_lock

WINDOW = 200
"""Numbers are given when rows are written, and seen when they are committed: of rows of others so
many are looked at again. More of them are never on their way at once."""


class Others:
    """What `store`'s run knows of the other runs of its study."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.living: frozenset[int] = frozenset()
        self.trials: set[int] = set()
        """Every trial that was told of."""
        self.repeated: dict[int, int] = {}
        """Those among them that repeat one -> the one."""
        self._trial = -1
        """Highest number of a trial that was told of."""
        self._evaluation = 0
        """Highest number of an evaluation that was seen."""
        self._seen: set[int] = set()
        """Evaluations within the window below it."""
        self._unfinished: set[int] = set()
        """Trials of others that may still turn out to repeat one."""
        self._begun = False

    @patient
    def gone(self) -> frozenset[int]:
        """Runs that lived at the last call and do not any more; looks anew who lives.

        Raises:
            RunFailedError: we were taken for dead, and others do our work.
        """
        before = self.living
        with self.store.engine.connect() as connection:
            rows = {row.id: row for row in self.store.unended(connection)}
            now = clock(connection) if len(rows) > 1 else 0.0
        if self.store.run not in rows:
            raise RunFailedError(
                f"run {self.store.run} gave no sign of life for so long that another run has "
                "taken over its candidates; start it again to help"
            )
        del rows[self.store.run]
        self.living = frozenset(number for number, row in rows.items() if alive(row, now))
        return before - self.living

    @patient
    def news(self) -> list[StoredTrial]:
        """Trials of other runs that changed since the last call, whole; at first all trials."""
        with self.store.engine.connect() as connection:
            numbers = self._changed(connection) if self._begun else None
            if numbers is None:
                ids = schema.evaluations.c.id
                self._evaluation = connection.execute(select(func.max(ids))).scalar() or 0
        self._begun = True
        found = self.store.trials(numbers) if numbers is None or numbers else []
        found = [i for i in found if i.repeats is None or i.number not in self.repeated]
        for item in found:
            self.trials.add(item.number)
            self._trial = max(self._trial, item.number)
            if item.repeats is not None:
                self.repeated[item.number] = item.repeats
            open_ = item.repeats is None and item.run != self.store.run and not item.final
            (self._unfinished.add if open_ else self._unfinished.discard)(item.number)
        return found

    @patient
    def inherit(self, running: Collection[int]) -> list[int]:
        """Trials that are ours from now on, of those in `running` whose run does not live."""
        trials = schema.trials
        with self.store.engine.begin() as connection:
            write_lock(connection, self.store.study)
            ours = [self.store.run, *self.living]
            rows = connection.execute(
                select(trials.c.number)
                .where(trials.c.study == self.store.study, trials.c.run.not_in(ours))
                .where(trials.c.number.in_(running))
                .order_by(trials.c.number)
            )
            numbers = list(rows.scalars())
            connection.execute(
                update(trials)
                .where(trials.c.study == self.store.study, trials.c.number.in_(numbers))
                .values(run=self.store.run)
            )
        self._unfinished -= set(numbers)
        return numbers

    def _changed(self, connection: Connection) -> list[int]:
        """Numbers of trials of others, of which something is new."""
        trials, table, mine = schema.trials, schema.evaluations, self.store.run
        written = connection.execute(
            select(table.c.id, table.c.trial).where(
                table.c.id > self._evaluation - WINDOW,
                table.c.study == self.store.study,
                table.c.run != mine,
                table.c.trial.is_not(None),
            )
        ).all()
        new = [row for row in written if row.id not in self._seen]
        self._seen = {row.id for row in written}
        self._evaluation = max([self._evaluation, *self._seen])
        others = (trials.c.study == self.store.study, trials.c.run != mine)
        proposed = connection.execute(
            select(trials.c.number).where(*others, trials.c.number > self._trial - WINDOW)
        ).scalars()
        merged = connection.execute(
            select(trials.c.number).where(
                *others, trials.c.number.in_(self._unfinished), trials.c.repeats.is_not(None)
            )
        ).scalars()
        return sorted({row.trial for row in new} | (set(proposed) - self.trials) | set(merged))
