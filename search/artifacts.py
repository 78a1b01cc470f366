"""Files by id: checkpoints, weights, reports; in a folder, or in a bucket (`search.bucket`).

Reading, writing and removing are the methods of Optuna's artifact stores, so that
`optuna-dashboard --artifact-dir` shows what lies in a folder.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from search.errors import RunFailedError
from spaces.candidate import digest

S3 = "s3://"


class ArtifactsAwayError(RunFailedError):
    """The place of artifacts cannot be reached, or is full: no candidate's fault."""


class Artifacts(Protocol):
    """A place of files by id."""

    def problem(self) -> str | None:
        """The reason why nothing can be written here, or None."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open for reading.

        Raises:
            FileNotFoundError: there is none of this id.
            ArtifactsAwayError: the place cannot be reached.
        """

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store all of `content_body`, over what was there; readers see all of it or nothing.

        Raises:
            ArtifactsAwayError: the place cannot be reached, or is full.
        """

    def remove(self, artifact_id: str) -> None:
        """Delete; nothing happens if there is none.

        Raises:
            ArtifactsAwayError: the place cannot be reached.
        """

    def older_than(self, seconds: float, prefixes: tuple[str, ...]) -> Iterator[str]:
        """Ids of files not touched for so long; a file being written now is not among them."""


def store_at(address: str) -> Artifacts:
    """The place that `artifacts` of a study names: a folder, or `s3://BUCKET/PREFIX`."""
    if address.startswith(S3):
        from search.bucket import Bucket

        return Bucket(address)
    return Folder(address)


def absolute(address: str) -> str:
    """The same place for a process that works in another folder."""
    return address if address.startswith(S3) else str(Path(address).absolute())


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
        """Open a file."""
        return (Path(self.path) / artifact_id).open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write aside, then rename: nobody else writes the same file, on whatever machine."""
        folder = Path(self.path)
        aside = folder / f"{artifact_id}.{uuid.uuid4().hex[:12]}.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                shutil.copyfileobj(content_body, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(folder / artifact_id)
        except OSError as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise ArtifactsAwayError(f"artifacts: {_told(error, self.path)}") from error

    def remove(self, artifact_id: str) -> None:
        """Unlink a file."""
        try:
            (Path(self.path) / artifact_id).unlink(missing_ok=True)
        except OSError as error:
            raise ArtifactsAwayError(f"artifacts: {_told(error, self.path)}") from error

    def older_than(self, seconds: float, prefixes: tuple[str, ...]) -> Iterator[str]:
        """By the times of the files."""
        if not Path(self.path).is_dir():
            return
        for entry in list(os.scandir(self.path)):
            if entry.name.startswith(prefixes) and time.time() - entry.stat().st_mtime > seconds:
                yield entry.name


def _told(error: OSError, path: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {path} is full; make room"
    return f"folder {path} cannot be written ({error.strerror or type(error).__name__})"


def weights_name(study: str, candidate_key: str) -> str:
    """The id of the compressed network of a candidate; each study keeps its own."""
    return f"weights-{digest([study, candidate_key])}.pt"
