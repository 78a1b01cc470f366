"""Where a study lives: its name, its database, its artifacts. Needs no torch."""

import hashlib
import re
from pathlib import Path

from search.document import Document, read_document


def read_address(document: Document) -> tuple[str, str, str]:
    """(name, storage URL, artifact folder): all that the reading commands need."""
    name = document.data.get("name")
    if not isinstance(name, str) or not name.strip():
        raise document.error(("name",), f"{name!r} is not a name; write name: my-study")
    storage = document.data.get("storage", "sqlite:///paretune.db")
    if not isinstance(storage, str) or not re.match(r"[a-z0-9+]+://", storage):
        raise document.error(
            ("storage",), f"{storage!r} is not a URL; write sqlite:///paretune.db"
        )
    artifacts = document.data.get("artifacts") or default_artifacts(storage)
    if not isinstance(artifacts, str):
        raise document.error(("artifacts",), f"{artifacts!r} is not a folder")
    return name, storage, artifacts


def default_artifacts(storage: str) -> str:
    """The artifact folder of a database that names none."""
    if storage.startswith("sqlite"):
        path = storage.partition(":///")[2]
        return f"{path.removesuffix('.db') if Path(path).name else 'paretune'}.artifacts"
    where = re.sub(r"//[^@/]*@", "//", storage)  # one folder a database, whoever logs in
    return f"paretune-{hashlib.sha256(where.encode()).hexdigest()[:8]}.artifacts"


def as_file_name(study: str) -> str:
    """A study's name as part of a file's name: no separators, at most 60 characters."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in study)[:60]


def read_study_address(file: str | Path, overrides: tuple[str, ...] = ()) -> tuple[str, str, str]:
    """(name, storage URL, artifact folder) of a study file, without reading the rest.

    Raises:
        InputError: see `search.errors`.
    """
    return read_address(read_document(file, overrides))
