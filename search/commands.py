"""What every command does alike: one line for a mistake of the user, exit codes, signals."""

import gc
import os
import sys
from argparse import Namespace
from collections.abc import Callable

from search import interruption
from search.errors import InputError, RunFailedError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def guarded(command: Callable[[], int]) -> int:
    """The exit code of `command`; mistakes and interruptions become one line on stderr."""
    try:
        with interruption.watched():
            return command()
    except InputError as error:
        print(f"paretune: {error}", file=sys.stderr)
        return BAD_INPUT
    except RunFailedError as error:
        print(f"paretune: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("paretune: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        silence_stdout()  # the reader (head, less) has gone
        return DONE


def hurried(command: Callable[[Namespace], int], options: Namespace) -> int:
    """A command of half a second, without looking for garbage: that is a tenth of its time."""
    gc.disable()
    try:
        return command(options)
    finally:
        gc.enable()


def silence_stdout() -> None:
    """From now on nobody is told anything; keeps Python from complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
