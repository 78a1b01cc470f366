"""Was the winner a lucky seed? python -m search.confirm study.yaml [--seeds 3]."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.commands import DONE, FAILED, guarded

if TYPE_CHECKING:
    from search.verdicts import Verdict

EPILOG = """examples:
  python -m search.confirm studies/digits.yaml
  python -m search.confirm studies/digits.yaml --seeds 5

Each member of the front is trained anew with further seeds, scored on the test split, which the
search never saw, and its costs are measured again, in random order. What is known already is not
repeated. `confirm: {seeds: 3}` in the study file makes this the last step of a run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and confirm; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.confirm",
        description="Train the members of the front anew and say which of them hold.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", help="study file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to search.run")
    parser.add_argument("--seeds", type=int, help="trainings of each member; default 3")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    options = parser.parse_intermixed_args(arguments)
    if options.seeds is not None and options.seeds < 1:
        parser.error("--seeds must be 1 or more")
    return guarded(lambda: _confirm(options))


def _confirm(options: argparse.Namespace) -> int:
    from search.errors import InputError
    from search.members import no_front_reason
    from search.session import Session
    from search.spec import read_study
    from search.store.failures import explained
    from search.store.view import view_of
    from search.tables import console, verdict_table
    from search.verdicts import reasons, verdicts

    study = read_study(options.study, tuple(options.overrides))
    view = view_of(study.name, study.storage, whole=False)
    if not view.members:
        raise InputError(f"study {view.name!r} has no front yet; {no_front_reason(view)}")
    seeds = options.seeds or (study.confirm.seeds if study.confirm else 3)
    session = Session.open(options.study, tuple(options.overrides), alone=True)
    with explained(study.storage), session:
        view = session.confirm(seeds, show=not options.json)
    found = verdicts(view)
    if options.json:
        print(json.dumps([_row(verdict) for verdict in found], indent=2))
    else:
        screen = console()
        screen.print(verdict_table(view, found))
        for line in reasons(found):
            screen.print(line, markup=False)
    return DONE if any(verdict.holds for verdict in found) else FAILED


def _row(verdict: "Verdict") -> dict[str, object]:
    import dataclasses

    return dataclasses.asdict(verdict)


if __name__ == "__main__":
    sys.exit(main())
