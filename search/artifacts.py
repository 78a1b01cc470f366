"""A folder of files by id: checkpoints, weights, reports.

The three methods are those of Optuna's artifact stores, so that `optuna-dashboard --artifact-dir`
shows what lies here.
"""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Folder:
    """Artifacts in a folder; a file is written aside and renamed, so it is whole or absent."""

    path: str

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open for reading.

        Raises:
            FileNotFoundError: there is none of this id.
        """
        return (Path(self.path) / artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store all of `content_body`, over what was there."""
        folder = Path(self.path)
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"{artifact_id}.{os.getpid()}.part"
        with aside.open("wb") as file:
            shutil.copyfileobj(content_body, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(folder / artifact_id)

    def remove(self, artifact_id: str) -> None:
        """Delete; nothing happens if there is none."""
        (Path(self.path) / artifact_id).unlink(missing_ok=True)

    def older_than(self, seconds: float, prefixes: tuple[str, ...]) -> Iterator[str]:
        """Ids of files not touched for so long; a file being written now is not among them."""
        if not Path(self.path).is_dir():
            return
        for entry in list(os.scandir(self.path)):
            if entry.name.startswith(prefixes) and time.time() - entry.stat().st_mtime > seconds:
                yield entry.name
