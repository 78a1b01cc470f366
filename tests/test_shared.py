"""Several runs of one study at once: two loops driven by hand on one database, then commands."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ledger
import pytest
import replay_answers
from optuna import load_study
from optuna.storages import RDBStorage
from postgres_server import running
from sqlalchemy import update
from test_loop import DATABASE, FIXED_LR, asked, driven, finish, optuna_trials, propose

from search.errors import RunFailedError
from search.evaluation import Price, Train
from search.keys import keys_of
from search.loop import Loop
from search.session import Session
from search.store import rows, schema
from search.store.database import open_database
from search.store.view import read_view

ROOT = Path(__file__).parent.parent
PATIENCE_S = 240.0


@contextmanager
def pair(small: Path, *overrides: str) -> Iterator[tuple[Loop, Session, Loop, Session]]:
    with ExitStack() as stack:
        one, first = stack.enter_context(driven(small, *overrides))
        other, second = stack.enter_context(driven(small, *overrides))
        yield one, first, other, second


def leave(session: Session) -> None:
    """Let a run end before its `with` does."""
    session.store.end_run("interrupted", 0.0)


def test_what_one_run_has_tried_the_other_answers_from_the_store(small: Path) -> None:
    with pair(small) as (one, first, other, second):
        propose(first, width=8)
        finish(one, asked(one))
        propose(second, width=8)
        propose(second, width=4)
        job = asked(other)
        assert job.candidate.architecture["width"] != [8]
        assert other.state.repeats == 1
        assert ledger.repeats(DATABASE) == {0: None, 1: 0, 2: None}
        repeat = optuna_trials()[1]
        assert repeat.values == optuna_trials()[0].values


def test_candidate_that_another_run_has_in_flight_waits_for_its_result(small: Path) -> None:
    with pair(small) as (one, first, other, second):
        propose(first, width=8)
        job = asked(one)
        propose(second, width=8)
        propose(second, width=4)
        asked(other)
        assert not optuna_trials()[1].state.is_finished()
        finish(one, job)
        asked(other)
        assert optuna_trials()[1].values == optuna_trials()[0].values


def test_candidate_added_by_another_run_in_between_is_found_by_the_database(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pair(small) as (one, first, other, second):
        propose(first, width=8)
        job = asked(one)
        propose(second, width=8)
        propose(second, width=4)
        with monkeypatch.context() as blind:
            blind.setattr(other, "_catch_up", lambda: None)
            assert asked(other).candidate.architecture["width"] == [4]
        assert ledger.repeats(DATABASE) == {0: None, 1: 0, 2: None}
        finish(one, job)


def test_network_that_turns_out_to_be_one_in_training_elsewhere_is_not_trained(
    small: Path,
) -> None:
    with pair(small) as (one, first, other, second):
        propose(first, width=4)
        job = asked(one)
        one.tell(job, replay_answers.plain(job))
        other.prices.by_recipe.clear()
        propose(second, width=4, ratio=0.5)  # of so few channels none is pruned
        propose(second, width=8)
        job = asked(other)
        one._catch_up()
        assert 1 in one.trials
        other.tell(job, replay_answers.plain(job))
        assert ledger.repeats(DATABASE)[1] == 0
        one._catch_up()
        assert 1 not in one.trials
        assert one.first[keys_of(job.candidate, one.study).key] == 0


def test_network_that_two_runs_price_at_the_same_moment_is_trained_by_one(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pair(small) as (one, first, other, second):
        for loop in (one, other):
            loop.prices.by_recipe.clear()
        propose(first, width=4)
        propose(second, width=4, ratio=0.5)
        jobs = [(loop, asked(loop)) for loop in (one, other)]
        assert all(isinstance(job, Price) for _, job in jobs)
        with monkeypatch.context() as blind:
            for loop, job in jobs:
                blind.setattr(loop, "_catch_up", lambda: None)
                loop.tell(job, replay_answers.plain(job))
        assert ledger.repeats(DATABASE) == {0: None, 1: 0}
        assert [isinstance(job, Train) for job in one.ready] == [True]
        assert not other.ready
        finish(one, asked(one))
        propose(second, width=8)
        asked(other)
        assert optuna_trials()[1].values == optuna_trials()[0].values


def test_front_is_that_of_both_runs_after_every_trial(small: Path) -> None:
    with pair(small, FIXED_LR, "search.trials=24") as (one, _, other, _):
        loops = [one, other]
        while loops:
            for loop in list(loops):
                job = loop.ask()
                if job is None:
                    loops.remove(loop)
                else:
                    loop.tell(job, replay_answers.plain(job))
        one._catch_up()
        assert one.state.front == other.state.front
        assert one.state.hypervolume == other.state.hypervolume
        assert one.state.counts == other.state.counts
        assert one.state.trials == other.state.trials
    stored = ledger.fronts(DATABASE)
    recomputed = list(ledger.recomputed_fronts(DATABASE))
    assert [front[2] for front in stored] == [front[2] for front in recomputed]


def test_front_that_another_run_has_made_meanwhile_is_not_lost(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pair(small) as (one, first, other, second):
        propose(first, width=4, depth=1)
        propose(second, width=8, depth=2)
        mine, theirs = asked(one), asked(other)
        with monkeypatch.context() as blind:
            blind.setattr(other, "_catch_up", lambda: None)
            finish(one, mine)
            finish(other, theirs)  # knows of no front, and may not overwrite the one there is
        assert 0 in other.trials
        last = ledger.fronts(DATABASE)[-1]
        assert last[2] == list(ledger.recomputed_fronts(DATABASE))[-1][2]


@pytest.mark.parametrize("stage", ["proposed", "priced", "trained", "repeat"])
def test_what_a_run_leaves_behind_the_other_finishes(small: Path, stage: str) -> None:
    with pair(small) as (one, first, other, _):
        propose(first, width=8)
        job = asked(one)
        if stage == "repeat":
            propose(first, width=8)
            propose(first, width=4)
            asked(one)
            assert ledger.repeats(DATABASE)[1] == 0
        if stage != "proposed":
            one.tell(job, replay_answers.plain(job))
        if stage == "trained":
            job = asked(one)
            one.tell(job, replay_answers.plain(job))
        asked(other)  # knows of them
        leave(first)
        job = asked(other)
        kinds = {"proposed": Price, "priced": Train, "trained": Train, "repeat": Train}
        taken = [job, *other.ready]
        mine = next(j for j in taken if j.trial == 0)
        assert isinstance(mine, kinds[stage])
        if stage == "trained":
            assert mine.until_epoch == 2
        for each in taken:
            finish(other, each)
            other.ready.clear()
        assert optuna_trials()[0].state.is_finished()
        if stage == "repeat":
            assert optuna_trials()[1].values == optuna_trials()[0].values
        doubled = Counter((r.trial, r.rung) for r in ledger.evaluations(DATABASE))
        assert set(doubled.values()) == {1}


def test_run_that_was_taken_for_dead_ends_with_a_sentence(small: Path) -> None:
    with pair(small) as (one, first, _, second):
        job = asked(one)
        before = ledger.evaluations(DATABASE)
        with second.store.engine.begin() as connection:
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.id == first.store.run)
                .values(ended_at=time.time(), outcome="killed")
            )
        with pytest.raises(RunFailedError, match="another run has taken over its candidates"):
            one.tell(job, replay_answers.plain(job))
        assert ledger.evaluations(DATABASE) == before


def test_repeat_of_a_trial_that_repeats_another_is_answered_by_whoever_inherits_it(
    small: Path,
) -> None:
    with pair(small) as (one, first, other, second):
        propose(first, width=4)
        job = asked(one)
        other.prices.by_recipe.clear()
        propose(second, width=4, ratio=0.5)
        twin = asked(other)  # will turn out to be trial 0
        propose(first, width=4, ratio=0.5)
        propose(first, width=8)
        one.ask()  # trial 2 repeats trial 1
        assert ledger.repeats(DATABASE)[2] == 1
        one.tell(job, replay_answers.plain(job))
        other.tell(twin, replay_answers.plain(twin))
        leave(second)
        while (job := one.ask()) is not None:
            one.tell(job, replay_answers.plain(job))
        assert ledger.repeats(DATABASE)[1] == 0
        told = optuna_trials()
        assert told[0].values == told[1].values == told[2].values


def test_run_that_came_and_went_between_two_looks_is_noticed(small: Path) -> None:
    with driven(small) as (one, _):
        with driven(small) as (other, second):
            propose(second, width=8)
            job = asked(other)
            other.tell(job, replay_answers.plain(job))
        begun = [asked(one)]
        assert 0 in one.trials
        assert [j.trial for j in [*begun, *one.ready] if isinstance(j, Train)] == [0]


def test_files_that_another_run_may_need_stay(small: Path) -> None:
    with pair(small) as (one, first, other, _):
        propose(first, width=8)
        job = asked(one)
        one.tell(job, replay_answers.plain(job))
        job = asked(one)
        one.tell(job, replay_answers.plain(job))  # trained to the first rung
        asked(other)
        train_key = other.trials[0].keys.train_key
        assert other.files.training[train_key] == 1
        while one.trials[0].final is None:
            job = asked(one)
            one.tell(job, replay_answers.plain(job))
        other._catch_up()
        assert other.files.training[train_key] == 0


def test_result_that_another_run_writes_while_we_read_has_its_measurements_or_is_not_told(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pair(small) as (one, _, _, second):
        job = asked(one)
        read = rows.measurements_of

        def interrupted(*arguments: Any) -> Any:
            found = read(*arguments)
            if job not in done:
                done.append(job)
                one.tell(job, replay_answers.plain(job))
            return found

        done: list[Any] = []
        monkeypatch.setattr(rows, "measurements_of", interrupted)
        [early] = second.store.trials()
        assert done == [job]
        assert all(evaluation.measurements for evaluation in early.evaluations)
        [late] = second.store.trials()
        assert len(late.evaluations) == len(early.evaluations) + 1


def test_trial_that_another_run_is_writing_is_taken_up_once_it_is_whole(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        pass

    with pair(small) as (_, first, _, second):
        engine = first.optuna.storage.engine
        with monkeypatch.context() as cut:
            cut.setattr(type(engine), "begin", lambda engine: throw(Cut()))
            with pytest.raises(Cut):
                first.optuna.ask()
        [half] = first.optuna.running()
        assert first.optuna.running() == {half: None}
        second.optuna.catch_up()
        assert half not in second.optuna.copies
        number, parameters = first.optuna.ask()
        second.optuna.catch_up()
        assert set(second.optuna.copies) == {number}
        assert second.optuna.running() == {half: None, number: parameters}
        second.optuna.tell(half, values=None, failed=True, constraints=(), summary="cut off")
        assert optuna_trials()[half].state.is_finished()
        place = second.optuna._id_of(half)
        second.optuna._close(place, optuna_trials()[half].state, None, [], "once more")
        assert optuna_trials()[half].user_attrs["result"] == "cut off"


def throw(error: Exception) -> None:
    raise error


def test_runs_that_begin_together_propose_different_candidates(small: Path) -> None:
    with pair(small) as (one, _, other, _):
        theirs = [asked(one).candidate for _ in range(2)]
        ours = [asked(other).candidate for _ in range(2)]
        assert theirs != ours


def test_second_run_waits_for_the_plan_of_the_first(small: Path) -> None:
    with pair(small) as (_, first, _, second):
        assert first.scale == second.scale
    plans = ledger.select(
        DATABASE, "select distinct run from paretune_evaluations where trial is null"
    )
    assert len(plans) == 1


# --- commands ---

STUDY = """
name: small
task: digits
space:
  architecture: {convnet: {depth: [1, 2], width: [4, 8], pool: [2, 3]}}
  training: {lr: {low: 1.0e-3, high: 1.0e-2, log: true}}
  compression:
    - prune: {ratio: [0.0, 0.5]}
    - quantize: {scheme: [none, int8]}
objectives:
  - accuracy
  - flops
  - latency: {limit: 1 ms, max_s: 0.1}
search: {sampler: ehvi, trials: 16, rungs: [1, 2], plan: 8, reduction: 1.5}
executor: {process: {workers: 1}}
storage: sqlite:///small.db
"""


def started(folder: Path, *overrides: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "search.run", "small.yaml", "--quiet", *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_command_goes_on_with_what_another_leaves_that_is_killed(folder: Path) -> None:
    (folder / "small.yaml").write_text(STUDY)
    runs = [started(folder), started(folder)]
    try:
        end = time.monotonic() + PATIENCE_S
        while not _evaluations_of_both():
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(runs[0].pid, signal.SIGKILL)
        out, err = runs[1].communicate(timeout=PATIENCE_S)
        assert (runs[1].returncode, out, err) == (0, "", "")
    finally:
        for run in runs:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
    found = ledger.by_trial(DATABASE)
    distinct = [n for n, repeats in ledger.repeats(DATABASE).items() if repeats is None]
    unfinished = [number for number in distinct if found[number][-1].status not in ledger.FINAL]
    assert not unfinished
    assert 16 <= len(distinct) <= 17
    states = Counter(t.state.is_finished() for t in optuna_trials())
    assert states[False] == 0
    last = ledger.fronts(DATABASE)[-1]
    assert last[2] == list(ledger.recomputed_fronts(DATABASE))[-1][2]
    workers = {row.run for row in ledger.evaluations(DATABASE)}
    assert len(workers) == 2


def _evaluations_of_both() -> bool:
    if not DATABASE.exists() or not ledger.select(
        DATABASE, "select 1 from sqlite_master where name = 'paretune_evaluations'"
    ):
        return False
    return len({row.run for row in ledger.evaluations(DATABASE)}) == 2


def test_studies_share_a_server_and_one_of_them_has_two_runs(folder: Path) -> None:
    """Numbers, fronts and Optuna's trials of one are none of the other's."""
    (folder / "small.yaml").write_text(STUDY)
    with running() as server:
        url = server.url(server.new_database())
        runs = [
            started(folder, f"storage={url}", f"name={name}", "search.trials=6")
            for name in ("one", "other", "other")
        ]
        for run in runs:
            out, err = run.communicate(timeout=PATIENCE_S)
            assert (run.returncode, out, err) == (0, "", "")
        engine = open_database(url, create=False)
        views = [read_view(engine, name) for name in ("one", "other")]
        engine.dispose()
        storage = RDBStorage(url)
        known_to_optuna = [
            load_study(study_name=name, storage=storage).trials for name in ("one", "other")
        ]
        storage.engine.dispose()
    for view, most in zip(views, (6, 7), strict=True):
        numbers = [trial.number for trial in view.trials]
        assert 6 <= len(numbers) <= most
        assert len({trial.candidate.key for trial in view.trials}) == len(numbers)
        assert all(trial.status in ledger.FINAL for trial in view.trials)
        assert {n for front in view.fronts for n in front.members} <= set(numbers)
    assert [len(view.runs) for view in views] == [1, 2]
    for view, trials in zip(views, known_to_optuna, strict=True):
        known = [trial.number for trial in trials]
        assert known == list(range(len(known)))
        assert len(known) == len(view.trials) + view.num_repeats
        assert all(trial.state.is_finished() for trial in trials)
