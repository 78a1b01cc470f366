"""Where does the computation go? python -m search.analyze study.yaml | package.module:name."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.commands import DONE, guarded

if TYPE_CHECKING:
    from search.analysis.findings import Findings

EPILOG = """examples:
  python -m search.analyze studies/digits.yaml --member knee
  python -m search.analyze studies/digits.yaml --measure --html digits.html
  python -m search.analyze torchvision.models:resnet18 --input 3x224x224 --threads 2
  python -m search.analyze my_nets:build --input 3x32x32 --batch 8 --json
  python -m search.analyze torchvision:resnet18 --input 3x224x224 --changeable"""

WIDTH = 1000
"""Columns that a table may take: nothing is cut, a narrow terminal wraps the lines."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and analyze; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.analyze",
        description="Say where a network's computation goes, layer by layer, against the "
        "roofline measured on this device, and what small changes would bring.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subject", help="study file, or package.module:name of any nn.Module")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of the study file")
    parser.add_argument(
        "--member", help="of a study's front: knee, best, or a trial number; default knee"
    )
    parser.add_argument("--input", help="of a module: shape of one input, such as 3x32x32")
    parser.add_argument("--outputs", type=int, default=10, help="for a factory that takes them")
    parser.add_argument("--batch", type=int, help="inputs in one call")
    parser.add_argument("--device", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="threads on a CPU")
    parser.add_argument("--measure", action="store_true", help="deploy and time the changes too")
    parser.add_argument(
        "--changeable",
        action="store_true",
        help="of a module: what the part `module` can change",
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with a picture")
    return guarded(lambda: _analyze(parser.parse_intermixed_args(arguments)))


def _analyze(options: argparse.Namespace) -> int:
    from search.analysis.as_data import as_data
    from search.analysis.findings import findings
    from search.analysis.from_module import changeable, read_module
    from search.analysis.from_study import read_candidate

    is_module = ":" in options.subject and not Path(options.subject).exists()
    if options.changeable:
        print("\n".join(changeable(options)))
        return DONE
    subject = read_module(options) if is_module else read_candidate(options)
    found = findings(subject, measure=options.measure)
    if options.json:
        print(json.dumps(as_data(found), indent=2))
    else:
        _print(found)
    if options.html:
        from search.analysis.page import page
        from search.desk.page import write_page

        write_page(page(found), options.html, place="--html")
        print(options.html, file=sys.stderr if options.json else sys.stdout)
    return DONE


def _print(found: "Findings") -> None:
    from search.analysis.sheets import sheets, summary
    from search.tables import console, plain_table

    screen = console()
    screen.width = WIDTH
    print(found.subject.title)
    for what, text in summary(found):
        print(f"{what:9} {text}")
    for sheet in sheets(found):
        print(f"\n{sheet.title}: {sheet.caption}.")
        screen.print(plain_table(sheet.heads, sheet.rows, sheet.texts))


if __name__ == "__main__":
    sys.exit(main())
