"""Run a study: python -m search.run study.yaml [key=value ...]."""

import argparse
import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search import interruption
from search.commands import DONE, FAILED, INTERRUPTED, guarded

if TYPE_CHECKING:
    from search.progress import Form

EPILOG = """examples:
  python -m search.run studies/digits.yaml
  python -m search.run studies/digits.yaml search.trials=20 executor.process.workers=1
  python -m search.run studies/digits.yaml --dry-run
  python -m search.run --schema > study.schema.json

exit codes: 0 done, 1 no candidate succeeded, 2 the input is wrong, 130 interrupted
(the same command goes on where it stopped)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.run",
        description="Search the networks of a study file; keep every result and front.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", nargs="?", help="study file (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of it to change")
    parser.add_argument("--dry-run", action="store_true", help="plan and prices only")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of a study file"
    )
    parser.add_argument("--quiet", action="store_true", help="no live line, no tables")
    parser.add_argument(
        "--json-lines", action="store_true", help="progress as lines of JSON, and no tables"
    )
    parser.add_argument(
        "--prices-from", type=int, metavar="RUN", help="answer costs from an earlier run's prices"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.schema:
        return guarded(_print_schema)
    if options.study is None:
        parser.error("name a study file")
    return guarded(lambda: _run(options))


def _print_schema() -> int:
    import json

    from search.schema import study_schema

    print(json.dumps(study_schema(), indent=2))
    return DONE


def _run(options: argparse.Namespace) -> int:
    _head_start(options)
    from search.session import Session
    from search.store.failures import explained

    gc.freeze()  # what has been imported stays: full collections need not walk it each time
    session = Session.open(
        options.study, tuple(options.overrides), prices_from=options.prices_from
    )
    with explained(session.study.storage), session:
        interruption.act()
        session.plan()
        tables = not (options.quiet or options.json_lines)
        if tables:
            session.print_plan()
        if options.dry_run:
            return DONE
        progress: Form = "nothing" if options.quiet else "json" if options.json_lines else "line"
        outcome = session.search(progress)
        if session.study.confirm and session.state.front and session.completes:
            session.confirm(session.study.confirm.seeds, show=tables)
            session.outcome = outcome
        session.conclude(show=tables)
    if outcome == "interrupted":
        print("paretune: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return DONE if session.succeeded else FAILED


def _head_start(options: argparse.Namespace) -> None:
    """Let the worker processes load torch while this one does, if the study has such."""
    from search.document import read_document
    from search.executors.early import start_fork_server

    executor = read_document(options.study, tuple(options.overrides)).data.get(
        "executor", "process"
    )
    if executor == "process" or (isinstance(executor, dict) and "process" in executor):
        start_fork_server()


if __name__ == "__main__":
    sys.exit(main())
