"""The store: what it keeps, what it refuses, on SQLite and on a PostgreSQL server."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ledger
import optuna
import postgres_server
import psycopg
import pytest
from conftest import SMALL, Command
from postgres_server import Server
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError

from objectives.measurement import Measurement, exact
from search.errors import InputError, RunFailedError
from search.evaluation import FINAL, Artifact, Evaluation, Job
from search.session import Session
from search.store import schema
from search.store.database import open_database
from search.store.lease import LEASE_S
from search.store.others import Others
from search.store.records import Front, Keys
from search.store.store import Store
from search.store.view import read_view
from spaces.candidate import Candidate

ROOT = Path(__file__).parent.parent
REPLAY = ("executor={replay: {answers: 'replay_answers:plain'}}", "search.rungs=[1, 2, 4]")
OBJECTIVES = [{"name": "flops", "unit": "flops", "direction": "minimize", "limit": None}]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server.running() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, folder: Path) -> str:
    """An empty database of each kind; PostgreSQL where it is installed."""
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'store.db'}"
    server: Server = request.getfixturevalue("server")
    return server.url(server.new_database())


@contextlib.contextmanager
def opened(url: str, study: str = "digits") -> Iterator[Store]:
    engine = open_database(url, create=True)
    try:
        yield Store(engine, study)
    finally:
        engine.dispose()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A store in which a run of the study `digits` has begun."""
    with opened(url) as store:
        begin(store)
        yield store


def begin(store: Store, price_key: str = "here", *, alone: bool = False) -> int:
    store.begin_study({"space": "1", "task": "2"}, OBJECTIVES)
    return store.begin_run({"name": store.study}, {"torch": "1"}, price_key, 2, alone=alone)


def candidate(width: int = 8) -> Candidate:
    return Candidate(
        family="convnet",
        architecture={"width": [width, width], "kernel": 3},
        training={"lr": 0.1 + 0.2},
        augmentation={"mixup": 0.0},
        compression=(("prune", {"ratio": 0.5}), ("quantize", {"scheme": "int8"})),
    )


def keys(name: str = "a") -> Keys:
    return Keys(key=name, train_key=f"train-{name}", recipe_key=f"recipe-{name}")


TIMED = Measurement(
    value=0.1 + 0.2,
    unit="ms",
    low=1 / 3,
    high=5e-324,
    samples=(1e-17, 2.5, 1e300),
    conditions={"device": "µCPU", "threads": 1, "fast": True, "clock": 2.5},
    flags=("noisy: wide interval",),
)


def priced(trial: int | None, *, key: str = "a", width: int = 8) -> Evaluation:
    return Evaluation(
        trial=trial,
        candidate=candidate(width),
        rung=0,
        status="priced",
        measurements={"latency": TIMED, "flops": exact(2.0**60 + 2**10, "flops")},
        deploy_key=f"net-{key}",
        seconds={"measure": 0.1, "wait": 0.0},
    )


def done(trial: int, *names: str) -> Evaluation:
    return Evaluation(
        trial=trial,
        candidate=candidate(),
        rung=9,
        status="done",
        measurements={"accuracy": exact(0.97, "ratio")},
        seconds={"train": 1.5},
        artifacts=tuple(
            Artifact(id=name, kind="checkpoint", train_key="t", epoch=9, num_bytes=3 * 2**30)
            for name in names
        ),
    )


def counts(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in schema.metadata.tables.items()
        }


class TestRecords:
    def test_what_is_recorded_is_read_back_to_the_last_bit(self, store: Store) -> None:
        store.add_trial(0, candidate(), keys(), {"lr": 0.1 + 0.2, "scheme": "int8"})
        price, end = priced(0), done(0, "file")
        store.record(price, keys())
        store.record(end, keys(), Front(trial=0, hypervolume=1 / 3, members=(0,)))
        (trial,) = store.trials()
        assert (trial.number, trial.candidate, trial.repeats) == (0, candidate(), None)
        assert trial.evaluations == (
            price,
            dataclasses.replace(end, deploy_key="net-a", artifacts=()),
        )
        assert store.artifacts() == {0: list(end.artifacts)}
        assert store.last_front() == Front(trial=0, hypervolume=1 / 3, members=(0,))

    @pytest.mark.parametrize("broken", ["measurement", "sample", "artifact", "front"])
    def test_record_that_fails_in_the_middle_leaves_nothing(
        self, store: Store, broken: str
    ) -> None:
        store.add_trial(0, candidate(), keys(), {})
        before = counts(store)
        evaluation, front = whole_and_broken(broken)
        with pytest.raises(Exception, match=r"NOT NULL|null value|not-null|not JSON serializable"):
            store.record(evaluation, keys("b"), front)
        assert counts(store) == before

    def test_record_that_failed_can_be_made_again(self, store: Store) -> None:
        store.add_trial(0, candidate(), keys(), {})
        good = dataclasses.replace(done(0, "file"), measurements={"latency": TIMED})
        unnamed = dataclasses.replace(TIMED, unit=None)
        bad = dataclasses.replace(good, measurements={"latency": unnamed})
        with pytest.raises(IntegrityError):
            store.record(bad, keys("b"))
        store.record(good, keys("b"))
        (trial,) = store.trials()
        assert trial.evaluations[0].measurements == {"latency": TIMED}

    def test_one_evaluation_a_trial_and_rung(self, store: Store) -> None:
        store.add_trial(0, candidate(), keys(), {})
        store.record(priced(0), keys())
        before = counts(store)
        with pytest.raises(IntegrityError):
            store.record(priced(0), keys())
        assert counts(store) == before

    def test_candidates_and_conditions_are_kept_once(self, store: Store, url: str) -> None:
        store.record(priced(None), keys())
        with opened(url) as again:
            again.run = store.run
            again.record(priced(None), keys())
            found = counts(again)
        assert found["paretune_candidates"] == 1
        assert found["paretune_evaluations"] == 2
        assert found["paretune_conditions"] == 2

    def test_trial_that_repeats_takes_those_that_repeat_it_along(self, store: Store) -> None:
        for number, repeats in ((3, None), (5, None), (6, 5), (7, 3)):
            store.add_trial(number, candidate(), keys(), {}, repeats=repeats)
        store.mark_repeat(5, 3)
        assert {t.number: t.repeats for t in store.trials()} == {3: None, 5: 3, 6: 3, 7: 3}

    def test_front_history_is_kept_and_the_newest_is_last(self, store: Store) -> None:
        store.add_trial(0, candidate(), keys(), {})
        store.record(done(0), keys(), Front(trial=0, hypervolume=0.1, members=(0,)))
        store.add_trial(1, candidate(), keys(), {})
        newest = Front(trial=1, hypervolume=0.2, members=(0, 1))
        store.record(done(1), keys(), newest)
        assert store.last_front() == newest
        history = read_view(store.engine, "digits").fronts
        assert [(f.trial, f.hypervolume, f.members) for f in history] == [
            (0, 0.1, (0,)),
            (1, 0.2, (0, 1)),
        ]

    def test_file_is_free_once_no_trial_of_any_study_refers_to_it(
        self, store: Store, url: str
    ) -> None:
        for number in (0, 1):
            store.add_trial(number, candidate(), keys(), {})
            store.record(done(number, "shared", f"own-{number}"), keys())
        with opened(url, "other") as other:
            begin(other)
            other.add_trial(0, candidate(), keys(), {})
            other.record(done(0, "own-1"), keys())
            assert store.known_artifacts() == {"shared", "own-0", "own-1"}
            assert store.drop_artifacts(0, ["shared", "own-0"]) == ["own-0"]
            assert store.drop_artifacts(1, ["shared", "own-1"]) == ["shared"]
            assert store.artifacts() == {}
            assert store.known_artifacts() == {"own-1"}
            assert other.drop_artifacts(0, ["own-1"]) == ["own-1"]

    def test_scale_is_kept_as_it_was_frozen(self, store: Store) -> None:
        assert store.scale() == (None, None)
        scale = {"ideal": {"flops": 0.1 + 0.2}, "reference": {"flops": 1e300}, "log": {}}
        store.keep_scale(scale, {"combinations": str(10**40)})
        assert store.scale() == (scale, {"combinations": str(10**40)})


def whole_and_broken(broken: str) -> tuple[Evaluation, Front | None]:
    """An evaluation with everything, one part of which the database or JSON must refuse."""
    evaluation, front = done(0, "file"), Front(trial=0, hypervolume=0.5, members=(0,))
    measured: dict[str, Measurement] = {"accuracy": exact(0.9, "ratio"), "latency": TIMED}
    if broken == "measurement":
        measured["latency"] = dataclasses.replace(TIMED, value=None)
    if broken == "sample":
        measured["latency"] = dataclasses.replace(TIMED, samples=(object(),))
    if broken == "artifact":
        (artifact,) = evaluation.artifacts
        nameless = dataclasses.replace(artifact, kind=None)
        evaluation = dataclasses.replace(evaluation, artifacts=(nameless,))
    if broken == "front":
        front = dataclasses.replace(front, members=(0, None))
    return dataclasses.replace(evaluation, measurements=measured), front


class TestPrices:
    def test_prices_are_shared_by_runs_of_equal_price_key(self, store: Store, url: str) -> None:
        store.record(priced(None), keys())
        with opened(url, "other") as other:
            run = begin(other, price_key="elsewhere")
            other.record(priced(None, key="b", width=16), keys("b"))
        assert set(store.prices(price_key="here")) == {"recipe-a"}
        assert set(store.prices(price_key="elsewhere")) == {"recipe-b"}
        assert set(store.prices(run=run)) == {"recipe-b"}
        assert store.prices(price_key="nowhere") == {}
        deploy_key, costs = store.prices(price_key="here")["recipe-a"]
        assert (deploy_key, costs) == ("net-a", dict(priced(None).measurements))

    def test_first_price_of_a_network_holds(self, store: Store) -> None:
        store.record(priced(None), keys("a"))
        again = priced(None, key="a", width=16)
        dearer = dataclasses.replace(again, measurements={"flops": exact(9.0, "flops")})
        store.record(dearer, keys("b"))
        prices = store.prices(price_key="here")
        assert prices["recipe-a"] == prices["recipe-b"]
        assert prices["recipe-b"][1] == dict(priced(None).measurements)

    def test_infeasible_candidates_are_priced_and_failed_ones_are_not(self, store: Store) -> None:
        for number, status in enumerate(("infeasible", "failed")):
            name = f"{number}"
            store.add_trial(number, candidate(), keys(name), {})
            price = dataclasses.replace(priced(number, key=name), status=status)
            store.record(price, keys(name))
        assert set(store.prices(price_key="here")) == {"recipe-0"}

    def test_runs_are_known_by_number(self, store: Store) -> None:
        assert store.spec_of(store.run) == {"name": "digits"}
        assert store.spec_of(store.run + 1) is None


class TestLease:
    def test_run_that_must_be_alone_is_refused_beside_another(
        self, store: Store, url: str
    ) -> None:
        with opened(url) as second:
            with pytest.raises(InputError, match=rf"run by process {os.getpid()} on"):
                begin(second, alone=True)
            store.end_run("done", 1.5)
            assert begin(second, alone=True) == store.run + 1

    def test_runs_of_a_study_live_side_by_side_if_they_measure_alike(
        self, store: Store, url: str
    ) -> None:
        with opened(url) as second:
            with pytest.raises(InputError, match=r"measures on another machine.*measure alike"):
                begin(second, price_key="elsewhere")
            begin(second)
            assert (store.older_lives(), second.older_lives()) == (False, True)

    def test_of_several_that_end_the_last_one_completes_the_study(
        self, store: Store, url: str
    ) -> None:
        with opened(url) as second, opened(url) as third:
            begin(second)
            begin(third)
            third.end_run("interrupted", 0.0)
            assert not second.last_to_end()
            assert store.last_to_end()

    def test_run_that_was_declared_dead_writes_nothing(self, store: Store, url: str) -> None:
        store.add_trial(0, candidate(), keys(), {})
        with opened(url) as second:
            begin(second)
            with store.engine.begin() as connection:
                rows = {"host": "elsewhere", "heartbeat_at": time.time() - 2 * LEASE_S}
                runs = schema.runs
                connection.execute(update(runs).where(runs.c.id == store.run).values(**rows))
            others = Others(second)
            others.gone()
            assert others.inherit([0]) == [0]
            for write in (
                lambda: store.record(done(0, "file"), keys()),
                lambda: store.add_trial(1, candidate(16), keys("b"), {}),
            ):
                with pytest.raises(RunFailedError, match="another run has taken over"):
                    write()
            assert counts(store)["paretune_evaluations"] == 0
            second.record(done(0, "file"), keys())

    def test_other_study_of_the_same_database_may_run_beside(self, store: Store, url: str) -> None:
        with opened(url, "other") as other:
            assert begin(other) == store.run + 1

    def test_study_of_a_dead_process_is_taken_over(self, url: str) -> None:
        subprocess.run(
            [sys.executable, "-c", DYING, url],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        with opened(url) as store:
            begin(store)
            assert outcomes(store) == ["killed", None]

    @pytest.mark.parametrize(("silent_s", "taken"), [(0.0, False), (LEASE_S + 1.0, True)])
    def test_study_of_another_machine_is_taken_over_once_it_is_silent(
        self, store: Store, url: str, silent_s: float, taken: bool
    ) -> None:
        with store.engine.begin() as connection:
            beat = {"host": "elsewhere", "heartbeat_at": time.time() - silent_s}
            connection.execute(update(schema.runs).values(**beat))
        with opened(url) as second:
            begin(second)
            assert outcomes(second) == ["killed" if taken else None, None]

    def test_heartbeat_renews_the_lease(self, store: Store, url: str) -> None:
        with store.engine.begin() as connection:
            connection.execute(
                update(schema.runs).values(host="elsewhere", heartbeat_at=time.time() - 600)
            )
        store.beat()
        with opened(url) as second, pytest.raises(InputError, match="on elsewhere; wait for it"):
            begin(second, alone=True)

    def test_lease_is_written_and_read_by_the_clock_of_the_server(
        self, store: Store, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if url.startswith("sqlite"):
            pytest.skip("a file has no server with a clock of its own")
        with store.engine.begin() as connection:
            connection.execute(update(schema.runs).values(host="elsewhere"))
        monkeypatch.setattr(time, "time", lambda: 4e9)  # a machine that is decades ahead
        with opened(url) as second:
            begin(second)
            assert outcomes(second) == [None, None]

    def test_of_several_that_start_at_once_and_must_be_alone_one_gets_the_study(
        self, url: str
    ) -> None:
        start, told = threading.Barrier(4), []

        def compete() -> None:
            with opened(url) as store:
                start.wait()
                try:
                    store.begin_study({}, OBJECTIVES)
                    told.append(store.begin_run({}, {}, "here", 1, alone=True))
                except InputError as error:
                    told.append(str(error))

        with opened(url) as store:
            threads = [threading.Thread(target=compete) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(type(answer).__name__ for answer in told) == ["int", *["str"] * 3]
            assert outcomes(store) == [None]

    def test_run_says_how_it_ended_and_how_busy_it_was(self, store: Store) -> None:
        store.end_run("interrupted", 12.5)
        (run,) = read_view(store.engine, "digits").runs
        assert (run["outcome"], run["busy_s"], run["workers"]) == ("interrupted", 12.5, 2)
        assert run["started_at"] <= run["ended_at"]


DYING = """
import os, sys
from search.store.database import open_database
from search.store.store import Store
store = Store(open_database(sys.argv[1], create=True), "digits")
store.begin_study({"space": "1", "task": "2"}, [])
store.begin_run({}, {}, "here", 1)
os._exit(0)
"""


def outcomes(store: Store) -> list[str | None]:
    with store.engine.connect() as connection:
        return list(
            connection.execute(select(schema.runs.c.outcome).order_by(schema.runs.c.id)).scalars()
        )


class TestDefinition:
    def test_same_definition_is_the_same_study(self, store: Store) -> None:
        store.begin_study({"space": "1", "task": "2"}, OBJECTIVES)

    def test_changed_definition_is_refused_by_the_names_of_what_changed(
        self, store: Store
    ) -> None:
        store.add_trial(0, candidate(), keys(), {})
        with pytest.raises(InputError, match="another space; give the changed study"):
            store.begin_study({"space": "9", "task": "2"}, OBJECTIVES)
        with pytest.raises(InputError, match="another space and task; give"):
            store.begin_study({"space": "9", "task": "9"}, OBJECTIVES)
        assert counts(store)["paretune_studies"] == 1

    def test_study_that_was_planned_and_never_searched_may_change(self, store: Store) -> None:
        store.keep_scale({"ideal": {}}, {"priced": 8})
        store.end_run("planned", 0.0)
        store.begin_study({"space": "9", "task": "2"}, OBJECTIVES)
        assert store.scale() == (None, None)
        store.begin_study({"space": "9", "task": "2"}, OBJECTIVES)
        store.check_study({"space": "9", "task": "2"})

    def test_study_that_is_being_planned_may_not_change(self, store: Store, url: str) -> None:
        store.keep_scale({"ideal": {}}, {"priced": 8})
        with opened(url) as second, pytest.raises(InputError, match="is being run by"):
            second.begin_study({"space": "9", "task": "2"}, OBJECTIVES)
        assert store.scale() == ({"ideal": {}}, {"priced": 8})


# --- studies as files ---


@pytest.fixture(scope="module")
def run_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one run of `small` has been made, answered by formula."""
    folder = tmp_path_factory.mktemp("before")
    (folder / "small.yaml").write_text(SMALL)
    with contextlib.chdir(folder):
        run(folder / "small.yaml", "search.trials=2")
    return folder


@pytest.fixture
def searched(small: Path, run_before: Path) -> Path:
    """The study `small` after a run of two trials."""
    shutil.copy(run_before / "small.db", small.parent)
    return small


def run(study: Path, *overrides: str, prices_from: int | None = None) -> Session:
    session = Session.open(str(study), (*REPLAY, *overrides), prices_from=prices_from)
    with session:
        session.plan()
        session.search("nothing")
    return session


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("space.architecture.convnet.width=[4, 8, 16]", "space"),
        ("space.architecture.convnet.kernel=5", "space"),
        ("space.architecture={lenet: {width: [0.5, 1.0]}}", "space"),
        ("space.training={lr: 0.003}", "space"),
        ("space.compression=null", "space"),
        ("task={digits: {split_seed: 1}}", "task"),
        ("targets.cpu.threads=2", "targets"),
        ("objectives=[accuracy, flops]", "objectives"),
        ("objectives.latency.limit=2 ms", "objectives"),
        ("search.rungs=[1, 4]", "rungs"),
        ("seed=1", "seed"),
    ],
)
def test_changed_question_under_the_same_name_is_refused(
    searched: Path, override: str, changed: str
) -> None:
    before = contents()
    with pytest.raises(InputError, match=rf"^name: study 'small' .* another {changed};"):
        Session.open(str(searched), (*REPLAY, override))
    assert contents() == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("space.architecture=convnet", "space.architecture=lenet"),
        ("space.compression=[prune]", "space.compression=[quantize]"),
    ],
)
def test_parts_without_a_choice_belong_to_the_question_too(
    small: Path, first: str, second: str
) -> None:
    run(small, first, "search.trials=1")
    with pytest.raises(InputError, match="another space;"):
        Session.open(str(small), (*REPLAY, second))


OWN = {
    "net_of_mine": """
from torch import nn
def build(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))
""",
    "task_of_mine": """
from dataclasses import dataclass
from objectives.tasks.digits import Digits
@dataclass(frozen=True, kw_only=True)
class Task(Digits):
    def loss(self, outputs, targets):
        return super().loss(outputs, targets)
""",
}


@pytest.mark.parametrize(
    ("module", "override", "changed"),
    [
        ("net_of_mine", "space={architecture: 'net_of_mine:build'}", "space"),
        ("task_of_mine", "task='task_of_mine:Task'", "task"),
    ],
)
def test_changed_source_of_an_own_part_is_another_question(
    small: Path, monkeypatch: pytest.MonkeyPatch, module: str, override: str, changed: str
) -> None:
    file = small.parent / f"{module}.py"
    file.write_text(OWN[module])
    monkeypatch.syspath_prepend(small.parent)
    overrides = (override, "executor=inline", "objectives=[accuracy, flops]", "search.trials=1")
    run(small, *overrides)
    file.write_text(f"{OWN[module]}\n# another version\n")
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(InputError, match=f"another {changed};"):
        run(small, *overrides)
    run(small, *overrides, "name=second")
    first, second = (
        {candidate for candidate, of in candidates_of_trials() if of == name}
        for name in ("small", "second")
    )
    assert first
    assert second
    assert not first & second
    monkeypatch.delitem(sys.modules, module)


@pytest.mark.parametrize(
    "override",
    [
        "search.trials=3",
        "search.sampler=nsga2",
        "search.time=10 min",
        "search.reduction=2",
        "search.plan=16",
        "executor=inline",
        "executor={process: {workers: 1}}",
        "artifacts=elsewhere",
    ],
)
def test_budget_and_executor_may_change(searched: Path, override: str) -> None:
    session = Session.open(str(searched), (*REPLAY, override))
    with session:
        assert session.store.run == 2


def test_other_study_in_the_same_database_is_another_name(searched: Path) -> None:
    session = run(searched, "name=other", "objectives=[accuracy, flops]", "search.trials=3")
    assert session.state.trials == 3
    assert read_view_of("small").objectives != read_view_of("other").objectives


def read_view_of(name: str) -> Any:
    engine = open_database("sqlite:///small.db", create=False)
    try:
        return read_view(engine, name)
    finally:
        engine.dispose()


NOTED = "executor={replay: {answers: 'replay_answers:noted'}}"


def noted() -> list[str]:
    """Recipes that were priced, in order."""
    path = Path("priced.txt")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_second_study_like_the_first_prices_nothing_again(small: Path) -> None:
    run(small, NOTED, "search.trials=4")
    first = noted()
    run(small, NOTED, "search.trials=4", "name=second", "space.training={lr: [0.001, 0.002]}")
    assert len(first) == len(set(first)) >= 8
    assert not set(noted()) & set(first)


@pytest.mark.parametrize(
    "other", ["targets.cpu.threads=2", "targets.cpu.runtime=eager", "objectives.latency.max_s=0.1"]
)
def test_prices_of_other_conditions_are_not_shared(small: Path, other: str) -> None:
    scheme = "space.compression=[{prune: {ratio: [0.0, 0.5]}}]"  # eager runs no int8
    run(small, NOTED, scheme, "search.trials=4")
    first = set(noted())
    run(small, NOTED, scheme, "search.trials=4", "name=second", other)
    assert set(noted()) & first


def test_prices_of_another_precision_are_used_when_asked_for(small: Path) -> None:
    run(small, NOTED, "search.trials=4")
    first = set(noted())
    other = ("name=second", "objectives.latency.max_s=0.1")
    run(small, NOTED, "search.trials=4", *other, prices_from=1)
    assert not set(noted()) & first
    with pytest.raises(InputError, match=r"other library versions or with --prices-from; give"):
        run(small, NOTED, "search.trials=5", *other)


def test_limit_changes_no_price(small: Path) -> None:
    run(small, NOTED, "search.trials=4")
    first = set(noted())
    run(small, NOTED, "search.trials=4", "name=second", "objectives.latency.limit=0.1 ms")
    assert not set(noted()) & first


@pytest.mark.parametrize(
    ("run_number", "overrides", "sentence"),
    [
        (99, [], "--prices-from: the database holds no run 99"),
        (
            1,
            ["name=other", "objectives=[accuracy, size]"],
            "--prices-from: run 1 measured flops, latency; this study needs size",
        ),
        (
            1,
            ["name=other", "targets.cpu.threads=2"],
            "--prices-from: run 1 measured on other targets",
        ),
    ],
)
def test_prices_that_do_not_fit_are_refused_and_nothing_is_written(
    searched: Path, run_number: int, overrides: list[str], sentence: str
) -> None:
    before = contents()
    with pytest.raises(InputError, match=f"^{sentence}$"):
        run(searched, *overrides, prices_from=run_number)
    assert contents() == before


def test_prices_of_a_run_are_refused_where_there_is_no_database(small: Path) -> None:
    with pytest.raises(InputError, match="there is no database"):
        run(small, prices_from=1)
    assert not Path("small.db").exists()


def candidates_of_trials() -> list[tuple[str, str]]:
    """(candidate, study) of every trial."""
    found = ledger.select(Path("small.db"), "select candidate, study from paretune_trials")
    return [(candidate, study) for candidate, study in found]


def contents() -> dict[str, list[tuple[Any, ...]]]:
    """Every row of our tables."""
    engine = open_database("sqlite:///small.db", create=False)
    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(text(f"select * from {name}"))]
            for name in schema.metadata.tables
        }
    engine.dispose()
    return found


def test_second_run_that_must_be_alone_says_who_runs_the_study(small: Path) -> None:
    with Session.open(str(small), REPLAY):
        with pytest.raises(InputError, match=rf"is being run by process {os.getpid()} on .*;"):
            Session.open(str(small), REPLAY, alone=True)
        assert len(contents()["paretune_runs"]) == 1


# --- a study on a server ---


def test_study_runs_stops_resumes_and_is_read_on_postgresql(
    server: Server, small: Path, command: Command
) -> None:
    url = server.url(server.new_database())
    for trials in (6, 10):
        run(small, f"storage={url}", "space.training={lr: 0.003}", f"search.trials={trials}")
    engine = open_database(url, create=False)
    view = read_view(engine, "small")
    engine.dispose()
    assert len(view.trials) == 10
    assert [run["outcome"] for run in view.runs] == ["done", "done"]
    assert postgres_server.PASSWORD not in json.dumps([run["spec"] for run in view.runs])
    told = command("front", "small", "--storage", url, "--json")
    members = [member["trial"] for member in json.loads(told.stdout)]
    assert sorted(members) == list(view.fronts[-1].members)
    storage = optuna.storages.RDBStorage(url)
    best = optuna.load_study(study_name="small", storage=storage).best_trials
    storage.engine.dispose()
    assert {tuple(t.values) for t in best} == {
        tuple(m.measurements[o.name].value for o in view.objectives) for m in view.members
    }


def test_tables_of_both_stand_side_by_side_on_postgresql(server: Server, folder: Path) -> None:
    name = server.new_database()
    with opened(server.url(name)) as store:
        begin(store)
    storage = optuna.storages.RDBStorage(server.url(name))
    storage.engine.dispose()
    with opened(server.url(name)) as store, server.connect(name) as connection:
        assert counts(store)["paretune_studies"] == 1
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'")
        tables = {str(table) for (table,) in rows}
    assert {"studies", "alembic_version", "paretune_studies", schema.VERSION_TABLE} <= tables


def test_study_waits_for_a_server_that_is_away_and_loses_nothing(
    server: Server, small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = server.url(server.new_database())
    settings = (*REPLAY, f"storage={url}", "search.trials=8")
    moments = iter([1, 2, 5, 9, 14])
    with Session.open(str(small), settings) as session:
        session.plan()
        answered, next_outage = 0, next(moments)
        run_jobs = session.run_jobs

        def disturbed(ask: Any, tell: Any) -> None:
            def told(job: Job, evaluation: Evaluation) -> None:
                nonlocal answered, next_outage
                answered += 1
                if answered == next_outage:
                    next_outage = next(moments, 0)
                    server.stop()
                    threading.Timer(1.5, server.start).start()
                tell(job, evaluation)

            run_jobs(ask, told)

        session.run_jobs = disturbed
        assert session.search("nothing") == "done"
    assert capfd.readouterr().err.count("the database is away; waiting for it") >= 3
    engine = open_database(url, create=False)
    view = read_view(engine, "small")
    with engine.connect() as connection:
        states = connection.execute(text("select state from trials")).scalars().all()
    engine.dispose()
    assert len(view.trials) == 8
    assert all(trial.status in FINAL for trial in view.trials)
    assert "RUNNING" not in states


def test_driver_is_psycopg_3(server: Server) -> None:
    assert psycopg.__version__.startswith("3.")
    assert server.url("x").startswith("postgresql+psycopg://")
