"""Two studies' fronts side by side: python -m search.compare a.yaml b.yaml."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search.commands import DONE, guarded

if TYPE_CHECKING:
    from search.comparing import Comparison

EPILOG = """examples:
  python -m search.compare studies/digits.yaml studies/digits-tpe.yaml
  python -m search.compare digits digits-tpe --storage sqlite:///paretune.db

Only studies of the same task and objectives, measured under the same conditions, are compared."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.compare",
        description="Set the fronts of two studies side by side.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for place in ("one", "other"):
        parser.add_argument(place, help="study file, or the name of a study with --storage")
    parser.add_argument("--storage", help="database URL, where names are given")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    return guarded(lambda: _compare(parser.parse_args(arguments)))


def _compare(options: argparse.Namespace) -> int:
    from search.comparing import compare
    from search.store.view import view_of

    found = compare(view_of(options.one, options.storage), view_of(options.other, options.storage))
    if options.json:
        print(json.dumps(as_data(found), indent=2))
    else:
        _print(found)
    return DONE


def as_data(found: "Comparison") -> dict[str, Any]:
    """A comparison as JSON data."""
    from search.front import row

    return {
        "studies": [
            {
                "name": side.view.name,
                "candidates": len(side.view.trials),
                "done": side.done,
                "worked_s": side.worked_s,
                "members": [member.number for member in side.view.members],
                "hypervolume": side.hypervolume,
                "beaten": list(side.beaten),
                "best": side.best.number,
            }
            for side in found.sides
        ],
        "box": {"ideal": found.box.ideal, "reference": found.box.reference, "log": found.box.log},
        "front": [{"study": view.name, **row(view, member)} for view, member in found.together],
    }


def _print(found: "Comparison") -> None:
    from search.members import score_of
    from search.tables import console, joint_front_table, plain_table, show

    one, other = found.sides
    score = score_of(one.view).name
    shares = [sum(view is side.view for view, _ in found.together) for side in found.sides]
    rows = [
        ["candidates", *(str(len(side.view.trials)) for side in found.sides)],
        ["trained to the end", *(str(side.done) for side in found.sides)],
        ["seconds of workers", *(f"{side.worked_s:,.0f}" for side in found.sides)],
        ["members of the front", *(str(len(side.view.members)) for side in found.sides)],
        ["beaten by the other", *(str(len(side.beaten)) for side in found.sides)],
        ["on the front of both", *map(str, shares)],
        ["hypervolume", *(f"{side.hypervolume:.3f}" for side in found.sides)],
        [f"best {score}", *(show(side.best.measurements[score]) for side in found.sides)],
    ]
    screen = console()
    screen.print(plain_table(["", one.view.name, other.view.name], rows, texts=1))
    screen.print(
        f"hypervolume in one box: {_box_line(found)}", markup=False, style="dim", overflow="fold"
    )
    screen.print("the front of both:", markup=False)
    screen.print(joint_front_table(found.together))


def _box_line(found: "Comparison") -> str:
    from objectives.units import format_quantity

    return ", ".join(
        f"{o.name} {format_quantity(found.box.ideal[o.name], o.unit)} to "
        f"{format_quantity(found.box.reference[o.name], o.unit)}"
        for o in found.sides[0].view.objectives
    )


if __name__ == "__main__":
    sys.exit(main())
