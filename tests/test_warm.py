"""Warm start: what an earlier study has trained is not trained again."""

from pathlib import Path

import ledger
import pytest
import replay_answers
from sqlalchemy import create_engine

from search.errors import InputError
from search.report import report_path
from search.session import Session
from search.store.store import Store
from search.store.view import StudyView, TrialView, read_view
from search.tables import known_line
from spaces.candidate import digest

DATABASE = Path("small.db")
REPLAY = (
    "executor={replay: {answers: 'replay_answers:plain'}}",
    f"search.rungs=[1, 2, {replay_answers.EPOCHS}]",
    "search.fanout=0",
    "search.trials=16",
)
WARM = ("name=later", "search.warm_start=[small]")


def searched(study: Path, *overrides: str) -> Session:
    with Session.open(str(study), overrides) as session:
        session.plan()
        session.search("nothing")
        session.conclude(show=False)
    return session


def view(study: str) -> StudyView:
    return read_view(create_engine(f"sqlite:///{DATABASE}"), study)


def name(trial: TrialView) -> str:
    return digest(trial.candidate.as_dict())


def trained_s(study: str) -> float:
    return sum(trial.seconds.get("train", 0.0) for trial in view(study).trials)


def test_known_candidates_keep_their_values_and_take_no_training(small: Path) -> None:
    """For real: the front's files become those of the later study too.

    Without latencies: timed anew they change the front, and who joins it without files is trained.
    """
    costs = ("search.reduction=1", "objectives=[accuracy, flops]")
    searched(small, *costs)
    session = searched(small, *costs, *WARM, "search.trials=1")
    later = view("later")
    values = {
        name(t): t.measurements["accuracy"].value
        for t in view("small").trials
        if t.status == "done"
    }
    known = {name(t): t for t in later.trials if "earlier" in t.seconds}
    assert session.state.known == len(known) == len(values) > 1
    for candidate, accuracy in values.items():
        assert known[candidate].measurements["accuracy"].value == accuracy
        assert "train" not in known[candidate].seconds
        assert known[candidate].reason.startswith("known from trial ")
    assert len(later.trials) <= len(known) + 1
    files = Store(create_engine(f"sqlite:///{DATABASE}"), "later").artifacts()
    for member in later.members:
        kinds = {file.kind for file in files[member.number]}
        assert kinds == {"checkpoint", "weights"}
        folder = Path(session.study.artifacts)
        assert all((folder / file.id).stat().st_size for file in files[member.number])
    assert known_line(later).startswith(f"{len(known)} candidates known from earlier studies: ")
    assert f"{len(known)} candidates known" in report_path("later").read_text()


def test_candidate_of_the_front_without_files_is_trained_again(small: Path) -> None:
    """Replayed trainings leave no files: what joins the front is trained, the rest is known."""
    searched(small, *REPLAY)
    searched(small, *REPLAY, *WARM, "search.trials=1")
    found = ledger.by_trial(DATABASE, "later")
    again = {
        n
        for n, rows in found.items()
        if any(r.rung and "known from" not in r.reason for r in rows)
    }
    assert {member.number for member in view("later").members} <= again
    assert any(n not in again and rows[-1].status == "done" for n, rows in found.items())
    assert trained_s("later") < trained_s("small")


def test_candidates_that_were_stopped_are_known_as_far_as_they_came(small: Path) -> None:
    searched(small, *REPLAY, "search.trials=30", "search.reduction=4")
    stopped = [t for t in view("small").trials if t.status == "stopped"]
    assert stopped
    searched(small, *REPLAY, *WARM, "search.trials=1", "search.reduction=4")
    later = {name(t): t for t in view("later").trials}
    assert all("earlier" in later[name(t)].seconds for t in stopped)


def test_going_on_takes_nothing_over_twice(small: Path) -> None:
    searched(small, *REPLAY)
    first = searched(small, *REPLAY, *WARM, "search.trials=3")
    second = searched(small, *REPLAY, *WARM, "search.trials=6")
    assert first.state.known == second.state.known > 0
    candidates = [name(t) for t in view("later").trials]
    assert len(candidates) == len(set(candidates)) == first.state.known + 6


@pytest.mark.parametrize("change", ["seed=1", "space.architecture.convnet.width=[12, 16]"])
def test_other_seeds_and_other_networks_are_no_matches(small: Path, change: str) -> None:
    searched(small, *REPLAY)
    assert searched(small, *REPLAY, *WARM, "search.trials=2", change).state.known == 0


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ("[nobody]", "'nobody' is not in the database"),
        ("[later]", "'later' is this study"),
    ],
)
def test_study_that_cannot_be_named_is_refused(small: Path, names: str, what: str) -> None:
    searched(small, *REPLAY, "search.trials=1")
    with pytest.raises(InputError, match=f"search.warm_start: {what}"):
        Session.open(str(small), (*REPLAY, "name=later", f"search.warm_start={names}"))
    assert ledger.by_trial(DATABASE, "later") == {}


def test_study_of_another_metric_is_refused(small: Path) -> None:
    searched(small, *REPLAY, "search.trials=1")
    engine = create_engine(f"sqlite:///{DATABASE}")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "update paretune_studies set objectives = "
            "replace(objectives, 'accuracy', 'macro_f1') where name = 'small'"
        )
    with pytest.raises(InputError, match="study 'small' has no accuracy"):
        Session.open(str(small), (*REPLAY, *WARM))
