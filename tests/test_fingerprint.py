"""A task is known by its data, whoever reads it: a driver of many threads or a worker of one."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from objectives.tasks import ACCURACY, Split, Splits, load
from objectives.tasks.digits import Digits
from objectives.tasks.task import cross_entropy, fingerprint


@dataclass(frozen=True)
class Scaled:
    """The same few inputs under a scale of one's own."""

    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()

    metric: Any = ACCURACY
    loss = staticmethod(cross_entropy)

    def splits(self) -> Splits:
        part = Split(inputs=torch.ones(4, 3), targets=torch.zeros(4, 1))
        return Splits(
            train=part,
            validation=part,
            test=part,
            outputs=2,
            mean=self.mean,
            std=self.std,
            target_mean=self.target_mean,
            target_std=self.target_std,
        )


@pytest.mark.parametrize("field", ["mean", "std", "target_mean", "target_std"])
def test_last_digits_of_a_scale_do_not_matter_and_the_others_do(field: str) -> None:
    value = 6.016224169471134
    first, near, far, swapped = (
        fingerprint(Scaled(**{field: scale}))
        for scale in ((value, 2.0), (value + 2e-12, 2.0), (value + 1e-3, 2.0), (2.0, value))
    )
    assert near == first
    assert far != first
    assert swapped != first


def test_number_of_threads_does_not_matter() -> None:
    before, found = torch.get_num_threads(), set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            load.cache_clear()
            fingerprint.cache_clear()
            found.add(fingerprint(Digits()))
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
