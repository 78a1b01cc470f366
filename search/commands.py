"""What every command does alike: one line for a mistake of the user, exit codes, signals."""

import os
import sys
from collections.abc import Callable

from search import interruption
from search.errors import InputError, RunFailedError

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def guarded(command: Callable[[], int]) -> int:
    """The exit code of `command`; mistakes and interruptions become one line on stderr."""
    interruption.watch()
    try:
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
        # the reader (head, less) has gone; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
