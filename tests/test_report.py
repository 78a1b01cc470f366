"""The report: one file that needs no network, holds every member, and works in a browser."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from finished import finished_small, python
from views import CANDIDATE, objectives, study, trial

from search.report import page, report_path
from search.store.view import ObjectiveView, StudyView, view_of
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
    assert "done" in text.partition("What was spent")[2]
    conditions = text.partition("How the costs were measured")[2]
    assert "onnxruntime" in conditions
    assert "threads 1" in conditions


def test_report_draws_every_pair_of_objectives_the_three_and_the_histories(html: str) -> None:
    for title in (
        "accuracy against flops",
        "accuracy against latency",
        "flops against latency",
        "the front in three dimensions",
        "hypervolume over trials",
        "scores at the rungs",
    ):
        assert json.dumps(title).strip('"') in html


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
    """The page as headless Chromium built it, offline, and the errors of its console."""
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--no-first-run"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    bad = re.compile(r'"Uncaught|\bError\b')
    return Reader(done.stdout), [line for line in console if bad.search(line)]


needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@needs_chromium
def test_report_is_drawn_by_a_browser_without_an_error(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "reports" / "small.html", tmp_path / "report.html")
    reader, errors = browse(tmp_path / "report.html", tmp_path / "profile")
    assert errors == []
    assert reader.with_class("js-plotly-plot") == 6
    assert reader.with_class("plot-container") == 6
    assert reader.with_class("main-svg") >= 6


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


def test_two_may_write_one_page_at_once(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from search.page import write_page\n"
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
