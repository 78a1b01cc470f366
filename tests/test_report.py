"""The report: one file that needs no network, holds every member, and works in a browser."""

import base64
import dataclasses
import gzip
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from finished import finished_small, python
from views import CANDIDATE, objectives, study, trial

from search.analysis.anatomy import anatomies
from search.desk.anatomy import Anatomy, Line, anatomy_html
from search.desk.figures import running_s
from search.desk.importance import importances
from search.desk.report import page
from search.evaluation import Status
from search.members import knee_of
from search.report import report_path
from search.spec import read_study
from search.store.view import ObjectiveView, StudyView, TrialView, view_of
from search.tables import describe, show
from tests.conftest import ROOT

CHROMIUM = Path("/usr/bin/chromium")
NASTY = "数字 <script>alert('x')</script> & \"quotes\" [/bold] </title>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_small(tmp_path_factory)


@pytest.fixture(scope="module")
def view(finished: Path) -> StudyView:
    return view_of("small", f"sqlite:///{finished / 'small.db'}")


@pytest.fixture(scope="module")
def html(finished: Path) -> str:
    """The report as the run left it."""
    return (finished / "reports" / "small.html").read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.title = ""
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.words.append(" ")
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "title":
            self.title += data
        elif self.inside not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def with_class(self, name: str) -> int:
        return sum(
            name in (attributes.get("class") or "").split() for _, attributes in self.elements
        )


def wanted_from_elsewhere(html: str) -> list[tuple[str, str]]:
    """(element, address) of everything a browser would fetch to show the page."""
    found = []
    for tag, attributes in Reader(html).elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if (value := attributes.get(name)) and not value.startswith(("#", "data:")):
                found.append((tag, value))
    styles = re.findall(r"<style[^>]*>(.*?)</style>", html, flags=re.DOTALL)
    found += [("style", url) for css in styles for url in re.findall(r"url\(|@import", css)]
    return found


def packed(html: str) -> Any:
    """What the page's script is given: figures, cards, the trial that is shown first."""
    content = html.partition('id="packed-desk">')[2].partition("</script>")[0]
    return json.loads(gzip.decompress(base64.b64decode(content)))


# --- the file ---


def test_report_wants_nothing_from_elsewhere(html: str) -> None:
    assert wanted_from_elsewhere(html) == []


def test_something_wanted_from_elsewhere_would_be_found() -> None:
    assert wanted_from_elsewhere("<img src=x.png><a href=https://a.b></a><a href=#top></a>") == [
        ("img", "x.png"),
        ("a", "https://a.b"),
    ]


def test_report_holds_every_member_with_its_values_and_choices(html: str, view: StudyView) -> None:
    text = Reader(html).text
    assert view.members
    for member in view.members:
        values = (show(member.measurements[o.name]) for o in view.objectives)
        network = describe(member.candidate, view.chosen)
        assert " ".join([str(member.number), *values, network]) in text


def test_report_answers_which_network_to_take_and_says_the_limits(html: str) -> None:
    text = Reader(html).text
    assert re.search(r"Best score: trial \d", text)
    assert re.search(r"Knee \(nearest to the ideal\): trial \d", text)
    assert "All members keep the limits (latency at most 1.00 ms)." in text


def test_report_says_what_was_spent_and_how_costs_were_measured(html: str, finished: Path) -> None:
    text = Reader(html).text
    assert "trained to the end" in text.partition("What was spent")[2]
    conditions = text.partition("How the costs were measured")[2]
    assert "onnxruntime" in conditions
    assert "threads 1" in conditions


def test_report_draws_every_pair_of_objectives_the_three_and_the_histories(html: str) -> None:
    figures = packed(html)["figures"]
    titles = {name: f["layout"].get("title", {}).get("text") for name, f in figures.items()}
    assert titles == {
        "pair-0": "accuracy against flops",
        "pair-1": "accuracy against latency",
        "pair-2": "flops against latency",
        "space": "the front in three dimensions",
        "over-trials": "hypervolume over trials",
        "over-time": "hypervolume over time",
        "curves": "scores at the rungs, the last compressed",
        "parallel": None,
    }
    slots = {a.get("id") for _, a in Reader(html).elements if a.get("class") == "figure"}
    assert slots == {f"figure-{name}" for name in figures}


def test_every_point_and_row_leads_to_the_card_of_its_trial(html: str, view: StudyView) -> None:
    data = packed(html)
    measured = {str(t.number) for t in view.trials if t.measurements}
    assert set(data["cards"]) == measured
    assert str(data["chosen"]) in data["cards"]
    for name in ("pair-0", "pair-1", "pair-2", "space"):
        points = [
            n for trace in data["figures"][name]["data"] for n in trace.get("customdata", [])
        ]
        assert {str(number) for number in points} <= measured
        assert data["figures"][name]["data"][-1]["name"] == "chosen"
    rows = [int(a["data-trial"] or "") for _, a in Reader(html).elements if "data-trial" in a]
    assert {member.number for member in view.members} <= set(rows)
    for member in view.members:
        text = Reader(data["cards"][str(member.number)]).text
        assert f"Trial {member.number}, a member of the front" in text
        assert f"search.export small.yaml {member.number}" in text
        for objective in view.objectives:
            assert show(member.measurements[objective.name]) in text


def test_card_of_every_member_shows_its_layers_and_how_they_hang_together(
    html: str, view: StudyView
) -> None:
    cards = packed(html)["cards"]
    for member in view.members:
        card = Reader(cards[str(member.number)])
        depth = member.candidate.architecture["depth"]
        assert len(re.findall(r"\bConv2d\b", card.text)) == depth
        assert "param." in card.text
        points = [tag for tag, _ in card.elements if tag == "circle"]
        rows = re.findall(r"<tr>", cards[str(member.number)].partition("wide layers")[2])
        assert len(points) == len(rows) - 1  # beside the head


def test_layers_are_timed_and_held_against_the_roofline_where_that_is_asked(
    finished: Path, view: StudyView
) -> None:
    done = python(finished, "-m", "search.report", "small.yaml", "--measure", "--to", "timed.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "timed.html\n", "")
    data = packed((finished / "timed.html").read_text(encoding="utf-8"))
    for member in view.members:
        card = Reader(data["cards"][str(member.number)])
        assert "of roof" in card.text
        assert "As deployed" in card.text
        assert ("div", f"figure-roofline-{member.number}") in [
            (tag, a.get("id")) for tag, a in card.elements
        ]
        assert f"roofline-{member.number}" in data["figures"]


def test_layers_are_counted_where_the_target_is_another_machine(
    finished: Path, view: StudyView
) -> None:
    study = read_study(finished / "small.yaml")
    away = replace(study.targets["cpu"], device="ssh://me@elsewhere")
    found = anatomies(replace(study, targets={"cpu": away}), view, measure=True)
    for anatomy in found.values():
        assert anatomy.lines
        assert anatomy.roofline is None
        assert [text for what, text in anatomy.summary if "not timed" in text]


def test_network_that_cannot_be_built_any_more_says_so_on_its_card(
    finished: Path, view: StudyView, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("its file <is> gone")

    monkeypatch.setattr("search.analysis.anatomy.build", gone)
    found = anatomies(read_study(finished / "small.yaml"), view)
    assert set(found) == {member.number for member in view.members}
    card = packed(page(view, anatomies=found))["cards"][str(view.members[0].number)]
    assert "Its layers are not shown: its file &lt;is&gt; gone" in card


def test_connections_that_overlap_are_drawn_side_by_side() -> None:
    reads = [(), (0,), (0,), (1,), (0, 3), (2, 4)]
    lines = tuple(
        Line(name=str(at), kind="Conv2d", shape="1", sources=s, flops=at, cells=())
        for at, s in enumerate(reads)
    )
    drawn = anatomy_html(Anatomy(lines=lines), trial=0)
    assert "5 steps, 4 connections that skip some" in drawn
    around = re.findall(r"Q([\d.]+) ", drawn)[::2]
    assert len(around) == 4
    assert len(set(around)) == 3  # 0 to 2 has ended where 2 to 5 begins: these share a lane


def test_command_writes_the_same_report_where_asked(finished: Path, html: str) -> None:
    done = python(finished, "-m", "search.report", "small.yaml", "--to", "deep/own.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "deep/own.html\n", "")
    written = (finished / "deep" / "own.html").read_text(encoding="utf-8")
    assert Reader(written).text == Reader(html).text
    assert list((finished / "deep").iterdir()) == [finished / "deep" / "own.html"]


def test_report_into_a_file_in_place_of_a_folder_is_refused_in_one_line(finished: Path) -> None:
    done = python(finished, "-m", "search.report", "small.yaml", "--to", "small.yaml/x.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("paretune: report small.yaml/x.html: cannot be written: ")
    assert done.stderr.endswith("; use --to\n")


# --- names of the user's ---


def nasty_view() -> StudyView:
    """Every name that a user can choose has markup in it."""
    named = (
        *objectives(accuracy=0.2)[:2],
        ObjectiveView(name="latency", unit="ms", direction="minimize", limit=0.5),
        ObjectiveView(name="size.<i>&", unit="bytes", direction="minimize", limit=5e9),
    )
    first = trial(1, accuracy=0.9, flops=2e3, latency=0.1)
    second = trial(2, "failed", reason="<u>bad</u> & worse")
    size = first.measurements["flops"]
    sizes = {**first.measurements, "size.<i>&": size}
    first = dataclasses.replace(first, measurements=sizes)
    view = study([first, second], members=[1], objectives=named, name=NASTY)
    scale = view.scale
    assert scale is not None
    return dataclasses.replace(
        view,
        scale=dataclasses.replace(
            scale,
            ideal={**scale.ideal, "size.<i>&": 1.0},
            reference={**scale.reference, "size.<i>&": 9e9},
            log={**scale.log, "size.<i>&": True},
        ),
    )


def test_names_in_other_scripts_and_with_markup_are_shown_as_they_are() -> None:
    reader = Reader(page(nasty_view()))
    assert reader.title == NASTY
    assert NASTY in reader.text
    assert "size.<i>&" in reader.text
    assert "<u>bad</u> & worse" in reader.text
    assert not {"i", "u"} & {tag for tag, _ in reader.elements}


def test_own_networks_and_choices_with_markup_are_shown_as_they_are() -> None:
    own = dataclasses.replace(
        CANDIDATE, family="my:<b>Net</b>", architecture={"kind": "</script><b>"}
    )
    one = trial(1, accuracy=0.9, flops=2e3, latency=0.1, candidate=own)
    reader = Reader(page(study([one], members=[1])))
    assert "my:<b>Net</b> kind=</script><b>" in reader.text
    assert sum(tag == "b" for tag, _ in reader.elements) == 2  # of the answer's two lines


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("digits", "digits.html"),
        ("数字 1", "数字_1.html"),
        ("../../etc/passwd", ".._.._etc_passwd.html"),
        ("a/b\\c:d", "a_b_c_d.html"),
        ("x" * 255, "x" * 60 + ".html"),
    ],
)
def test_report_stays_in_its_folder_whatever_the_study_is_called(name: str, file: str) -> None:
    assert report_path(name) == Path("reports") / file


def test_study_without_a_front_has_a_report_that_says_why() -> None:
    view = study([trial(0, "infeasible", latency=2.0)], objectives=objectives(latency=1.0))
    text = Reader(page(view)).text
    assert "No front: 1 infeasible; the least latency seen, 2.00 ms, is 2.00 times" in text


# --- in a browser ---


def browse(file: Path, profile: Path) -> tuple[Reader, list[str]]:
    """The page as headless Chromium built it, offline, and the errors of its console.

    Its clock is a virtual one that does not wait for the imitation of a graphics card: a page of
    ours that was not ready by then is looked at again with more of it.
    """
    for minutes in (5, 60, 600):
        done = subprocess.run(
            [
                CHROMIUM,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"),
                *("--disable-background-networking", "--disable-component-update"),
                *("--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}"),
                *("--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run"),
                *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
                "--window-size=1440,20000",  # all is in view, so all is drawn
                *(f"--virtual-time-budget={minutes * 60_000}", "--dump-dom", file.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        if 'data-ready="yes"' in done.stdout or "packed-desk" not in done.stdout:
            break
    console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    bad = re.compile(r'"Uncaught|\bError\b')
    return Reader(done.stdout), [line for line in console if bad.search(line)]


needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@needs_chromium
def test_report_is_drawn_by_a_browser_without_an_error(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "reports" / "small.html", tmp_path / "report.html")
    reader, errors = browse(tmp_path / "report.html", tmp_path / "profile")
    assert errors == []
    assert reader.with_class("js-plotly-plot") == 8
    assert reader.with_class("plot-container") == 8
    assert reader.with_class("main-svg") >= 8
    chosen = [a for tag, a in reader.elements if tag == "tr" and a.get("aria-selected") == "true"]
    assert chosen
    assert f"Trial {chosen[0]['data-trial']}, a member of the front" in reader.text


@needs_chromium
def test_names_with_markup_run_nothing_in_a_browser(tmp_path: Path) -> None:
    (tmp_path / "nasty.html").write_text(page(nasty_view()), encoding="utf-8")
    reader, errors = browse(tmp_path / "nasty.html", tmp_path / "profile")
    assert errors == []
    assert reader.title == NASTY
    assert reader.with_class("plot-container") > 0


@needs_chromium
def test_errors_of_a_page_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>nobody()</script>")
    errors = browse(tmp_path / "bad.html", tmp_path / "profile")[1]
    assert [error for error in errors if "nobody is not defined" in error]


# --- what is told of the search ---


def tried(number: int, width: int, shuffled: int) -> TrialView:
    """A candidate whose FLOPs go with its width alone."""
    candidate = dataclasses.replace(
        CANDIDATE,
        architecture={"width": [width], "other": shuffled % 3},
        training={"lr": 0.001 * (1 + shuffled % 5)},
    )
    values = {"accuracy": 0.5 + width / 200, "flops": 100.0 * width**2, "latency": 0.1}
    return trial(number, candidate=candidate, **values)


def test_importance_names_what_decides_and_no_training_for_a_cost() -> None:
    trials = [tried(n, 8 + 8 * (n % 7), (n * 13) % 11) for n in range(60)]
    found = {each.objective: each for each in importances(study(trials, [0]))}
    assert set(found) == {"accuracy", "flops"}  # all latencies are equal
    for each in found.values():
        assert each.shares["width[0]"] > 0.9
        assert sum(each.shares.values()) == pytest.approx(1.0)
        assert each.explained > 0.9
    assert "training.lr" in found["accuracy"].shares
    assert not any(name.startswith("training.") for name in found["flops"].shares)


def test_importance_is_not_told_of_few_candidates() -> None:
    assert importances(study([tried(n, 8 * n, n) for n in range(1, 15)], [1])) == []


def spending(number: int, status: Status, compression: int, **seconds: float) -> TrialView:
    candidate = dataclasses.replace(
        CANDIDATE,
        architecture={"width": [number if compression == 0 else 0]},
        compression=() if compression == 0 else (("prune", {"ratio": compression / 10}),),
    )
    values = {"accuracy": 0.9, "flops": 2e3, "latency": 0.1}
    found = trial(number, status, f"reason {number}", candidate, **values)
    return dataclasses.replace(found, seconds=seconds)


def test_what_was_spared_is_told_by_outcome() -> None:
    trials = [
        spending(0, "done", 0, train=9.0, score=1.0, wait=100.0),
        spending(1, "done", 5, compress=2.0),  # from the weights of trial 0
        spending(2, "stopped", 0, train=4.0),
        spending(3, "hopeless", 0),
        spending(4, "infeasible", 0),
        spending(5, "failed", 0, train=3.0),
    ]
    text = Reader(page(dataclasses.replace(study(trials, [0]), num_repeats=2))).text
    spent = text.partition("What was spent, and what was spared")[2]
    for line in (
        "trained to the end 1 10.0",
        "compressed anew from weights that were trained 1 2.0 8 ",
        "stopped at a rung 1 4.0 6 ",
        "not trained: the gate foretold that it could not reach the front 1 0.0 10 ",
        "not trained: its price is beyond a limit 1 0.0 10 ",
        "failed 1 3.0 reason 5",
        "repeats, answered from the store 2 20",
    ):
        assert line in spent, line


def test_what_more_of_a_cost_buys_follows_the_cheapest_of_each_score() -> None:
    values = [(0.5, 1e3, 0.1), (0.7, 1e3, 0.2), (0.6, 2e3, 0.05), (0.9, 4e3, 0.3)]
    trials = [trial(n, accuracy=a, flops=f, latency=t) for n, (a, f, t) in enumerate(values)]
    text = Reader(page(study(trials, range(4)))).text.partition("What more of a cost buys")[2]
    flops = "1 1.00 kFLOPs 70.00% 3 4.00 kFLOPs +3.00 kFLOPs 90.00% +20.00 points"
    latency = "2 50.0 us 60.00% 1 200 us +150 us 70.00% +10.00 points"
    assert flops in text
    assert latency in text


def test_time_in_which_no_run_went_on_does_not_count() -> None:
    runs = [
        {"started_at": 100.0, "ended_at": 160.0, "heartbeat_at": 160.0},
        {"started_at": 130.0, "ended_at": 190.0, "heartbeat_at": 190.0},
        {"started_at": 1000.0, "ended_at": None, "heartbeat_at": 1060.0},
    ]
    view = dataclasses.replace(study([trial(0, accuracy=0.5)], [0]), runs=tuple(runs))
    assert [running_s(view, at) for at in (100.0, 150.0, 500.0, 1030.0)] == [0, 50, 90, 120]


def test_of_very_many_candidates_the_members_and_some_others_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.desk.report.DRAWN", 50)
    trials = [trial(n, accuracy=0.5, flops=2e3 + n, latency=0.1) for n in range(400)]
    html = page(study(trials, [0, 399]))
    data = packed(html)
    assert "(drawn are 52 of 400)" in Reader(html).text
    assert {"0", "399"} < set(data["cards"])
    assert len(data["cards"]) == 52
    assert "trained to the end 400" in Reader(html).text or "weights" in Reader(html).text


def test_of_a_front_of_thousands_some_members_are_listed_the_knee_and_the_best_among_them() -> (
    None
):
    trials = [
        trial(n, accuracy=n / 5000, flops=2e3 + n, latency=0.1 * (1 + n / 5000))
        for n in range(3000)
    ]
    view = study(trials, range(3000))
    html = page(view)
    rows = {a["data-trial"] for _, a in Reader(html).elements if "data-trial" in a}
    assert 490 <= len(rows) <= 500
    assert {str(knee_of(view, view.members).number), "2999"} <= rows
    assert "of 3,000 members, evenly" in Reader(html).text
    assert len(html) < 5e6


# --- while a study runs ---


@contextmanager
def served(folder: Path) -> Iterator[http.client.HTTPConnection]:
    """`search.report --live` on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "search.report", "small.yaml", "--live", "--port", "0"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline()
    assert address.startswith("http://127.0.0.1:"), process.communicate()
    connection = http.client.HTTPConnection(address.strip().split("/")[2])
    yield connection
    connection.close()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def asked(connection: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, str]:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_live_report_changes_its_state_when_the_study_does(finished: Path, tmp_path: Path) -> None:
    for name in ("small.yaml", "small.db"):
        shutil.copy(finished / name, tmp_path)
    with served(tmp_path) as connection:
        status, state = asked(connection, "/state")
        assert status == 200
        status, html = asked(connection, "/")
        assert status == 200
        assert f'data-state="{state}"' in html
        assert asked(connection, "/state") == (200, state)
        done = python(tmp_path, "-m", "search.run", "small.yaml", "--quiet", "search.trials=5")
        assert done.returncode == 0, done.stderr
        assert asked(connection, "/state")[1] != state
        assert "5 candidates" in Reader(asked(connection, "/")[1]).text


def test_live_report_answers_this_machine_alone(finished: Path, tmp_path: Path) -> None:
    for name in ("small.yaml", "small.db"):
        shutil.copy(finished / name, tmp_path)
    with served(tmp_path) as connection:
        assert asked(connection, "/", Host="evil.example:80")[0] == 403
        assert asked(connection, "/other")[0] == 404


def test_live_report_of_no_study_is_refused_in_one_line(finished: Path) -> None:
    asks = ("nobody", "--storage", "sqlite:///small.db", "--live")
    done = python(finished, "-m", "search.report", *asks)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("paretune: the database holds no study 'nobody'; known: small\n")


def test_two_may_write_one_page_at_once(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from search.desk.page import write_page\n"
        "for n in range(300): write_page('x' * 100_000, Path('page.html'), place='report')\n"
        "print('done')\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    assert [writer.communicate()[0] for writer in writers] == ["done\n"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
