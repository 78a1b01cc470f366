"""What is not trained, and what is trained once for several: the gate's forecast, the fan-out."""

from pathlib import Path

import ledger
import numpy as np
import pytest
import replay_answers
from sqlalchemy import event

from search.keys import keys_of
from search.known import StudyKnowledge
from search.pareto import Scale
from search.prices import Prices
from search.session import Session
from search.spec import read_study
from search.state import Known
from search.strategy.fanout import chosen

DATABASE = Path("small.db")
REPLAY = (
    "executor={replay: {answers: 'replay_answers:orderly'}}",
    f"search.rungs=[1, 2, {replay_answers.EPOCHS}]",
    "space.training={lr: 0.003}",
    "search.reduction=1",
    "search.trials=32",
)
SAMPLERS = ("random", "tpe", "nsga2", "ehvi")


def searched(study: Path, *overrides: str) -> Session:
    with Session.open(str(study), overrides) as session:
        session.plan()
        session.search("nothing")
    return session


# --- the gate ---


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hopeless_candidates_are_not_trained_and_would_not_have_joined_the_front(
    small: Path, sampler: str
) -> None:
    session = searched(small, *REPLAY, f"search.sampler={sampler}")
    found = ledger.by_trial(DATABASE)
    hopeless = {n: rows for n, rows in found.items() if rows[-1].status == "hopeless"}
    assert hopeless
    assert session.state.counts["hopeless"] == len(hopeless)
    done = {n: rows for n, rows in found.items() if rows[-1].status == "done"}
    values = {n: {**rows[0].values, **rows[-1].values} for n, rows in done.items()}
    wrong = 0
    for trial, [row] in hopeless.items():
        assert row.rung == 0
        member = int(row.reason.split()[1])
        assert row.reason.startswith(f"trial {member} is better in everything even at accuracy ")
        candidate = session_candidate(session, trial)
        job = replay_answers.Train(
            trial=trial, candidate=candidate, until_epoch=replay_answers.EPOCHS, checkpoint=None
        )
        accuracy = replay_answers.orderly(job).measurements["accuracy"].value
        wrong += values[member]["accuracy"] < accuracy
        assert all(values[member][cost] <= row.values[cost] for cost in ("flops", "latency"))
    # two deviations are no certainty
    assert wrong <= len(hopeless) / 4


def session_candidate(session: Session, trial: int) -> replay_answers.Candidate:
    return next(t.candidate for t in session.publish().trials if t.number == trial)


def test_gate_of_zero_trains_all_that_keep_the_limits(small: Path) -> None:
    session = searched(small, *REPLAY, "search.gate=0")
    assert session.state.counts["hopeless"] == 0


def test_a_wider_gate_lets_more_pass(small: Path) -> None:
    counts = []
    for gate in (1, 4):
        folder = f"storage=sqlite:///gate{gate}.db"
        session = searched(small, *REPLAY, folder, f"search.gate={gate}")
        counts.append(session.state.counts["hopeless"])
    assert counts[0] >= counts[1]


def test_negative_gate_is_refused(small: Path) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Session.open(str(small), ("search.gate=-1",))


def test_resumed_study_forgets_no_verdict(small: Path) -> None:
    first = searched(small, *REPLAY[:-1], "search.trials=20")
    again = searched(small, *REPLAY)
    assert again.state.counts["hopeless"] >= first.state.counts["hopeless"]
    assert sum(again.state.counts.values()) == again.state.trials


# --- scores on the way ---


@pytest.mark.parametrize("least", [0.0, 0.25], ids=["in the space", "not in the space"])
def test_scores_on_the_way_are_those_of_the_uncompressed_candidate(
    small: Path, least: float
) -> None:
    study = read_study(
        str(small), (*REPLAY, f"space.compression=[{{prune: {{ratio: [{least}, 0.5]}}}}]")
    )
    parameters = study.space.draw(np.random.default_rng(0))
    strong, weak = (
        study.space.decode({**parameters, "compression.prune.ratio": ratio}, (1, 8, 8))
        for ratio in (0.5, least)
    )
    trial = Known(0, strong, keys_of(strong, study))
    for epochs in (1, replay_answers.EPOCHS):
        job = replay_answers.Train(trial=0, candidate=strong, until_epoch=epochs, checkpoint=None)
        trial.evaluations.append(replay_answers.plain(job))
    prices, scale = Prices({}), Scale({}, {}, {})
    known = StudyKnowledge(study, prices, scale, {0: trial}, ())
    first, last = (e.measurements["accuracy"].value for e in trial.evaluations)
    *way, (share, value, of) = known.curve(0)
    assert (share, value, of) == (1.0, last, None)
    if least:
        assert not way
        return
    [(share, value, of)] = way
    assert (share, value) == (1 / replay_answers.EPOCHS, first)
    assert of is not None
    assert study.space.decode(of, (1, 8, 8)) == weak


# --- fan-out ---

FANNED = ("search.reduction=1", "search.trials=14", "search.gate=0", "search.fanout=2")


@pytest.mark.parametrize("sampler", ["random", "nsga2", "ehvi"])
def test_children_are_other_compressions_of_weights_that_are_trained(
    small: Path, sampler: str
) -> None:
    session = searched(small, *FANNED, f"search.sampler={sampler}")
    trials = {t.number: t for t in session.publish().trials}
    parents = {
        t.number: t.user_attrs["parent"]
        for t in session.optuna.study.get_trials(deepcopy=False)
        if "parent" in t.user_attrs
    }
    assert session.state.children == len(parents) > 0
    assert sum(session.state.counts.values()) == session.state.trials == 14
    for child, parent in parents.items():
        if child not in trials:  # it came out as the network of another trial
            continue
        mine, theirs = trials[child].candidate, trials[parent].candidate
        assert mine.compression != theirs.compression
        assert (mine.architecture, mine.training) == (theirs.architecture, theirs.training)
        rungs = [rung for rung, _ in trials[child].curve]
        assert rungs in ([2], [])
        assert parent not in parents


def test_before_there_is_a_model_children_are_those_that_need_no_training(small: Path) -> None:
    session = searched(small, *FANNED, "search.trials=5", "search.sampler={random: {}}")
    trials = {t.number: t for t in session.publish().trials}
    children = [
        trials[t.number].candidate.compression
        for t in session.optuna.study.get_trials(deepcopy=False)
        if "parent" in t.user_attrs and t.number in trials
    ]
    assert children
    assert all(name == "quantize" for steps in children for name, _ in steps)


def test_child_scores_what_it_would_have_scored_alone(small: Path) -> None:
    session = searched(small, *FANNED)
    view = session.publish()
    alone = "storage=sqlite:///alone.db"
    searched(small, *FANNED[:-1], "search.fanout=0", "search.trials=32", alone)
    scores = {
        row.candidate: row.values["accuracy"]
        for row in ledger.evaluations(Path("alone.db"))
        if row.status == "done"
    }
    both = [row for row in ledger.evaluations(DATABASE) if row.candidate in scores]
    done = [row for row in both if row.status == "done"]
    assert view.members
    assert all(row.values["accuracy"] == scores[row.candidate] for row in done)


def test_no_fan_out_where_it_is_off_or_the_budget_is_used(small: Path) -> None:
    off = searched(small, *FANNED[:-1], "search.fanout=0")
    assert off.state.children == 0
    tight = searched(small, *FANNED[:1], "search.trials=1", "storage=sqlite:///tight.db")
    assert tight.state.children == 0


def test_fan_out_that_is_cut_off_goes_on_without_loss(small: Path) -> None:
    class CutOffError(Exception):
        pass

    def before(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO paretune_trials" in statement and session.state.children:
            raise CutOffError

    session = Session.open(str(small), FANNED)
    with session:
        session.plan()
        event.listen(session.store.engine, "before_cursor_execute", before)
        with pytest.raises(CutOffError):
            session.search("nothing")
    again = searched(small, *FANNED)
    assert sum(again.state.counts.values()) == again.state.trials == 14


def test_files_that_stay_are_those_of_the_front(small: Path) -> None:
    session = searched(small, *FANNED)
    front = session.state.front
    kept = {row[0] for row in ledger.select(DATABASE, "select trial from paretune_checkpoints")}
    assert kept == set(front)


def test_the_most_promising_are_chosen() -> None:
    assert chosen([0.3, 0.0, 0.5, 1e-9], 3) == [2, 0]
    assert chosen([], 3) == []
