"""Ray reads its environment when it is imported: settled here before."""

import os
from pathlib import Path

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # workers that are busy when a run ends are ended after so many seconds
    "TUNE_FORCE_TRIAL_CLEANUP_S": "1",
    # a latency that is timed at a lower priority loses to any other process
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # nobody's call after the end starts another Ray
    "RAY_ENABLE_AUTO_CONNECT": "0",
}
"""Environment that must stand before Ray is imported, unless the user has set it."""


TOKEN = Path.home() / ".ray" / "auth_token"


def prepare(address: str | None = None) -> None:
    """Settle the environment; before Ray is imported for the first time."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if address is None or TOKEN.exists():
        # Ray makes one, and a Ray of our own listens to nobody else; a cluster may have none
        os.environ.setdefault("RAY_AUTH_MODE", "token")
