"""Where data sets lie."""

import os
from pathlib import Path

from objectives.tasks.task import TaskError


def data_folder(root: str | None) -> Path:
    """`root`, else the data folder of `PARETUNE_DATA`, else ./data."""
    shared = os.environ.get("PARETUNE_DATA")
    return Path(root or (Path(shared) / "data" if shared else "data"))


def find_file(task: str, root: str | None, name: str, source: str) -> Path:
    """The file `name` below the data folder.

    `source`: what to put there if it is missing.

    Raises:
        TaskError: it is missing.
    """
    path = data_folder(root) / name
    if not path.is_file():
        raise TaskError(
            f"{task}: {path} does not exist; put {source} there, give another `root`, "
            "or set PARETUNE_DATA"
        )
    return path
