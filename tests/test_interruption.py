"""An interruption is acted on although a library swallowed it."""

import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
import os, signal
from search import interruption

signal.signal(signal.SIGINT, signal.{before})

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

try:
    with interruption.watched():
        Finalised()
        interruption.act()
        print("nothing")
except KeyboardInterrupt:
    print("interrupted")
interruption.act()  # what was acted on is forgotten
assert signal.getsignal(signal.SIGINT) is signal.{before}
"""


def told(before: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def test_interruption_that_met_a_finaliser_is_remembered_without_a_traceback() -> None:
    assert told("default_int_handler") == ("interrupted", "")


def test_interruption_that_the_parent_ignores_stays_ignored() -> None:
    assert told("SIG_IGN") == ("nothing", "")
