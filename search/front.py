"""Which network do I take? python -m search.front study.yaml [--under latency=2ms]."""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.commands import DONE, FAILED, guarded, hurried

if TYPE_CHECKING:
    from search.store.view import StudyView, TrialView

EPILOG = """examples:
  python -m search.front studies/digits.yaml
  python -m search.front studies/digits.yaml --under latency=30us --under flops=200k
  python -m search.front digits --storage sqlite:///paretune.db --json"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.front",
        description="Print the Pareto front of a study and the member to take.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", help="study file, or the name of a study with --storage")
    parser.add_argument("--storage", help="database URL, where a name is given")
    parser.add_argument(
        "--under", action="append", default=[], metavar="OBJECTIVE=QUANTITY", help="keep a bound"
    )
    parser.add_argument("--knee", action="store_true", help="only the member nearest to the ideal")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print as JSON")
    form.add_argument("--csv", action="store_true", help="print as CSV")
    return guarded(lambda: hurried(_front, parser.parse_args(arguments)))


def _front(options: argparse.Namespace) -> int:
    from search.members import knee_of, nearest_miss, no_front_reason, parse_bounds, within
    from search.store.view import view_of

    view = view_of(options.study, options.storage, whole=False)
    bounds = parse_bounds(view, options.under)
    members = [member for member in view.members if within(member, bounds)]
    if members and options.knee:
        members = [knee_of(view, members)]
    if options.json:
        print(json.dumps([row(view, member) for member in members], indent=2))
    elif options.csv:
        _print_csv(view, members)
    elif members:
        _print_table(view, members)
    elif view.members:
        told = f"no member of the front keeps {', '.join(options.under)}"
        print(f"{told}; {nearest_miss(view.members, bounds)}", file=sys.stderr)
    else:
        print(f"no front: {no_front_reason(view)}", file=sys.stderr)
    return DONE if members else FAILED


def row(view: "StudyView", member: "TrialView") -> dict[str, Any]:
    """A member as JSON data."""
    return {
        "trial": member.number,
        **{
            o.name: {
                "value": member.measurements[o.name].value,
                "unit": o.unit,
                "low": member.measurements[o.name].low,
                "high": member.measurements[o.name].high,
                "flags": list(member.measurements[o.name].flags),
            }
            for o in view.objectives
        },
        "candidate": member.candidate.as_dict(),
    }


def _print_csv(view: "StudyView", members: "list[TrialView]") -> None:
    writer = csv.writer(sys.stdout)
    values = [f"{o.name} ({o.unit})" for o in view.objectives]
    writer.writerow(["trial", *values, "candidate"])
    for member in members:
        numbers = [member.measurements[o.name].value for o in view.objectives]
        writer.writerow([member.number, *numbers, json.dumps(member.candidate.as_dict())])


def _print_table(view: "StudyView", members: "list[TrialView]") -> None:
    from search.members import best, knee_of, some_of
    from search.tables import LISTED, console, front_table

    screen = console()
    shown = some_of(view, members, LISTED)
    screen.print(front_table(view, shown))
    if len(shown) < len(members):
        screen.print(f"{len(shown)} of {len(members)} members, evenly; --csv and --json print all")
    top, knee = best(view, members).number, knee_of(view, members).number
    screen.print(f"best score: trial {top}; knee: trial {knee}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
