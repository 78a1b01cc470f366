"""Optuna's side of a study: it proposes parameters and keeps the trials that its dashboard shows.

The only file that uses Optuna's studies and storage. Of its tables only `trial_params` is written
to by hand: Optuna asks three questions for every choice, fifty milliseconds for seventeen of them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.artifacts import upload_artifact
from optuna.distributions import distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError, IntegrityError

from objectives.measurement import Direction
from search.artifacts import Artifacts
from search.errors import InputError
from search.samplers import Knowledge, Sampler, adviser
from search.samplers.distributions import distributions, member
from search.samplers.ehvi import Seen
from search.store.database import engine_options
from search.store.patience import patient
from spaces.choice import Choice, Scalar

_DIRECTIONS = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}

ATTACHED = "report"
"""Attribute of the study: the id of its report among the artifacts."""

NOTE, NOTE_VERSION, NOTE_LENGTH = "dashboard:note_str:", "dashboard:note_ver", 2045
"""Attributes of the study in which the dashboard keeps its note."""
OURS = "\n\n*Written by paretune; without this line it stays as it is.*"
"""Last line of a note of ours, by which it is known."""

PARAMETERS = sa.table(
    "trial_params",
    *map(sa.column, ("trial_id", "param_name", "param_value", "distribution_json")),
)
"""Optuna's table of choices, as its schema has had it since version 2."""

ATTEMPTS, PAUSE_S = 10, 0.3
"""At making Optuna's tables, and between two of them."""

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.disable_default_handler()


class OptunaStudy:
    """Asks a sampler through Optuna and tells it results, under our trial numbers.

    Samplers look at a copy of the study in memory. Optuna's own tables would be read again for
    every proposal, all trials in flight among them, and written once for every choice; here a
    trial is written whole, once as proposed and once as told.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        choices: tuple[Choice, ...],
        objectives: Sequence[tuple[str, Direction]],
        known_trials: Callable[[], int],
    ) -> None:
        """`objectives`: what the dashboard calls each, with its unit, and its direction."""
        known_before = known_trials()
        storage = _storage(url)
        if storage.engine.dialect.name == "sqlite":
            _tune(storage)
        self.storage = storage
        self.stored = _open(storage, name, [direction for _, direction in objectives])
        stored = self.stored.get_trials(deepcopy=False)
        self.num_stored = len(stored)
        _check_trials(name, self.num_stored, known_before, known_trials())
        self.stored.set_metric_names([name for name, _ in objectives])
        self.domains = {choice.name: choice.domain for choice in choices}
        self.distributions = distributions(choices)
        self.written = {name: distribution_to_json(d) for name, d in self.distributions.items()}
        self.study = optuna.create_study(
            storage=InMemoryStorage(), directions=[direction for _, direction in objectives]
        )
        self.numbers: dict[int, int] = {}
        """Number in memory -> ours: they differ where several runs propose at once."""
        self.copies: dict[int, int] = {}
        """Our number -> that in memory."""
        self.ids: dict[int, int] = {}
        """Trial of ours that is open -> its id in Optuna's tables."""
        for trial in stored:
            self._copy_whole(trial)

    def propose_by(
        self, sampler: Sampler, *, seed: int, trials: int, known: Knowledge | None = None
    ) -> None:
        """Let `sampler` propose from now on."""
        # one seeded alike after a resume would repeat its first proposals exactly
        seed += 7919 * self.num_stored
        if known is not None:
            known = Renumbered(known, self.numbers)
        self.study.sampler = sampler.build(seed=seed, trials=trials, known=known)
        self.adviser = adviser(self.study.sampler, seed, trials, known)

    def worth(self, several: Sequence[Mapping[str, Scalar]]) -> Sequence[float] | None:
        """Expected growth of the hypervolume by each; None while too little is known."""
        found = self.adviser.worth(self.study, self.distributions, several)
        return None if found is None else found.tolist()

    def add(self, parameters: Mapping[str, Scalar], parent: int | None) -> int:
        """A trial that no sampler proposed; its number.

        One from `parent`'s trained weights carries the parent's generation, without which NSGA
        would not look at it.
        """
        system: dict[str, Any] = {}
        if parent is not None:
            system = self.study.get_trials(deepcopy=False)[self.copies[parent]].system_attrs
        added = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(parameters),
            distributions=self.distributions,
            user_attrs={} if parent is None else {"parent": parent},
            system_attrs={k: v for k, v in system.items() if k.endswith(":generation")},
        )
        number = self._store(added)
        self._copy(added, number)
        return number

    def ask(self) -> tuple[int, dict[str, Scalar]]:
        """(trial number, value of every open choice) of a new proposal."""
        trial = self.study.ask(self.distributions)
        asked = self.study._storage.get_trial(trial._trial_id)
        number = self._store(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=asked.params,
                distributions=asked.distributions,
                user_attrs=asked.user_attrs,
                system_attrs=asked.system_attrs,
            )
        )
        self._note(trial.number, number)
        return number, self._values(asked.params)

    @patient
    def running(self) -> dict[int, dict[str, Scalar] | None]:
        """Trials that were asked and never told; None where the asking was cut off half-way."""
        found: dict[int, dict[str, Scalar] | None] = {}
        for frozen in self.stored.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            found[frozen.number] = self._values(frozen.params) if self._whole(frozen) else None
        return found

    def tell(
        self,
        number: int,
        *,
        values: Sequence[float] | None,
        failed: bool,
        constraints: Sequence[float],
        summary: str,
    ) -> None:
        """Close a trial: complete with `values`, failed, or else pruned.

        `constraints`: at most 0 where met, always in the same order, written in the form that the
        dashboard and every sampler read (optuna-dashboard 0.21 does not see `set_constraint`).
        """
        state = TrialState.FAIL if failed else TrialState.PRUNED
        if values is not None:
            state = TrialState.COMPLETE
        trial_id = self.ids.pop(number, None)
        if trial_id is None:
            trial_id = self._id_of(number)
        self._close(trial_id, state, values, list(constraints), summary)
        if number not in self.copies:  # another run's, which is gone: whole as it is stored now
            self._copy(self.storage.get_trial(trial_id))
            return
        copy, memory = self.copies[number], self.study._storage
        if constraints:
            memory.set_trial_system_attr(copy, "constraints", list(constraints))
        self.study.tell(copy, values, state=state)

    @patient
    def catch_up(self) -> None:
        """Copy what other runs have stored meanwhile."""
        memory = self.study.get_trials(deepcopy=False)
        for trial in self.stored.get_trials(deepcopy=False):
            copy = self.copies.get(trial.number)
            if copy is None:
                self._copy_whole(trial)
            elif trial.state.is_finished() and not memory[copy].state.is_finished():
                for key, value in trial.system_attrs.items():
                    self.study._storage.set_trial_system_attr(copy, key, value)
                self.study.tell(copy, trial.values, state=trial.state)

    def attach(self, path: str, store: Artifacts) -> None:
        """Attach a file to the study, over an earlier one, for download from the dashboard."""
        attached = self.stored.user_attrs.get(ATTACHED)
        if attached is not None:
            with open(path, "rb") as file:
                store.write(attached, file)
            return
        artifact_id = upload_artifact(
            artifact_store=store, file_path=path, study_or_trial=self.stored, storage=self.storage
        )
        self.stored.set_user_attr(ATTACHED, artifact_id)

    def note(self, text: str) -> None:
        """Write the study's note of the dashboard, unless a person has written another.

        Attributes and their length are those of optuna-dashboard 0.21 (`_note.py`).
        """
        study = self.stored._study_id
        attributes = self.storage.get_study_system_attrs(study)
        body = "".join(attributes[k] for k in sorted(attributes) if k.startswith(NOTE))
        if body and not body.endswith(OURS):
            return
        text = text[: NOTE_LENGTH - len(OURS)] + OURS
        self.storage.set_study_system_attr(study, f"{NOTE}0", text)
        version = attributes.get(NOTE_VERSION, 0) + 1
        self.storage.set_study_system_attr(study, NOTE_VERSION, version)

    @patient
    def _id_of(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.stored._study_id, number)

    @patient
    def _close(
        self,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        constraints: list[float],
        summary: str,
    ) -> None:
        with suppress(UpdateFinishedTrialError):  # told before; the reply was cut off
            if constraints:
                self.storage.set_trial_system_attr(trial_id, "constraints", constraints)
            self.storage.set_trial_user_attr(trial_id, "result", summary)
            self.storage.set_trial_state_values(trial_id, state, values)

    @patient
    def _store(self, trial: FrozenTrial) -> int:
        """Write a trial, then its choices; its number. Without all of them it was cut off."""
        bare = optuna.trial.create_trial(
            state=trial.state, user_attrs=trial.user_attrs, system_attrs=trial.system_attrs
        )
        trial_id = self.storage.create_new_trial(self.stored._study_id, template_trial=bare)
        number = self.storage.get_trial_number_from_id(trial_id)  # reads the trial
        rows = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": self.distributions[name].to_internal_repr(value),
                "distribution_json": self.written[name],
            }
            for name, value in trial.params.items()
        ]
        if rows:
            with self.storage.engine.begin() as connection:
                connection.execute(PARAMETERS.insert(), rows)
        self.ids[number] = trial_id
        return number

    def _whole(self, trial: FrozenTrial) -> bool:
        """Whether all its choices are written."""
        return set(trial.params) == set(self.distributions)

    def _copy_whole(self, trial: FrozenTrial) -> None:
        """Take a trial into memory, but for one that is being written."""
        if trial.state.is_finished() or self._whole(trial):
            self._copy(trial)

    def _copy(self, trial: FrozenTrial, number: int | None = None) -> None:
        """Take a trial into memory, by default under the number that it is stored with."""
        memory = self.study._storage
        copy = memory.create_new_trial(self.study._study_id, template_trial=trial)
        self._note(
            memory.get_trial_number_from_id(copy), trial.number if number is None else number
        )

    def _note(self, copy: int, number: int) -> None:
        self.numbers[copy] = number
        self.copies[number] = copy

    def close(self) -> None:
        """Give the connections back."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _values(self, parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
        return {name: member(self.domains[name], value) for name, value in parameters.items()}


class Renumbered:
    """What a sampler may ask, by its own numbers of trials."""

    def __init__(self, known: Knowledge, numbers: Mapping[int, int]) -> None:
        self.numbers = numbers
        self._curve = known.curve
        self.space, self.box, self.active = known.space, known.box, known.active
        self.costs, self.priced, self.features = known.costs, known.priced, known.features
        self.scored = known.scored

    def curve(self, trial: int) -> Sequence[Seen]:
        """Of the trial that has this number in memory; none of what is no trial."""
        return self._curve(self.numbers[trial]) if trial in self.numbers else ()


def _storage(url: str) -> RDBStorage:
    """Optuna's storage, its tables made; another run may be making them at the same moment.

    Raises:
        DBAPIError: of the database.
    """
    for _ in range(ATTEMPTS):
        try:
            return RDBStorage(url, engine_kwargs=engine_options(url))
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and "already exists" not in str(error.orig):
                raise
        time.sleep(PAUSE_S)
    return RDBStorage(url, engine_kwargs=engine_options(url))


def _open(storage: RDBStorage, name: str, directions: Sequence[Direction]) -> optuna.Study:
    """Optuna's study of that name; one without trials may change its directions.

    Raises:
        InputError: it has trials and other directions.
    """

    def load() -> optuna.Study:
        return optuna.create_study(
            storage=storage, study_name=name, directions=directions, load_if_exists=True
        )

    study = load()
    if list(study.directions) == [_DIRECTIONS[direction] for direction in directions]:
        return study
    if study.get_trials(deepcopy=False):
        raise InputError(
            f"name: Optuna knows a study {name!r} with other objectives in this database; "
            "choose another name"
        )
    optuna.delete_study(study_name=name, storage=storage)
    return load()


def _check_trials(name: str, stored: int, known_before: int, known: int) -> None:
    """Trials must be the ones that we know; one more may have been cut off while proposed.

    `known_before`, `known`: before and after they were counted: another run may add some.
    """
    if stored < known_before:
        raise InputError(
            f"name: the trials of study {name!r} were deleted in Optuna; "
            "give the study another name"
        )
    if stored and not known and stored > 1:
        raise InputError(
            f"name: Optuna holds {stored} trials of a study {name!r} that is not ours in this "
            "database; choose another name"
        )


def _tune(storage: RDBStorage) -> None:
    """Optuna commits once a parameter; NORMAL halves what that costs on SQLite in WAL mode."""
    from sqlalchemy import event

    def on_connect(connection: object, record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]  # DBAPI connection
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    event.listen(storage.engine, "connect", on_connect)
    storage.engine.dispose()
