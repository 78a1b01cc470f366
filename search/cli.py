"""The console name: paretune run|front|export|report ..., the same mains as python -m search.X."""

import importlib
import sys

COMMANDS = {
    "init": "write a first study file for data of your own",
    "run": "run a study",
    "front": "print its Pareto front and the member to take",
    "export": "write a member as a model file",
    "analyze": "say where a network's computation goes, layer by layer",
    "confirm": "train its members anew and say which of them hold",
    "verify": "check an exported model file against its certificate",
    "report": "write its report as one HTML file",
    "studies": "list what a database holds",
    "compare": "set the fronts of two studies side by side",
}


def main() -> int:
    """Hand the rest of the command line to a command; returns the exit code."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        code: int = importlib.import_module(f"search.{arguments[0]}").main(arguments[1:])
        return code
    lines = [f"  {name:8} {what}" for name, what in COMMANDS.items()]
    usage = "\n".join(
        ["usage: paretune COMMAND ...", "", *lines, "", "paretune COMMAND --help says more"]
    )
    asked = bool(arguments) and arguments[0] in ("-h", "--help")
    print(usage, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
