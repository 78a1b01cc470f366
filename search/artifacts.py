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

from spaces.candidate import digest


@dataclass(frozen=True)
class Folder:
    """Artifacts in a folder; a file is written aside and renamed, so it is whole or absent."""

    path: str

    def problem(self) -> str | None:
        """The reason why nothing can be written here, or None."""
        place = next(
            p for p in (Path(self.path), *Path(self.path).absolute().parents) if p.exists()
        )
        if not place.is_dir():
            return f"{place} is a file; name a folder"
        if not os.access(place, os.W_OK | os.X_OK):
            return f"folder {place} cannot be written; change its permissions or name another"
        return None

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


def weights_name(study: str, candidate_key: str) -> str:
    """The id of the compressed network of a candidate; each study keeps its own."""
    return f"weights-{digest([study, candidate_key])}.pt"
