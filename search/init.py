"""Write a first study file for data of one's own: python -m search.init my/pictures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from search.commands import DONE, guarded

EPILOG = """examples:
  python -m search.init my/pictures                      # one folder a class
  python -m search.init my/table.csv --target price
  python -m search.init my/pictures --network torchvision:mobilenet_v3_small --limit 5ms"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and write; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="search.init",
        description="Look at a folder of pictures or a csv, and write a study file that runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="folder with one folder a class, or a csv file")
    parser.add_argument("--target", help="column of the csv to answer; default the last")
    parser.add_argument(
        "--network", metavar="MODULE:NAME", help="a network of yours or torchvision:NAME"
    )
    parser.add_argument("--limit", metavar="TIME", help="latency that it must keep, such as 2ms")
    parser.add_argument("--name", help="of the study; default that of the data")
    parser.add_argument("--to", type=Path, help="file to write; default NAME.yaml")
    return guarded(lambda: _init(parser.parse_args(arguments)))


def _init(options: argparse.Namespace) -> int:
    from search.address import as_file_name
    from search.beginning import looked_at, study_file
    from search.errors import InputError
    from search.spec import read_study

    data = looked_at(options.data, options.target)
    name = options.name or data.name
    path = options.to or Path(f"{as_file_name(name)}.yaml")
    text = study_file(data, name, options.limit, options.network)
    text = text.replace("THIS_FILE", str(path))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"{path} is there already; name another with --to") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; use --to") from error
    try:
        read_study(str(path))
    except InputError:
        path.unlink()  # what does not run is not left behind
        raise
    print(f"{path}: {data.about}")
    print(f"next: python -m search.run {path}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
