"""What needs a CUDA device; skipped, with the reason, where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from objectives.device import MACHINE, Turnstile
from objectives.runtimes.eager import Eager
from objectives.target import Target
from objectives.timing import TimingPlan, time_calls
from search.evaluate import evaluate
from search.evaluation import Price, Train
from search.spec import read_study
from spaces.families.convnet import ConvNet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

ON_GPU = ("targets={gpu: {device: cuda, runtime: eager}}", "objectives.2.latency.target=gpu")
NO_INT8 = "space.compression.quantize.scheme=[none, bf16]"


def test_eager_latency_on_a_gpu_waits_for_the_device() -> None:
    target = Target(device="cuda", runtime=Eager())
    network = ConvNet(depth=3, width=64).build((3, 64, 64), 10)
    inputs = torch.randn(8, 3, 64, 64)
    deployment = target.runtime.deploy(
        network, calibration=inputs, precision="fp32", device="cuda", threads=1
    )
    timed = time_calls([deployment.bind(inputs)], TimingPlan(clock="wall"), Turnstile(MACHINE))
    assert timed.value > 0.005, "a launch without waiting takes a few microseconds"


def test_candidate_is_trained_and_priced_on_a_gpu(small: Path) -> None:
    study = read_study(small, (*ON_GPU, NO_INT8))
    candidate = study.space.decode(study.space.draw(np.random.default_rng(0)), (1, 8, 8))
    priced = evaluate(Price(trial=0, candidate=candidate), study, "cuda", 1)
    assert priced.status == "priced", priced.reason
    job = Train(trial=0, candidate=candidate, until_epoch=2, checkpoint=None)
    trained = evaluate(job, study, "cuda", 1)
    assert trained.status == "done", trained.reason
