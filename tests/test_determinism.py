"""What one seed repeats to the last bit, and what it does not."""

import json
import random
from pathlib import Path
from typing import Any

import ledger
import pytest
import replay_answers
import torch
from sqlalchemy import event

from objectives.tasks.digits import Digits
from search.evaluation import Job
from search.loop import Loop
from search.samplers import SAMPLERS
from search.session import Session

NO_CLOCK = ("objectives=[accuracy, flops]", "search.sampler={tpe: {startup: 3}}")
FINITE = ("space.architecture.convnet.depth=1", "space.training={lr: 0.003}")
"""A space of 16 candidates."""
REPLAY = ("executor={replay: {answers: 'replay_answers:plain'}}", "search.rungs=[1, 2, 4]")


def run(study: Path, *overrides: str, prices_from: int | None = None) -> Session:
    session = Session.open(str(study), overrides, prices_from=prices_from)
    with session:
        session.plan()
        session.search("nothing")
    return session


def at(name: str) -> str:
    return f"storage=sqlite:///{name}.db"


def record(database: str, study: str = "small") -> dict[str, Any]:
    """All that must repeat: what was proposed, found and kept; no times."""
    path = Path(f"{database}.db")
    return {
        "proposals": ledger.select(
            path,
            "select number, candidate, parameters, repeats from paretune_trials"
            " where study = ? order by number",
            study,
        ),
        "evaluations": [
            (row.trial, row.rung, row.status, row.reason, row.candidate, row.values)
            for row in ledger.evaluations(path, study)
        ],
        "fronts": ledger.fronts(path, study),
        "scale": [
            [json.loads(part) for part in row]
            for row in ledger.select(
                path, "select scale, plan from paretune_studies where name = ?", study
            )
        ],
    }


def scores(database: str, study: str = "small") -> dict[tuple[str, int], float]:
    """(candidate, rung) -> accuracy."""
    return {
        (row.candidate, row.rung): row.values["accuracy"]
        for row in ledger.evaluations(Path(f"{database}.db"), study)
        if row.rung
    }


def test_one_seed_repeats_a_real_study_to_the_last_bit(small: Path) -> None:
    for name in ("first", "second"):
        run(small, at(name), *NO_CLOCK, "search.trials=6")
    assert record("first") == record("second")
    assert len(record("first")["fronts"]) > 0


def test_other_seed_is_another_study(small: Path) -> None:
    run(small, at("first"), *REPLAY)
    run(small, at("second"), *REPLAY, "seed=1")
    first, second = record("first"), record("second")
    assert first["proposals"] != second["proposals"]
    assert not {row[4] for row in first["evaluations"]} & {row[4] for row in second["evaluations"]}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_repeats_its_proposals(small: Path, sampler: str) -> None:
    for name in ("first", "second"):
        run(small, at(name), *REPLAY, f"search.sampler={sampler}", "search.trials=14")
    assert record("first") == record("second")


def test_latencies_answered_from_an_earlier_run_repeat_its_study(small: Path) -> None:
    timed = ("objectives.latency.max_s=0.05", "search.sampler={tpe: {startup: 3}}")
    run(small, *timed, "search.trials=6")
    run(small, *timed, "search.trials=6", "name=again", prices_from=1)
    assert record("small") == record("small", "again")
    seconds = ledger.select(
        Path("small.db"),
        "select sum(json_extract(seconds, '$.measure')) from paretune_evaluations"
        " where study = 'again'",
    )
    assert seconds == [(None,)]


def test_resumed_study_proposes_otherwise_and_evaluates_alike(small: Path) -> None:
    # without children, which follow from what is known; 12 of 16 candidates: at least 8 in common
    budget = (*NO_CLOCK, *FINITE, "search.reduction=1", "search.fanout=0")
    run(small, at("whole"), *budget, "search.trials=12")
    for trials in (3, 12):
        run(small, at("parts"), *budget, f"search.trials={trials}")
    whole, parts = record("whole"), record("parts")
    assert whole["proposals"][:3] == parts["proposals"][:3]
    assert whole["proposals"] != parts["proposals"]
    common = scores("whole").keys() & scores("parts").keys()
    assert len(common) > 5
    assert {key: scores("whole")[key] for key in common} == {
        key: scores("parts")[key] for key in common
    }


def test_training_that_was_cut_off_between_rungs_ends_as_if_it_was_not(small: Path) -> None:
    overrides = (*NO_CLOCK, "search.trials=1", "search.rungs=[1, 2, 3]")
    run(small, at("whole"), *overrides)
    calls = iter(range(10))

    class CutOffError(Exception):
        pass

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # the price, the first rung, and no further
        if "INSERT INTO paretune_evaluations" in statement and next(calls) == 2:
            raise CutOffError

    session = Session.open(str(small), (at("parts"), *overrides))
    with session:
        session.plan()
        event.listen(session.store.engine, "before_cursor_execute", before)
        with pytest.raises(CutOffError):
            session.search("nothing")
    assert len(record("parts")["evaluations"]) < len(record("whole")["evaluations"])
    run(small, at("parts"), *overrides)
    assert record("parts") == record("whole")


def test_workers_score_a_candidate_as_one_process_does(small: Path) -> None:
    budget = (*FINITE, "objectives=[accuracy, flops]", "search.trials=5", "search.reduction=1")
    run(small, at("inline"), *budget)
    run(small, at("process"), *budget, "executor={process: {workers: 2}}")
    common = scores("process").keys() & scores("inline").keys()
    assert len(common) > 5
    assert {key: scores("process")[key] for key in common} == {
        key: scores("inline")[key] for key in common
    }


def scripted(study: Path, database: str, script: int) -> None:
    """Two workers whose results come back in an order that `script` fixes."""
    order = random.Random(script)
    overrides = (at(database), *REPLAY, "search.sampler={tpe: {startup: 3}}", "search.trials=16")
    with Session.open(str(study), overrides) as session:
        session.plan()
        loop = Loop(
            session.study,
            session.store,
            session.optuna,
            session.prices,
            session.scale,
            lambda state: None,
        )
        flying: list[Job] = []
        while True:
            while len(flying) < 3 and (job := loop.ask()) is not None:
                flying.append(job)
            if not flying:
                return
            job = flying.pop(order.randrange(min(2, len(flying))))
            loop.tell(job, replay_answers.plain(job))


def test_two_workers_get_the_same_proposals_if_results_come_in_the_same_order(
    small: Path,
) -> None:
    for name, script in (("first", 1), ("second", 1), ("other", 2)):
        scripted(small, name, script)
    assert record("first") == record("second")
    assert record("first")["proposals"] != record("other")["proposals"]


def test_data_is_known_alike_whatever_the_number_of_threads() -> None:
    """Else a worker would keep weights under keys that the driver does not ask for."""
    found = set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        splits = Digits().splits()
        found.add((splits.mean, splits.std))
    assert len(found) == 1
