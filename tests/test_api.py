"""The Python interface: a study that is iterated over, and its front."""

import sys
from pathlib import Path

import pytest
from finished import python
from sqlalchemy import create_engine, text

import search
from search import Front, Study
from search.errors import InputError


def test_iterating_over_a_run_yields_what_is_recorded(small: Path) -> None:
    study = Study.from_yaml(small, "search.trials=3")
    found = list(study.run())
    assert study.outcome == "done"
    with create_engine("sqlite:///small.db").connect() as connection:
        stored = connection.execute(
            text(
                "SELECT trial, rung, status FROM paretune_evaluations "
                "WHERE trial IS NOT NULL ORDER BY id"
            )
        ).all()
    assert [(e.trial, e.rung, e.status) for e in found] == [tuple(row) for row in stored]
    assert Path("reports/small.html").exists()


SCRIPT = """
from search import Study

if {guard}:
    study = Study.from_yaml("small.yaml", "executor=process", "search.trials=2")
    found = study.run()
    print(next(found).status, flush=True)
    {rest}
"""


@pytest.mark.parametrize(
    ("rest", "finished"), [("print(len(list(found)), study.outcome)", 2), ("", 0)]
)
def test_script_runs_with_workers_and_ends_when_it_is_over(
    rest: str, finished: int, small: Path
) -> None:
    script = SCRIPT.format(guard='__name__ == "__main__"', rest=rest or "pass")
    (small.parent / "script.py").write_text(script)
    done = python(small.parent, "script.py")
    assert (done.returncode, done.stderr) == (0, "")
    first, *more = done.stdout.splitlines()
    assert first == "priced"
    assert more == ([] if not rest else [more[0]])
    view = Study.from_yaml(small).view()
    assert sum(trial.status in ("done", "stopped") for trial in view.trials) >= finished
    assert all(trial.status != "failed" for trial in view.trials)


def test_script_that_workers_would_run_again_says_so(small: Path) -> None:
    script = SCRIPT.format(guard="True", rest="print(len(list(found)))")
    (small.parent / "script.py").write_text(script)
    assert 'under `if __name__ == "__main__"' in python(small.parent, "script.py").stderr


def test_run_that_is_left_early_goes_on_another_time(small: Path) -> None:
    study = Study.from_yaml(small, "search.trials=5")
    for evaluation in study.run():
        if evaluation.rung:
            break
    assert study.outcome == "interrupted"
    first = len(study.view().trials)
    assert first < 5
    list(study.run())
    assert study.outcome == "done"
    assert len(study.view().trials) == 5


def test_front_is_that_of_the_commands(small: Path) -> None:
    study = Study.from_yaml(small)
    list(study.run())
    front = study.front()
    assert isinstance(front, Front)
    assert tuple(front) == study.view().members
    assert front.knee in front
    assert front.best in front
    bound = max(member.measurements["flops"].value for member in front) - 1
    under = front.under(f"flops={bound:.0f}")
    assert 0 < len(under) < len(front)
    assert set(front.figures()) == {"pair-0", "pair-1", "pair-2", "space"}
    rows = under._repr_html_().count("<tr data-trial")
    assert rows == len(under)


def test_front_as_a_table(small: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    study = Study.from_yaml(small)
    list(study.run())
    table = study.front().to_pandas()
    assert list(table["trial"]) == [member.number for member in study.front()]
    assert {"accuracy", "accuracy_low", "latency_high", "depth", "training.lr"} <= set(table)


def test_without_pandas_one_line_says_so(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study.from_yaml(small, "search.trials=1")
    list(study.run())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        study.front().to_pandas()


def test_bounds_that_nobody_keeps(small: Path) -> None:
    study = Study.from_yaml(small, "search.trials=2")
    list(study.run())
    nobody = study.front().under("flops=1")
    assert list(nobody) == []
    with pytest.raises(InputError, match="no member of the front keeps these bounds"):
        _ = nobody.knee


def test_mistakes_are_raised_where_they_are_made(small: Path) -> None:
    with pytest.raises(InputError, match=r"search\.trials"):
        Study.from_yaml(small, "search.trials=-1")
    with pytest.raises(InputError, match="there is no database"):
        Study.from_yaml(small).front()
    blocked = Study.from_yaml(small, "storage=sqlite:///no/folder/x.db")
    with pytest.raises(InputError, match="does not exist"):
        list(blocked.run())
    with pytest.raises(AttributeError, match="no attribute 'Stud'"):
        _ = search.Stud
