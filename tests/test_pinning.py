"""A target's `cores`: where its runtime computes while it is timed."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from objectives.agent import pinned
from objectives.device import Turnstile
from objectives.runtimes.eager import Eager
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.target import Target
from objectives.timing import time_calls
from search.errors import InputError
from search.spec import read_study

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process"
)

HERE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def test_calls_run_on_the_cores_of_the_target_and_afterwards_anywhere() -> None:
    target, seen = Target(cores=(HERE[-1],)), set()
    time_calls(
        [lambda: seen.add(frozenset(os.sched_getaffinity(0)))],
        target.timing(max_s=0.01),
        Turnstile("pinning-test"),
    )
    assert seen == {frozenset({HERE[-1]})}
    assert sorted(os.sched_getaffinity(0)) == HERE


def test_nothing_is_pinned_without_cores() -> None:
    with pinned(()):
        assert sorted(os.sched_getaffinity(0)) == HERE


def test_pinning_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), pinned(HERE[:1]):
        raise ZeroDivisionError
    assert sorted(os.sched_getaffinity(0)) == HERE


def test_threads_of_the_runtime_start_where_the_target_is_pinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deploy, seen = OnnxRuntime.deploy, []

    def watched(self: OnnxRuntime, *arguments: object, **keywords: object) -> object:
        seen.append(os.sched_getaffinity(0))
        return deploy(self, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(OnnxRuntime, "deploy", watched)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    Target(cores=(HERE[0],)).deploy(network, torch.randn(2, 1, 2, 2), "fp32")
    assert seen == [{HERE[0]}]


def test_conditions_say_where() -> None:
    assert Target(cores=(0, 1), threads=2).conditions()["pinned"] == "0,1"
    assert "pinned" not in Target().conditions()


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (Target(cores=(4096,)), "are not among"),
        (Target(cores=(HERE[0],), threads=2), "fewer than threads"),
        (Target(device="cuda", cores=(0,)), "leave them out for a GPU"),
        (Target(cores=(0, 1), threads=2, runtime=Eager()), "only runtime onnxruntime"),
    ],
)
def test_cores_that_cannot_be_had_are_refused(target: Target, rule: str) -> None:
    reason = target.check()
    assert reason is not None
    assert reason.startswith("cores: ")
    assert rule in reason


def test_study_names_the_place(small: Path) -> None:
    with pytest.raises(InputError, match=r"targets\.cpu.*\[4096\] are not among"):
        read_study(small, ("targets.cpu.cores=[4096]",))
