"""The loop with the real store and Optuna on a SQLite file; a formula answers its jobs."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ledger
import optuna
import pytest
import replay_answers
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from search.errors import RunFailedError
from search.evaluation import Job, Price, Train
from search.executors.process import lost
from search.loop import Loop
from search.session import Session

DATABASE = Path("small.db")
FIXED_LR = "space.training={lr: 0.003}"
"""Leaves a space of 32 candidates, 24 different networks."""
LATENCY_IS_LIMITED = "objectives.latency.limit=0.12 ms"


def replay(answers: str = "plain") -> tuple[str, ...]:
    """Overrides of `small`: answered by formula, three rungs."""
    return (
        f"executor={{replay: {{answers: 'replay_answers:{answers}'}}}}",
        f"search.rungs=[1, 2, {replay_answers.EPOCHS}]",
    )


def searched(study: Path, *overrides: str, answers: str = "plain") -> Session:
    """A whole run, as the command does it."""
    session = Session.open(str(study), (*replay(answers), *overrides))
    with session:
        session.plan()
        session.search("nothing")
    return session


@contextmanager
def driven(study: Path, *overrides: str) -> Iterator[tuple[Loop, Session]]:
    """A loop to be driven by hand; its plan is made."""
    with Session.open(str(study), (*replay(), *overrides)) as session:
        session.plan()
        yield loop_of(session), session


def loop_of(session: Session) -> Loop:
    return Loop(
        session.study,
        session.store,
        session.optuna,
        session.prices,
        session.scale,
        lambda state: None,
    )


def propose(session: Session, **choices: Any) -> None:
    """Make Optuna's next proposal this one."""
    names = {
        "depth": "architecture.convnet.depth",
        "width": "architecture.convnet.width",
        "pool": "architecture.convnet.pool",
        "lr": "training.lr",
        "ratio": "compression.prune.ratio",
        "scheme": "compression.quantize.scheme",
    }
    default = {"depth": 1, "width": 8, "pool": 2, "lr": 3e-3, "ratio": 0.0, "scheme": "none"}
    values = {names[name]: value for name, value in {**default, **choices}.items()}
    session.optuna.study.enqueue_trial(values)


def asked(loop: Loop) -> Job:
    job = loop.ask()
    assert job is not None
    return job


def finish(loop: Loop, job: Job) -> None:
    """Answer `job` and whatever follows for its trial."""
    trial = job.trial
    while True:
        loop.tell(job, replay_answers.plain(job))
        if not loop.ready or loop.ready[0].trial != trial:
            return
        job = asked(loop)


def optuna_trials(study: str = "small") -> list[FrozenTrial]:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{DATABASE}").trials


def last(rows: list[ledger.Row]) -> ledger.Row:
    return rows[-1]


# --- statuses ---


def test_every_candidate_ends_in_one_final_status_and_the_counts_add_up(small: Path) -> None:
    session = searched(small, "search.trials=24", LATENCY_IS_LIMITED)
    found = ledger.by_trial(DATABASE)
    own = [n for n, first in ledger.repeats(DATABASE).items() if first is None]
    statuses = Counter(last(found[number]).status for number in own)
    assert set(statuses) == {"done", "stopped", "infeasible"}
    assert statuses == session.state.counts
    assert sum(statuses.values()) == session.state.trials == 24
    assert all(row.status not in ledger.FINAL for rows in found.values() for row in rows[:-1])
    assert session.outcome == "done"


def test_seconds_of_waiting_do_not_count_as_busy(small: Path) -> None:
    session = searched(small, "search.trials=8")
    found = ledger.evaluations(DATABASE)
    # a price that was known before its trial cost no second
    trained = sum(row.rung > 0 for row in found)
    assert session.state.busy_s >= 0.5 * trained
    assert session.state.busy_s <= 0.5 * trained + 0.25 * 8
    stored = ledger.select(DATABASE, "select busy_s, outcome from paretune_runs")
    assert stored == [(session.state.busy_s, "done")]


def test_candidate_beyond_a_limit_is_not_trained_and_says_which(small: Path) -> None:
    searched(small, "search.trials=20", LATENCY_IS_LIMITED)
    infeasible = [r for r in ledger.evaluations(DATABASE) if r.status == "infeasible"]
    assert infeasible
    found = ledger.by_trial(DATABASE)
    for row in infeasible:
        assert [r.rung for r in found[row.trial]] == [0]
        assert row.values["latency"] > 0.12
        assert row.reason.startswith("latency ")
        assert "> limit 120 us" in row.reason


def test_whoever_is_on_the_front_of_a_rung_trains_on(small: Path) -> None:
    searched(small, "search.trials=40")
    found = ledger.by_trial(DATABASE)
    costs = {n: found[n][0].values for n in found}
    seen: dict[int, list[tuple[float, ...]]] = {}
    stopped = 0
    for row in ledger.evaluations(DATABASE):
        if row.rung in (0, replay_answers.EPOCHS):
            continue
        cost = costs[row.trial]
        point = (-row.values["accuracy"], cost["flops"], cost["latency"])
        peers = seen.setdefault(row.rung, [])
        dominated = any(
            all(a <= b for a, b in zip(peer, point, strict=True)) and peer != point
            for peer in peers
        )
        assert dominated or row.status == "trained"
        if row.status == "stopped":
            stopped += 1
            assert f"among {len(peers) + 1} candidates after {row.rung} epoch" in row.reason
            assert last(found[row.trial]) == row
        peers.append(point)
    assert stopped


def test_reduction_of_one_stops_nobody(small: Path) -> None:
    session = searched(small, "search.trials=15", "search.reduction=1")
    assert session.state.counts["stopped"] == 0


def test_failed_evaluations_do_not_end_the_study(small: Path) -> None:
    session = searched(small, "search.trials=30", answers="some_fail")
    counts = session.state.counts
    assert counts["failed"] > 2
    assert counts["done"] > 2
    assert sum(counts.values()) == 30
    failed = [row for row in ledger.evaluations(DATABASE) if row.status == "failed"]
    assert {row.reason for row in failed} == {"Price went wrong", "Train went wrong"}


def test_study_in_which_every_worker_dies_ends_with_failed_candidates(small: Path) -> None:
    session = searched(small, "search.trials=6", answers="all_lost")
    assert session.state.counts == {"failed": 6}
    assert not session.succeeded
    reasons = {row.reason for row in ledger.evaluations(DATABASE) if row.rung}
    assert reasons == {"its worker was killed by SIGSEGV, twice"}


FRAGILE = """
import torch
from torch import nn

class Fragile(nn.Module):
    def __init__(self, input_shape, outputs, kind: str = "sound"):
        super().__init__()
        self.head = nn.Linear(64, 3 if kind == "outputs" else outputs)
        self.kind = kind
        if kind == "build":
            raise RuntimeError("no such layer")

    def forward(self, x):
        if self.training and self.kind == "forward":
            raise IndexError("index 7 is out of range")
        y = self.head(x.flatten(1))
        return y / 0 if self.training and self.kind == "diverges" else y
"""


def test_exception_and_loss_that_is_not_finite_are_failed_evaluations_with_a_sentence(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small.parent / "fragile_net.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(small.parent)
    session = Session.open(
        str(small),
        (
            "space.architecture={'fragile_net:Fragile': "
            "{kind: [sound, build, forward, diverges]}}",
            "space.compression=null",
            FIXED_LR,
            "objectives=[accuracy, parameters]",
            "search.trials=4",
            "search.rungs=[1]",
        ),
    )
    with session:
        session.plan()
        assert session.search("nothing") in ("done", "exhausted")
    assert session.state.counts == {"done": 1, "failed": 3}
    reasons = sorted(r.reason for r in ledger.evaluations(DATABASE) if r.status == "failed")
    assert reasons == [
        "IndexError: index 7 is out of range",
        "RuntimeError: no such layer",
        "the loss became nan in epoch 1 (lr 0.003)",
    ]


# --- lost jobs ---


@pytest.mark.parametrize("kind", [Price, Train])
def test_job_that_was_lost_once_is_tried_again_as_it_was(small: Path, kind: type) -> None:
    with driven(small) as (loop, session):
        propose(session, lr=4e-3, ratio=0.5)
        job = asked(loop)
        while not isinstance(job, kind):
            loop.tell(job, replay_answers.plain(job))
            job = asked(loop)
        loop.tell(job, lost(job, "its worker was killed by SIGKILL"))
        assert asked(loop) == job
        finish(loop, job)
        assert loop.trials[0].final is not None
        assert optuna_trials()[0].state.is_finished()
    assert "lost" not in {row.status for row in ledger.evaluations(DATABASE)}


def test_job_that_was_lost_twice_fails_its_candidate_alone(small: Path) -> None:
    with driven(small) as (loop, session):
        propose(session, lr=4e-3)
        propose(session, lr=5e-3)
        jobs = [until_training(loop) for _ in range(2)]
        for _ in range(2):
            loop.tell(jobs[0], lost(jobs[0], "its worker was killed by SIGKILL"))
            if not loop.state.counts["failed"]:
                assert asked(loop) == jobs[0]
        finish(loop, jobs[1])
        assert loop.state.counts["failed"] == 1
        assert [t.state for t in optuna_trials()][:2] == [
            TrialState.FAIL,
            TrialState.COMPLETE,
        ]
    (failed,) = [row for row in ledger.evaluations(DATABASE) if row.status == "failed"]
    assert failed.reason == "its worker was killed by SIGKILL, twice"


def until_training(loop: Loop) -> Job:
    """The first training job of the next candidate."""
    job = asked(loop)
    while isinstance(job, Price):
        loop.tell(job, replay_answers.plain(job))
        job = asked(loop)
    return job


# --- what is known is not done again ---


def test_repeat_is_answered_from_the_store_with_the_same_values(small: Path) -> None:
    session = searched(small, FIXED_LR, "search.trials=20", "search.reduction=1")
    firsts = {n: first for n, first in ledger.repeats(DATABASE).items() if first is not None}
    assert len(firsts) == session.state.repeats > 3
    told, found = optuna_trials(), ledger.by_trial(DATABASE)
    for number, first in firsts.items():
        assert (told[number].state, told[number].values) == (
            told[first].state,
            told[first].values,
        )
        assert told[number].user_attrs["result"].endswith(f"(repeats trial {first})")
        assert all(row.rung == 0 for row in found.get(number, []))
    assert session.state.trials == 20 == len(told) - len(firsts)


def test_repeat_of_a_candidate_in_flight_waits_for_its_result(small: Path) -> None:
    with driven(small) as (loop, session):
        for _ in range(2):
            propose(session, lr=4e-3)
        propose(session, lr=5e-3)
        job, other = until_training(loop), asked(loop)
        assert (job.trial, other.trial) == (0, 2)
        assert [t.state for t in optuna_trials()] == [TrialState.RUNNING] * 3
        finish(loop, job)
        first, second, _ = optuna_trials()
        assert second.state is first.state is TrialState.COMPLETE
        assert second.values == first.values
        assert loop.state.repeats == 1
    assert ledger.repeats(DATABASE) == {0: None, 1: 0, 2: None}


def test_repeat_of_a_failed_candidate_is_told_as_failed(small: Path) -> None:
    with driven(small) as (loop, session):
        for _ in range(2):
            propose(session, lr=4e-3)
        propose(session, lr=5e-3)
        job = until_training(loop)
        asked(loop)
        failed = dataclasses.replace(replay_answers.plain(job), status="failed", reason="broke")
        loop.tell(job, dataclasses.replace(failed, measurements={}))
        states = [trial.state for trial in optuna_trials()]
        assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]


def test_two_recipes_of_one_network_are_trained_once(small: Path) -> None:
    with driven(small) as (loop, session):
        propose(session, width=4, ratio=0.0, lr=4e-3)
        propose(session, width=4, ratio=0.5, lr=4e-3)
        propose(session, width=4, ratio=0.5, lr=5e-3)
        job, other = until_training(loop), until_training(loop)
        assert (job.trial, other.trial) == (0, 2)
        finish(loop, job)
        first, second, _ = optuna_trials()
        assert second.values == first.values
        assert "(repeats trial 0)" in second.user_attrs["result"]
        assert loop.state.trials == 2
    assert ledger.repeats(DATABASE) == {0: None, 1: 0, 2: None}
    assert [row.rung for row in ledger.by_trial(DATABASE)[1]] == [0]


def test_repeat_of_a_candidate_that_turns_out_to_be_a_twin_gets_the_twins_result(
    small: Path,
) -> None:
    with driven(small, "search.plan=8", FIXED_LR) as (loop, session):
        loop.prices.by_recipe.clear()  # as if the plan had not met them
        propose(session, width=4, ratio=0.0)
        propose(session, width=4, ratio=0.5)
        propose(session, width=4, ratio=0.5)
        propose(session, width=8)
        first, second, other = asked(loop), asked(loop), asked(loop)
        assert [job.trial for job in (first, second, other)] == [0, 1, 3]
        loop.tell(second, replay_answers.plain(second))
        loop.tell(first, replay_answers.plain(first))
        finish(loop, asked(loop))
        told = optuna_trials()
        assert [t.state for t in told[:3]] == [TrialState.COMPLETE] * 3
        assert told[0].values == told[1].values == told[2].values
    assert ledger.repeats(DATABASE)[3] is None
    assert sum(first is None for first in ledger.repeats(DATABASE).values()) == 2


def test_no_network_is_trained_twice_with_the_same_weights(small: Path) -> None:
    searched(small, FIXED_LR, "search.trials=15")
    query = (
        "select c.train_key, c.deploy_key, count(distinct e.trial)"
        " from paretune_evaluations e join paretune_candidates c on c.key = e.candidate"
        " where e.rung > 0 group by 1, 2"
    )
    assert {count for *_, count in ledger.select(DATABASE, query)} == {1}


def test_space_that_is_exhausted_ends_the_study(small: Path) -> None:
    one_choice = (
        "space.architecture={convnet: {depth: [1, 2], width: 4}}",
        "space.compression=null",
        FIXED_LR,
    )
    session = searched(small, *one_choice, "search.trials=1000")
    assert session.outcome == "exhausted"
    assert session.state.exhausted
    assert session.state.trials == 2
    assert session.state.repeats < 100  # a small space is enumerated: all of it has been tried
    assert ledger.select(DATABASE, "select outcome from paretune_runs") == [("exhausted",)]
    assert all(trial.state.is_finished() for trial in optuna_trials())


def test_time_that_is_up_ends_proposals_and_finishes_what_is_begun(small: Path) -> None:
    session = searched(small, "search.time=1 s", "search.trials=100000")
    assert session.outcome == "done"
    assert 0 < session.state.finished == session.state.trials < 100000
    assert all(trial.state.is_finished() for trial in optuna_trials())


def test_larger_budget_goes_on_where_the_study_ended(small: Path) -> None:
    searched(small, "search.trials=5")
    before = ledger.evaluations(DATABASE)
    session = searched(small, "search.trials=9")
    assert session.state.trials == session.state.finished == 9
    assert ledger.evaluations(DATABASE)[: len(before)] == before
    again = searched(small, "search.trials=9")
    assert again.state.trials == 9
    assert again.state.counts == session.state.counts
    assert (again.state.front, again.state.hypervolume) == (
        session.state.front,
        session.state.hypervolume,
    )


# --- cut off and taken up ---


class CutOffError(Exception):
    """The process ends here."""


def cut_off(session: Session, statement: str, times: int) -> None:
    """The `times`-th SQL statement that holds these words, ours or Optuna's, is not executed."""
    calls = iter(range(1, 10**6))

    def before(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if statement in sql and next(calls) >= times:
            raise CutOffError

    for engine in (session.store.engine, session.optuna.storage.engine):
        event.listen(engine, "before_cursor_execute", before)


WRITES = {
    "optuna's new trial": ("INSERT INTO trials", 4),
    "a parameter": ("INSERT INTO trial_params", 5),
    "the trial": ("INSERT INTO paretune_trials", 3),
    "the price": ("INSERT INTO paretune_evaluations", 1),
    "an evaluation": ("INSERT INTO paretune_evaluations", 9),
    "its measurements": ("INSERT INTO paretune_measurements", 6),
    "the front": ("INSERT INTO paretune_fronts", 2),
    "its members": ("INSERT INTO paretune_front_members", 3),
    "the twin": ("UPDATE paretune_trials", 1),
    "the constraints": ("INTO trial_system_attributes", 2),
    "optuna's end": ("UPDATE trials", 3),
}
"""What is written -> (words of the SQL statement, the how many-th of them is not executed)."""


@pytest.mark.parametrize(("statement", "times"), WRITES.values(), ids=WRITES)
def test_cut_off_before_any_write_nothing_is_lost_or_doubled(
    small: Path, statement: str, times: int
) -> None:
    overrides = (FIXED_LR, "search.trials=14", "search.reduction=1.5", LATENCY_IS_LIMITED)
    session = Session.open(str(small), (*replay(), *overrides))
    with session:
        session.plan()
        cut_off(session, statement, times)
        with pytest.raises(CutOffError):
            session.search("nothing")
    before = ledger.evaluations(DATABASE)
    resumed = searched(small, *overrides)
    assert ledger.evaluations(DATABASE)[: len(before)] == before
    assert resumed.state.trials == resumed.state.finished == 14
    assert_sound()


def assert_sound() -> None:
    """Nothing is doubled, nothing open, and the fronts are those of the evaluations."""
    places = [(row.trial, row.rung) for row in ledger.evaluations(DATABASE)]
    assert len(places) == len(set(places))
    assert all(trial.state.is_finished() for trial in optuna_trials())
    query = (
        "select count(distinct e.trial)"
        " from paretune_evaluations e join paretune_candidates c on c.key = e.candidate"
        " where e.rung > 0 group by c.train_key, c.deploy_key"
    )
    assert {count for (count,) in ledger.select(DATABASE, query)} == {1}
    assert_history_is_recomputed()


def test_twin_that_was_cut_off_before_it_was_told_apart_is_not_trained_after_resume(
    small: Path,
) -> None:
    with driven(small, FIXED_LR) as (loop, session):
        loop.prices.by_recipe.clear()
        propose(session, width=4, ratio=0.0)
        propose(session, width=4, ratio=0.5)
        propose(session, width=8)
        first, second, _ = asked(loop), asked(loop), asked(loop)
        loop.tell(second, replay_answers.plain(second))
        training = asked(loop)
        assert training.trial == 1
        loop.tell(training, replay_answers.plain(training))
        cut_off(session, *WRITES["the twin"])
        with pytest.raises(CutOffError):
            loop.tell(first, replay_answers.plain(first))
    with driven(small, FIXED_LR) as (loop, session):
        while (job := loop.ask()) is not None and loop.state.trials < 6:
            loop.tell(job, replay_answers.plain(job))
        while loop.ready:
            job = asked(loop)
            loop.tell(job, replay_answers.plain(job))
    assert ledger.repeats(DATABASE)[0] == 1
    assert [row.rung for row in ledger.by_trial(DATABASE)[0]] == [0]


def test_repeat_in_flight_is_answered_after_a_resume(small: Path) -> None:
    with driven(small) as (loop, session):
        for _ in range(2):
            propose(session, lr=4e-3)
        propose(session, lr=5e-3)
        until_training(loop)
        asked(loop)
    resumed = searched(small, "search.trials=3")
    assert resumed.state.repeats >= 1
    told = optuna_trials()
    assert told[1].values == told[0].values
    assert told[1].state is told[0].state
    assert_sound()


def test_proposal_that_optuna_alone_knows_is_adopted(small: Path) -> None:
    with driven(small) as (_, session):
        propose(session, lr=7e-3)
        session.optuna.ask()
    searched(small, "search.trials=2")
    ((parameters,),) = ledger.select(
        DATABASE, "select parameters from paretune_trials where number = 0"
    )
    assert '"training.lr": 0.007' in parameters
    assert len(ledger.repeats(DATABASE)) == len(optuna_trials()) == 2


def test_proposal_that_was_cut_off_half_way_is_closed_as_failed(small: Path) -> None:
    with driven(small) as (_, session):
        session.optuna.stored.ask()
    session = searched(small, "search.trials=2")
    assert optuna_trials()[0].state is TrialState.FAIL
    assert session.state.trials == 2
    assert 0 not in ledger.repeats(DATABASE)


# --- the front ---


def assert_history_is_recomputed() -> None:
    stored, expected = ledger.fronts(DATABASE), list(ledger.recomputed_fronts(DATABASE))
    assert [(t, members) for t, _, members in stored] == [(t, m) for t, _, m in expected]
    assert [v for _, v, _ in stored] == pytest.approx([v for _, v, _ in expected], abs=1e-12)


@pytest.mark.parametrize(
    "overrides",
    [
        (LATENCY_IS_LIMITED,),
        ("objectives.latency.limit=1 ms", FIXED_LR),
        ("objectives=[{accuracy: {limit: 0.85}}, flops]",),
    ],
)
def test_history_of_fronts_is_that_of_all_evaluations_after_each_trial(
    small: Path, overrides: tuple[str, ...]
) -> None:
    session = searched(small, "search.trials=16", "search.reduction=1.3", *overrides)
    assert_history_is_recomputed()
    stored = ledger.fronts(DATABASE)
    volumes = [volume for _, volume, _ in stored]
    assert volumes == sorted(volumes)
    assert volumes[-1] > 0
    assert stored[-1][1:] == (session.state.hypervolume, session.state.front)


def test_front_holds_no_candidate_below_a_limit_on_the_score(small: Path) -> None:
    searched(small, "search.trials=20", "objectives=[{accuracy: {limit: 0.85}}, flops]")
    found = ledger.by_trial(DATABASE)
    below = [n for n, rows in found.items() if last(rows).values.get("accuracy", 1) < 0.85]
    assert any(last(found[n]).status == "done" for n in below)
    assert not set(below) & {n for *_, members in ledger.fronts(DATABASE) for n in members}


# --- what Optuna is told ---

STATES = {
    "done": TrialState.COMPLETE,
    "infeasible": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "hopeless": TrialState.PRUNED,
    "unbuildable": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
LIMITS = (
    "objectives=[{accuracy: {limit: 0.8}}, {flops: {limit: 16k}}, {latency: {limit: 1 ms}}]",
)


def test_optuna_knows_states_values_and_reasons_as_we_do(small: Path) -> None:
    searched(
        small,
        "search.trials=60",
        "space.architecture.convnet.pool=2",
        *LIMITS,
        answers="some_fail",
    )
    found, origin = ledger.by_trial(DATABASE), ledger.origins(DATABASE)
    seen = set()
    for trial in optuna_trials():
        rows = found[origin[trial.number]]
        end = last(rows)
        seen.add(end.status)
        assert trial.state is STATES[end.status]
        assert trial.user_attrs["result"].startswith(end.status)
        assert end.reason in trial.user_attrs["result"]
        measured = {k: v for row in rows for k, v in row.values.items()}
        names = ("accuracy", "flops", "latency")
        expected = [measured[name] for name in names] if end.status == "done" else None
        assert trial.values == expected
    assert seen == {"done", "stopped", "infeasible", "failed"}


def test_optuna_gets_one_list_of_limits_costs_first_then_the_score(small: Path) -> None:
    searched(small, "search.trials=25", *LIMITS)
    found, origin = ledger.by_trial(DATABASE), ledger.origins(DATABASE)
    for trial in optuna_trials():
        rows = found[origin[trial.number]]
        measured = {k: v for row in rows for k, v in row.values.items()}
        flops, latency, accuracy = trial.system_attrs["constraints"]
        assert flops == measured["flops"] - 16000
        assert latency == measured["latency"] - 1
        expected = 0.8 - measured["accuracy"] if "accuracy" in measured else 0.0
        assert accuracy == pytest.approx(expected)


def test_best_trials_of_optuna_are_our_front(small: Path) -> None:
    session = searched(small, "search.trials=30", *LIMITS)
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{DATABASE}")
    origin = ledger.origins(DATABASE)
    best = {origin[trial.number] for trial in study.best_trials}
    assert best == set(session.state.front)
    assert study.metric_names == ["accuracy", "flops", "latency (ms)"]


# --- files ---


def test_only_members_of_the_front_keep_their_checkpoint_and_weights(small: Path) -> None:
    session = Session.open(
        str(small), (FIXED_LR, "objectives=[accuracy, flops]", "search.trials=10")
    )
    with session:
        session.plan()
        session.search("nothing")
    rows = ledger.select(DATABASE, "select trial, artifact, kind, epoch from paretune_checkpoints")
    kept: dict[int, list[str]] = {}
    for trial, _, kind, epoch in rows:
        assert epoch == 2
        kept.setdefault(trial, []).append(kind)
    assert {trial: sorted(kinds) for trial, kinds in kept.items()} == {
        trial: ["checkpoint", "weights"] for trial in session.state.front
    }
    assert ledger.files(Path("small.artifacts")) == {artifact for _, artifact, _, _ in rows}
    assert session.state.counts["done"] > len(session.state.front)


def test_doubtful_price_is_taken_again_and_only_the_sound_one_is_stored(small: Path) -> None:
    session = searched(small, answers="doubtful")
    plainly = searched(small, "name=plainly", answers="plain")
    for each in (session, plainly):
        assert each.state.counts["failed"] == 0
    found, expected = (
        {
            number: trial.evaluations[0].measurements["latency"]
            for number, trial in enumerate(each.store.trials())
            if trial.repeats is None
        }
        for each in (session, plainly)
    )
    assert found == expected
    assert all(measured.flags == () for measured in found.values())


def test_target_that_does_not_answer_ends_the_run_which_goes_on_later(small: Path) -> None:
    with pytest.raises(RunFailedError, match="no answer; the same command goes on from here"):
        searched(small, answers="away")
    session = searched(small)
    assert session.outcome == "done"
    assert session.state.counts["failed"] == 0
    assert session.state.trials == 4
