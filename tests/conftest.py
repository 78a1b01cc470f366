"""What several tests need: real data if it is there, small studies, a clean folder to run in."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from objectives.device import Turnstile

ROOT = Path(__file__).parent.parent


# a shell that starts the tests in the background lets their children ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)


# a Ray of its own would make a token for this user, and clusters of later tests would want it
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

# Ray on one machine twice at a time takes the other's ports
RAY = ("test_ray.py", "test_executors.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes test at once: a file is one's, for what its tests share."""
    for item in items:
        file = item.path.name
        item.add_marker(pytest.mark.xdist_group("ray" if file in RAY else file))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests share two cores; torch's default would take all."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def turnstile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turnstile:
    """A turnstile that nobody else uses; its lock files lie below `tmp_path`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Turnstile(tmp_path.name)


@pytest.fixture
def data() -> Path:
    """The folder of real data sets, or skip."""
    root = os.environ.get("PARETUNE_DATA")
    if root is None or not (Path(root) / "data").is_dir():
        pytest.skip("PARETUNE_DATA does not name a folder with data/")
    return Path(root)


SMALL = """
name: small
seed: 0
task: digits
space:
  architecture: {convnet: {depth: [1, 2], width: [4, 8], pool: [2, 3]}}
  training: {lr: {low: 1.0e-3, high: 1.0e-2, log: true}}
  compression:
    - prune: {ratio: [0.0, 0.5]}
    - quantize: {scheme: [none, int8]}
targets:
  cpu: {runtime: onnxruntime}
objectives:
  - accuracy
  - flops
  - latency: {target: cpu, limit: 1 ms}
search: {sampler: random, trials: 4, rungs: [1, 2], plan: 8}
executor: inline
storage: sqlite:///small.db
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(folder: Path) -> Path:
    """A study of seconds, `small.yaml`, in an empty current folder."""
    path = folder / "small.yaml"
    path.write_text(SMALL)
    return path


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(folder: Path) -> Command:
    """Run `python -m search.NAME ARGUMENTS` in the current folder as a user would."""

    def run(
        name: str, *arguments: str, timeout: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", f"search.{name}", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
