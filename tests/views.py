"""Studies as a reader of the database sees them, made by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from objectives.measurement import Measurement
from search.evaluation import Status
from search.pareto import Scale
from search.store.view import FrontView, ObjectiveView, StudyView, TrialView
from spaces.candidate import Candidate

CANDIDATE = Candidate(
    family="convnet",
    architecture={"depth": 2, "width": [8, 16], "activation": "relu"},
    training={"lr": 0.0012345, "batch": 64},
    augmentation={"flip": False, "shift": 0.1},
    compression=(("prune", {"ratio": 0.5, "round_to": 4}), ("quantize", {"scheme": "int8"})),
)
UNITS = {"accuracy": "ratio", "flops": "flops", "latency": "ms"}


def objectives(**limits: float) -> tuple[ObjectiveView, ...]:
    """Accuracy, FLOPs and latency, with these limits."""
    return tuple(
        ObjectiveView(
            name=name,
            unit=unit,
            direction="maximize" if name == "accuracy" else "minimize",
            limit=limits.get(name),
        )
        for name, unit in UNITS.items()
    )


def measurement(value: float, unit: str, half: float = 0.0, *flags: str) -> Measurement:
    """A value with an interval of `half` to both sides."""
    return Measurement(value=value, unit=unit, low=value - half, high=value + half, flags=flags)


def trial(
    number: int,
    status: Status = "done",
    reason: str = "",
    candidate: Candidate = CANDIDATE,
    **values: float,
) -> TrialView:
    """A trial with these exact values."""
    return TrialView(
        number=number,
        candidate=candidate,
        status=status,
        reason=reason,
        measurements={name: measurement(value, UNITS[name]) for name, value in values.items()},
        curve=(),
        seconds={},
    )


def study(
    trials: Sequence[TrialView],
    members: Sequence[int] = (),
    objectives: tuple[ObjectiveView, ...] = objectives(),
    spec: Mapping[str, Any] | None = None,
    name: str = "toy",
) -> StudyView:
    """A study whose newest front has `members`."""
    last = trials[-1].number if trials else 0
    front = FrontView(trial=last, at=0.0, hypervolume=0.5, members=tuple(members))
    return StudyView(
        name=name,
        created_at=0.0,
        objectives=objectives,
        scale=Scale(
            ideal={"accuracy": 1.0, "flops": 1e3, "latency": 0.01},
            reference={"accuracy": 0.1, "flops": 1e5, "latency": 1.0},
            log={"accuracy": False, "flops": True, "latency": True},
        ),
        plan={},
        trials=tuple(trials),
        num_repeats=0,
        fronts=(front,) if members else (),
        runs=({"spec": spec},) if spec is not None else (),
    )
