"""What a database holds: python -m search.studies [study.yaml or database URL]."""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.commands import DONE, FAILED, guarded, hurried

if TYPE_CHECKING:
    from search.store.summary import StudySummary

EPILOG = """examples:
  python -m search.studies
  python -m search.studies studies/digits.yaml
  python -m search.studies postgresql+psycopg://me@db.example.org/paretune --json"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.studies",
        description="List the studies of a database, the one that was run last at the end.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "database",
        nargs="?",
        default="sqlite:///paretune.db",
        help="database URL, or a study file that names it; default %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    return guarded(lambda: hurried(_studies, parser.parse_args(arguments)))


def _studies(options: argparse.Namespace) -> int:
    from search.address import read_study_address
    from search.store.database import shown

    url = options.database
    if "://" not in url:
        _, url, _ = read_study_address(url)
    found = summaries_of(url)
    if options.json:
        print(json.dumps([dataclasses.asdict(study) for study in found], indent=2))
    elif found:
        from search.tables import console, studies_table

        screen = console()
        screen.print(studies_table(found, time.time(), screen.width))
    else:
        print(f"{shown(url)} holds no study yet", file=sys.stderr)
    return DONE if found else FAILED


def summaries_of(url: str) -> "list[StudySummary]":
    """All studies of a database, the one that was run last at the end.

    Raises:
        InputError: there is no such database, or it cannot be read.
    """
    from search.store.database import open_database, reading
    from search.store.summary import summaries

    engine = open_database(url, create=False)
    try:
        with reading(url):
            return summaries(engine)
    finally:
        engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
