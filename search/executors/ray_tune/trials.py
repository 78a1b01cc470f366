"""Ray Tune as the keeper of workers: each trial is one, placed where its resources are.

A trial whose worker dies is begun again by Tune, on whatever node has room; nodes that join later
take trials that had none. Tune's own searchers, schedulers and checkpoints have no part in it:
what is tried, stopped and kept is decided by the study's loop.
"""

import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune
from ray.exceptions import OutOfMemoryError, RayActorError

from search.errors import RunFailedError
from search.executors.executor import Evaluate
from search.executors.ray_tune.crew import Crew, Role, told, worker_name
from search.executors.ray_tune.worker import serve
from search.places import Survey

BROKEN_STARTS = 3
"""Deaths in a row without a worker that began, after which the run gives up."""


_PROCESS_DIED = "worker process has died"
"""In Ray's words: the machine lives."""
_DEATH = "its worker died; perhaps the system ran out of memory"
_FOR_TUNE = {"CPU": "cpu", "GPU": "gpu"}


class Trials(threading.Thread):
    """Tune's loop, beside the driver's."""

    def __init__(
        self, crew: Crew, roles: Sequence[Role], evaluate: Evaluate, survey: Survey
    ) -> None:
        super().__init__(daemon=True)
        self.crew = crew
        self.places = [
            {
                "name": worker_name(role.kind, number),
                "kind": role.kind,
                "resources": {_FOR_TUNE.get(k, k): v for k, v in role.resources.items()},
                "targets": list(role.targets),
                "trains": role.trains,
            }
            for role in roles
            for number in range(role.count)
        ]
        self.trainable = tune.with_resources(
            tune.with_parameters(
                serve,
                # a worker must know the driver's paths before it can read the rest
                work=cloudpickle.dumps((evaluate, survey)),
                desk=crew.desk,
                folder=str(Path.cwd()),
                paths=list(sys.path),
            ),
            lambda config: config["worker"]["resources"],
        )

    def run(self) -> None:
        """Until the desk is closed."""
        try:
            with tempfile.TemporaryDirectory(prefix="tune-") as folder:
                while not self.crew.closing:
                    self._fit(folder)
        except Exception as error:
            self.crew.fail(RunFailedError(f"executor.ray: {told(error)}"))

    def _fit(self, folder: str) -> None:
        """One run of Tune; it ends as a whole where a node ran out of memory."""
        tuner = tune.Tuner(
            self.trainable,
            param_space={"worker": tune.grid_search(self.places)},
            tune_config=tune.TuneConfig(
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
            ),
            run_config=tune.RunConfig(
                name="workers",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=-1),
                callbacks=[_Watch(self.crew)],
                stop=_Closing(self.crew),
            ),
        )
        try:
            tuner.fit()
        except RuntimeError as error:
            if not isinstance(error.__cause__, OutOfMemoryError):
                raise
            for place in self.places:
                self.crew.desk.gone.remote(place["name"], "its node ran out of memory", moved=True)
            return
        if not self.crew.closing:
            raise RuntimeError("no worker is left")


class _Closing(tune.Stopper):  # type: ignore[misc]  # untyped
    """Ends Tune's run with the crew's: workers without a node, and busy ones, too."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    def __getstate__(self) -> dict[str, Any]:
        """As for `_Watch`."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No report ends a worker."""
        return False

    def stop_all(self) -> bool:
        """Asked all the time."""
        self.crew.look_round()
        return self.crew.closing


class _Watch(tune.Callback):  # type: ignore[misc]  # untyped
    """Tells the desk whose workers have died."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.deaths = 0
        """In a row, of workers that had not begun."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a copy of what it was given, for a restart of its own that is never made."""
        return {}

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker died; Tune will start it again."""
        error = _error_of(trial)
        worker = trial.config["worker"]["name"]
        self.deaths = 0 if worker in self.crew.fit else self.deaths + 1
        self.crew.fit.discard(worker)
        if self.deaths > BROKEN_STARTS:
            self.crew.fail(RunFailedError(f"executor.ray: workers end at once: {told(error)}"))
        if isinstance(error, RayActorError):
            # a candidate can end its process, but not its machine
            own = _PROCESS_DIED in str(error)
            self.crew.desk.gone.remote(worker, _DEATH, moved=not own)
        else:
            self.crew.desk.gone.remote(worker, f"its worker failed: {told(error)}", moved=False)


def _error_of(trial: Any) -> Exception | None:
    """The last one, which Tune has kept in a file of the driver's."""
    try:
        found: Exception = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return found
    except Exception:
        return None


def _name_of(trial: Any) -> str:
    return str(trial.config["worker"]["name"]).replace(":", ".").replace("/", ".")
