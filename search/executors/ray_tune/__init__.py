"""Workers on a Ray cluster. Nowhere else is Ray imported."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from objectives.units import parse_quantity
from search.executors.executor import Evaluate, Workers
from search.places import Survey


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Ray:
    """Workers on a Ray cluster, kept by Ray Tune, or on this machine by a Ray of its own.

    A target NAME is measured on the node that was started with resource `target:NAME`, one
    measurement at a time; without such a node, on the driver's.
    """

    address: str | None = None
    """Of a running cluster: `auto` or HOST:PORT; left out, Ray is started on this machine."""
    workers: int | None = Field(default=None, ge=1)
    """Trainings at a time; default as many as the nodes have room for when the study starts."""
    cpus: float = Field(default=1.0, ge=0)
    """CPUs of a training; its threads, if that is one or more."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of a training: 0.5 lets two share one; 2 train one candidate together."""
    resources: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Further resources of a training: the cluster's own, such as `a100: 1`."""
    wait: str = "10 min"
    """How long to wait for room for the first worker."""

    def __post_init__(self) -> None:
        """Read the time now, not when the study runs."""
        self.patience_s()
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus: {self.gpus:g} is neither a share of one nor whole")
        if not (self.cpus or self.gpus or self.resources):
            raise ValueError("a training needs something: cpus, gpus or resources")

    def patience_s(self) -> float:
        """`wait` in seconds."""
        return parse_quantity(self.wait, "ms") / 1e3

    @property
    def local(self) -> bool:
        """No: what a device is, its own machine says."""
        return False

    @property
    def train_device(self) -> str:
        """A GPU if one is asked for."""
        return "cuda" if self.gpus else "cpu"

    @property
    def num_threads(self) -> int:
        """As many as CPUs."""
        return max(1, int(self.cpus) // self.num_devices)

    @property
    def num_devices(self) -> int:
        """GPUs of a training."""
        return max(1, int(self.gpus))

    @contextmanager
    def start(self, evaluate: Evaluate, survey: Survey) -> Iterator[Workers]:
        """Connect, place workers, and wait until there is one of each kind."""
        from search.executors.ray_tune.environment import prepare

        prepare(self.address)
        from search.executors.ray_tune.start import started

        with started(self, evaluate, survey) as workers:
            yield workers
