"""Every executor under its name in the study file."""

from search.executors.executor import Executor
from search.executors.inline import Inline
from search.executors.process import Process
from search.executors.ray_tune import Ray
from search.executors.replay import Replay

EXECUTORS: dict[str, type[Executor]] = {
    "inline": Inline,
    "process": Process,
    "ray": Ray,
    "replay": Replay,
}
