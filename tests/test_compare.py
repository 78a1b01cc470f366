"""`search.compare` and `search.studies`: fronts side by side, and what a database holds."""

import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from finished import finished_small, python
from views import objectives, study, trial

from search import compare as command
from search import studies
from search.commands import BAD_INPUT, DONE, FAILED
from search.comparing import compare
from search.errors import InputError
from search.store import schema
from search.store.database import open_database
from search.store.store import Store
from search.store.view import StudyView
from search.tables import studies_table


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose database holds `small` and the same question asked with another seed."""
    small = finished_small(tmp_path_factory)
    folder = tmp_path_factory.mktemp("two")
    for suffix in (".yaml", ".db"):
        (folder / f"small{suffix}").write_bytes((small / f"small{suffix}").read_bytes())
    done = python(
        *(folder, "-m", "search.run", "small.yaml", "--quiet"),
        *("name=other", "seed=5", "search.trials=6"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(autouse=True)
def there(two: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The current folder; the command's signal handler goes with the test."""
    monkeypatch.chdir(two)
    monkeypatch.setenv("COLUMNS", "120")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


NAMES = ("small", "other", "--storage", "sqlite:///small.db")


# --- two fronts ---


def one(**changes: Any) -> StudyView:
    """Members (.9, 2000, .1) and (.95, 4000, .2)."""
    trials = [
        trial(0, accuracy=0.9, flops=2e3, latency=0.1),
        trial(1, accuracy=0.95, flops=4e3, latency=0.2),
        trial(2, "infeasible", flops=4e3, latency=0.2),
    ]
    return dataclasses.replace(study(trials, [0, 1], name="one"), **changes)


def other(**changes: Any) -> StudyView:
    """Members (.9, 2000, .15), beaten, and (.97, 9000, .3)."""
    trials = [
        trial(7, accuracy=0.9, flops=2e3, latency=0.15),
        trial(8, accuracy=0.97, flops=9e3, latency=0.3),
    ]
    return dataclasses.replace(study(trials, [7, 8], name="other"), **changes)


def test_members_that_the_other_study_beats_are_not_on_the_front_of_both() -> None:
    found = compare(one(), other())
    assert [side.beaten for side in found.sides] == [(), (7,)]
    front = [(view.name, member.number) for view, member in found.together]
    assert front == [("one", 0), ("one", 1), ("other", 8)]
    assert [side.best.number for side in found.sides] == [1, 8]
    assert [side.done for side in found.sides] == [2, 2]


def test_hypervolume_of_both_counts_in_the_box_of_both() -> None:
    scale = one().scale
    assert scale is not None
    wider = dataclasses.replace(
        scale,
        ideal={**scale.ideal, "flops": 500.0},
        reference={**scale.reference, "accuracy": 0.05, "latency": 0.5},
    )
    found = compare(one(), other(scale=wider))
    assert found.box.ideal == {"accuracy": 1.0, "flops": 500.0, "latency": 0.01}
    assert found.box.reference == {"accuracy": 0.05, "flops": 1e5, "latency": 1.0}
    swapped = compare(other(scale=wider), one())
    volumes = [side.hypervolume for side in found.sides]
    assert volumes == [side.hypervolume for side in reversed(swapped.sides)]
    assert len(set(volumes)) == 2


def test_studies_of_other_objectives_are_refused() -> None:
    fewer = other(objectives=objectives()[:2])
    with pytest.raises(InputError, match="are accuracy, flops, latency and accuracy, f"):
        compare(one(), fewer)


def test_order_of_objectives_does_not_matter() -> None:
    turned = other(objectives=objectives()[::-1])
    assert [side.beaten for side in compare(one(), turned).sides] == [(), (7,)]


def test_studies_of_other_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="'one' and 'other' cannot be compared: their tasks"):
        compare(one(task="a"), other(task="b"))


def test_study_without_a_front_is_refused() -> None:
    with pytest.raises(InputError, match="'other' has no front yet"):
        compare(one(), other(fronts=()))


def with_conditions(view: StudyView, **conditions: Any) -> StudyView:
    trials = [
        dataclasses.replace(
            each,
            measurements={
                name: dataclasses.replace(found, conditions=conditions)
                if name == "latency"
                else found
                for name, found in each.measurements.items()
            },
        )
        for each in view.trials
    ]
    return dataclasses.replace(view, trials=tuple(trials))


def test_latencies_of_other_conditions_are_refused() -> None:
    here = with_conditions(one(), threads=1, precision="fp32")
    there = with_conditions(other(), threads=2, precision="int8")
    with pytest.raises(InputError, match="latency was measured with threads 1 and 2"):
        compare(here, there)
    compare(here, with_conditions(other(), threads=1, precision="int8"))


# --- the commands ---


def test_two_real_studies_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*NAMES, "--json"]) == DONE
    told = json.loads(capsys.readouterr().out)
    assert [study["name"] for study in told["studies"]] == ["small", "other"]
    members = {study["name"]: set(study["members"]) for study in told["studies"]}
    beaten = {study["name"]: set(study["beaten"]) for study in told["studies"]}
    front = {name: {r["trial"] for r in told["front"] if r["study"] == name} for name in members}
    assert front == {name: members[name] - beaten[name] for name in members}
    assert command.main(list(NAMES)) == DONE
    text = capsys.readouterr().out
    assert "hypervolume in one box: accuracy" in text
    assert "the front of both:" in text


def test_study_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["small", "otter", *NAMES[2:]]) == BAD_INPUT
    assert "did you mean 'other'" in capsys.readouterr().err


def test_all_studies_are_listed_the_last_one_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert studies.main(["small.yaml", "--json"]) == DONE
    first, last = json.loads(capsys.readouterr().out)
    assert (first["name"], first["candidates"], first["state"]) == ("small", 4, "done")
    assert (last["name"], last["candidates"], last["runs"]) == ("other", 6, 1)
    assert last["objectives"] == ["accuracy", "flops", "latency"]
    for told in (first, last):
        assert 0 < told["hypervolume"] < 1
        assert 0 < told["members"] <= told["done"] <= told["candidates"]
    assert studies.main(["sqlite:///small.db"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["study", "candidates"]
    assert [line.split()[0] for line in lines[1:3]] == ["small", "other"]


def test_study_that_is_being_run_says_by_whom(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/running.db"
    engine = open_database(url, create=True)
    store = Store(engine, "now")
    store.begin_study({"task": "t"}, [])
    store.begin_run({}, {}, "key", 1)
    with engine.begin() as connection:
        connection.execute(sa.update(schema.runs).values(heartbeat_at=time.time() - 30))
    [found] = studies.summaries_of(url)
    engine.dispose()
    assert found.state == f"running (process {os.getpid()} on {os.uname().nodename})"
    assert (found.candidates, found.hypervolume) == (0, None)


def test_database_without_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    open_database(url, create=True).dispose()
    assert studies.main([url]) == FAILED
    assert capsys.readouterr().err == f"{url} holds no study yet\n"


def test_database_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert studies.main([f"sqlite:///{tmp_path}/none.db"]) == BAD_INPUT
    [line] = capsys.readouterr().err.splitlines()
    assert "there is no database" in line


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "now"), (1.9, "now"), (90, "90 s ago"), (150, "2 min ago"), (200_000, "2 days ago")],
)
def test_when_it_was(seconds: float, told: str) -> None:
    from search.store.summary import StudySummary

    row = StudySummary(
        name="x",
        objectives=("accuracy",),
        candidates=1,
        done=1,
        members=1,
        hypervolume=0.5,
        runs=1,
        state="done",
        at=1000.0,
    )
    table = studies_table([row], 1000.0 + seconds, 100)
    assert list(table.columns[5].cells) == [f"done, {told}"]


def test_list_of_studies_fits_sixty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    studies.main(["sqlite:///small.db"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["study", "small", "other"]
