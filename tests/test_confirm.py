"""Members trained anew: luck is seen, what no longer holds is said, nothing is done twice."""

import dataclasses
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from views import measurement, objectives, study, trial

from objectives.measurement import Measurement
from search import confirm, run
from search.commands import BAD_INPUT, DONE
from search.confirming import Confirmer
from search.desk.report import page
from search.errors import RunFailedError
from search.evaluation import Confirm, Evaluation
from search.store.view import StudyView, view_of
from search.verdicts import reasons, verdict_rows, verdicts


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def anew(accuracy: float, flops: float, latency: float) -> dict[str, Measurement]:
    return {
        "accuracy": measurement(accuracy, "ratio"),
        "validation": measurement(accuracy + 0.01, "ratio"),
        "flops": measurement(flops, "flops"),
        "latency": measurement(latency, "ms"),
    }


TRIALS = [
    trial(3, accuracy=0.95, flops=1e4, latency=0.2),
    trial(5, accuracy=0.97, flops=2e4, latency=0.3),
]


def view(**limits: float) -> StudyView:
    """Trial 3 was lucky twice over; trial 5 was not."""
    return dataclasses.replace(
        study(TRIALS, [3, 5], objectives(**limits)),
        confirmations={
            3: {1: anew(0.90, 1e4, 0.20), 2: anew(0.92, 1e4, 0.26), 3: anew(0.94, 1e4, 0.22)},
            5: {1: anew(0.96, 1e4, 0.21)},
        },
    )


def test_means_spread_and_costs_are_those_of_the_further_seeds() -> None:
    first, second = verdicts(view())
    assert (first.trial, first.seeds, first.found) == (3, 3, 0.95)
    assert first.test == pytest.approx(0.92)
    assert first.validation == pytest.approx(0.93)
    assert first.spread == pytest.approx(0.02)
    assert first.costs == {"flops": (1e4, 1e4), "latency": (0.2, 0.22)}
    assert (second.seeds, second.spread) == (1, 0.0)


def test_member_that_another_one_beats_in_everything_does_not_hold() -> None:
    first, second = verdicts(view())
    assert (first.holds, first.reason) == (False, "trial 5 is better in everything")
    assert (second.holds, second.reason) == (True, "")


def test_member_beyond_a_limit_does_not_hold() -> None:
    [_, second] = verdicts(view(latency=0.205))
    assert second.reason == "latency 210 us is beyond the limit 205 us"


def test_rows_show_found_and_anew_side_by_side() -> None:
    rows = verdict_rows(view(), verdicts(view()))
    assert rows[0][:4] == ["3", "95.00%", "93.00%", "92.00% ±2.0"]
    assert rows[0][4:] == ["10.0 kFLOPs", "200 us -> 220 us", "no"]
    assert rows[1][-1] == "holds"
    assert reasons(verdicts(view())) == ["trial 3 does not hold: trial 5 is better in everything"]


def test_cost_is_the_median_of_its_least_doubtful_values() -> None:
    seen = view()
    rounds = {seed: dict(found) for seed, found in seen.confirmations[3].items()}
    for seed, flags in ((1, ("slow",)), (2, ("slow", "wide"))):
        rounds[seed]["latency"] = dataclasses.replace(rounds[seed]["latency"], flags=flags)
    first, _ = verdicts(dataclasses.replace(seen, confirmations={**seen.confirmations, 3: rounds}))
    assert first.costs["latency"] == (0.2, 0.22)
    assert first.doubtful == ()
    rounds[3]["latency"] = dataclasses.replace(rounds[3]["latency"], flags=("slow",))
    first, _ = verdicts(dataclasses.replace(seen, confirmations={**seen.confirmations, 3: rounds}))
    assert first.costs["latency"] == (0.2, pytest.approx(0.21))
    assert first.doubtful == ("latency",)
    shown = dataclasses.replace(seen, confirmations={3: rounds})
    [row] = verdict_rows(shown, verdicts(shown))
    assert row[-2] == "200 us -> 210 us !"


def test_study_that_was_not_confirmed_has_no_verdicts() -> None:
    assert verdicts(study(TRIALS, [3, 5])) == ()


class Kept:
    """The only thing that a confirmer asks of a store."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    def add_confirmation(self, trial: int, seed: int, found: dict[str, Measurement]) -> None:
        self.rows.append((trial, seed))


def evaluation(job: Confirm, status: str, reason: str = "") -> Evaluation:
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status=status,
        reason=reason,
        measurements=anew(0.9, 1e4, 0.2),
    )


def confirmer(seeds: int = 3) -> tuple[Confirmer, Kept]:
    kept = Kept()
    return Confirmer(view(), kept, seeds, epochs=2, seed=0), kept  # type: ignore[arg-type]


def jobs_of(asked: Confirmer) -> list[Confirm]:
    found = []
    while (job := asked.ask()) is not None:
        assert isinstance(job, Confirm)
        found.append(job)
    return found


def test_only_what_is_missing_is_asked_for_in_an_order_that_the_seed_fixes() -> None:
    jobs = jobs_of(confirmer()[0])
    assert {(job.trial, job.seed) for job in jobs} == {(5, 2), (5, 3)}
    assert jobs == jobs_of(confirmer()[0])
    places = [(job.trial, job.seed) for job in jobs_of(confirmer(seeds=6)[0])]
    assert len(places) == len(set(places)) == 8
    assert places != sorted(places)


def test_dead_worker_is_tried_once_more_and_then_told() -> None:
    asked, kept = confirmer()
    first, second = jobs_of(asked)
    asked.tell(first, evaluation(first, "lost", "its worker was killed by SIGKILL"))
    asked.tell(second, evaluation(second, "confirmed"))
    assert jobs_of(asked) == [first]
    asked.tell(first, evaluation(first, "lost", "its worker was killed by SIGKILL"))
    assert jobs_of(asked) == []
    assert kept.rows == [(second.trial, second.seed)]
    assert asked.failures == [
        f"trial {first.trial}, seed {first.seed}: its worker was killed by SIGKILL"
    ]


def test_target_that_is_away_ends_the_run() -> None:
    asked, _ = confirmer()
    [job, *_] = jobs_of(asked)
    with pytest.raises(RunFailedError, match="board: no answer; the same command goes on"):
        asked.tell(job, evaluation(job, "away", "ssh://board: no answer"))


def test_confirm_key_makes_it_the_last_step_and_the_command_repeats_nothing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["small.yaml", "confirm.seeds=2", "--quiet"]) == DONE
    found = view_of("small", "sqlite:///small.db")
    members = {member.number for member in found.members}
    assert set(found.confirmations) == members
    for rounds in found.confirmations.values():
        assert set(rounds) == {1, 2}
        for measured in rounds.values():
            assert set(measured) == {"accuracy", "validation", "flops", "latency"}
            assert measured["accuracy"].conditions["samples"] == 359  # the test split
            assert measured["latency"].samples
    capsys.readouterr()
    assert confirm.main(["small.yaml", "--seeds", "2", "--json"]) == DONE
    rows = json.loads(capsys.readouterr().out)
    assert {row["trial"] for row in rows} == members
    assert any(row["holds"] for row in rows)
    again = view_of("small", "sqlite:///small.db")
    assert again.confirmations == found.confirmations
    text = page(again)
    assert "Which members hold" in text
    assert "Trained anew with 2 further seeds" in text


def test_seeds_differ_and_each_is_repeatable(small: Path) -> None:
    assert run.main(["small.yaml", "confirm.seeds=2", "--quiet"]) == DONE
    override = ("storage=sqlite:///other.db", "confirm.seeds=2")
    assert run.main(["small.yaml", *override, "--quiet"]) == DONE
    first, second = (view_of("small", f"sqlite:///{name}.db") for name in ("small", "other"))

    def scores(of: StudyView) -> dict[tuple[int, int], float]:
        return {
            (trial, seed): found["accuracy"].value
            for trial, rounds in of.confirmations.items()
            for seed, found in rounds.items()
        }

    common = scores(first).keys() & scores(second).keys()
    assert common
    assert {place: scores(first)[place] for place in common} == {
        place: scores(second)[place] for place in common
    }
    assert any(
        scores(first)[trial, 1] != scores(first)[trial, 2] for trial, seed in common if seed == 2
    )


def test_study_without_a_front_is_told(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["small.yaml", "objectives=[{accuracy: {limit: 99.99%}}, flops]"]) == DONE
    capsys.readouterr()
    code = confirm.main(["small.yaml", "objectives=[{accuracy: {limit: 99.99%}}, flops]"])
    assert code == BAD_INPUT
    assert "study 'small' has no front yet; " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{seeds: 0}", "confirm.seeds: 0"),
        ("{seeds: many}", "confirm.seeds: 'many'"),
        ("{speeds: 3}", "confirm has no option 'speeds'"),
        ("3", "3 is not a mapping of confirm's options"),
    ],
)
def test_wrong_confirm_section_is_one_line(
    small: Path, value: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(["small.yaml", f"confirm={value}"]) == BAD_INPUT
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
