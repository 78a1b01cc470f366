"""The study `small`, run to its end once by the real command, for tests that read it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL


def finished_small(factory: pytest.TempPathFactory) -> Path:
    """The folder with small.yaml, small.db and what else the run left; nobody changes these."""
    folder = factory.getbasetemp() / "finished"
    if not folder.exists():
        folder.mkdir()
        (folder / "small.yaml").write_text(SMALL)
        done = python(folder, "-m", "search.run", "small.yaml", "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A fresh interpreter in `folder` that finds our packages."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
