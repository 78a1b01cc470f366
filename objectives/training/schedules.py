"""The learning rate over a training, as a factor on `lr`."""

import math
from collections.abc import Callable

from objectives.training.settings import Training

RISE_SHARE, RISE_FROM, FALL_TO = 0.3, 1 / 25, 1 / 25e4
"""Of `onecycle`: share of the steps that rise, the factor at the start and at the end.

Source: the defaults of torch.optim.lr_scheduler.OneCycleLR.
"""


def factor(settings: Training, steps: int) -> Callable[[int], float]:
    """Step, from 0, -> factor on the learning rate, for a training of `steps` steps.

    A linear warm-up (Goyal et al. 2017, arXiv:1706.02677) over the first `warmup` of the steps, at
    least one, then the schedule. It spans the training to the last rung, so that a shorter rung is
    a prefix of the longer one.
    """
    if settings.schedule == "onecycle":
        return lambda step: _onecycle(step, steps)
    warmup = max(1, round(settings.warmup * steps))
    fall = FALLS[settings.schedule]

    def warmed(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return fall((step - warmup) / max(1, steps - warmup))

    return warmed


def _cosine(done: float) -> float:
    """From 1 to 0 along half a cosine.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 without restarts.
    """
    return 0.5 * (1 + math.cos(math.pi * done))


def _step(done: float) -> float:
    """A tenth after half of the way, a hundredth after three quarters.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2 (32k and 48k of 64k steps).
    """
    return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01


def _constant(done: float) -> float:
    return 1.0


FALLS: dict[str, Callable[[float], float]] = {
    "cosine": _cosine,
    "step": _step,
    "constant": _constant,
}
"""Share of the steps after the warm-up that are done, 0 to 1, -> factor."""


def _onecycle(step: int, steps: int) -> float:
    """Up along half a cosine, then down along another, to far below the start.

    Source: Smith and Topin 2018, arXiv:1708.07120, in the form of torch's OneCycleLR; momentum
    stays as it is.
    """
    top, end = max(0.0, RISE_SHARE * steps - 1), max(1, steps - 1)
    if step <= top:
        return _between(RISE_FROM, 1.0, step / top if top > 0 else 1.0)
    return _between(1.0, FALL_TO, min(1.0, (step - top) / (end - top)))


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) * _cosine(done)
