"""Write the report of a study: python -m search.report study.yaml."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands import DONE, guarded
from search.errors import InputError

if TYPE_CHECKING:
    from search.desk.anatomy import Anatomy
    from search.store.view import StudyView


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and write, or serve; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.report", description="Write the report of a study as one HTML file."
    )
    parser.add_argument("study", help="study file, or the name of a study with --storage")
    parser.add_argument("--storage", help="database URL, where a name is given")
    parser.add_argument("--to", type=Path, help="file to write; default reports/NAME.html")
    parser.add_argument(
        "--live", action="store_true", help="serve it on this machine while the study runs"
    )
    parser.add_argument("--port", type=int, default=8327, help="of --live; default %(default)s")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time every layer of the members here, about a second each, against the roofline",
    )
    options = parser.parse_args(arguments)
    return guarded(lambda: _live(options) if options.live else _report(options))


def _report(options: argparse.Namespace) -> int:
    from search.store.view import view_of

    view = view_of(options.study, options.storage)
    path = options.to or report_path(view.name)
    write_report(view, path, _anatomies(options, view))
    print(path)
    return DONE


def _anatomies(options: argparse.Namespace, view: "StudyView") -> "Mapping[int, Anatomy]":
    """What the members consist of, if the study's parts can be read here."""
    from search.analysis.anatomy import anatomies
    from search.spec import study_as_run

    if not view.members:
        return {}
    try:
        study = study_as_run(view.runs[-1]["spec"], None if options.storage else options.study)
    except InputError as error:
        print(f"without the layers of members: {error}", file=sys.stderr)
        return {}
    return anatomies(study, view, measure=options.measure)


def _live(options: argparse.Namespace) -> int:
    from search.address import read_study_address
    from search.desk.live import serve
    from search.desk.report import page
    from search.store.database import open_database, reading
    from search.store.view import read_view, state_of

    name, url = options.study, options.storage
    if url is None:
        name, url, _ = read_study_address(options.study)
    engine = open_database(url, create=False)

    def state() -> str:
        with reading(url):
            return state_of(engine, name)

    def whole(now: str) -> str:
        with reading(url):
            return page(read_view(engine, name), now)

    try:
        state()
        serve(options.port, whole, state, lambda address: print(address, flush=True))
    except KeyboardInterrupt:
        pass
    finally:
        engine.dispose()
    return DONE


def report_path(name: str) -> Path:
    """Where the report of a study lies unless told otherwise."""
    from search.address import as_file_name

    return Path("reports") / f"{as_file_name(name)}.html"


def write_report(
    view: "StudyView", path: Path, anatomies: "Mapping[int, Anatomy] | None" = None
) -> None:
    """Write the page; whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    from search.desk.page import write_page
    from search.desk.report import page

    write_page(page(view, anatomies=anatomies or {}), path, place="report", remedy="; use --to")


if __name__ == "__main__":
    sys.exit(main())
