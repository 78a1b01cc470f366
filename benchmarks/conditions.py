"""What every result carries: machine, versions, date; and how it is printed and kept."""

import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from objectives.device import describe_device

PACKAGES = ("optuna", "torch", "onnxruntime", "torch-pruning", "sqlalchemy", "moocore")


def conditions() -> dict[str, Any]:
    """Date, CPU, Python and library versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        **describe_device("cpu"),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def spread(values: Sequence[float], digits: int = 3) -> str:
    """`median (least - most)`."""
    middle = statistics.median(values)
    return f"{middle:.{digits}g} ({min(values):.{digits}g} - {max(values):.{digits}g})"


def keep(path: Path | None, name: str, result: Mapping[str, Any]) -> None:
    """Write a result with its conditions to `path`, if one is given."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"benchmark": name, "conditions": conditions(), **result}
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(f"written: {path}")
