"""What needs a CUDA device; skipped, with the reason, where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from objectives.device import MACHINE, Turnstile
from objectives.energy import energy_counter
from objectives.runtimes import Runtime
from objectives.runtimes.compile import Compile
from objectives.runtimes.cuda_graph import CudaGraph
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


def test_kernels_take_no_longer_than_the_caller_waits() -> None:
    network, inputs = (
        ConvNet(depth=3, width=256).build((3, 64, 64), 10),
        torch.randn(32, 3, 64, 64),
    )
    target = Target(device="cuda", batch=32, runtime=Eager())
    deployment = target.deploy(network, inputs, "fp32")
    timed = deployment.time(inputs, 32, target.timing(), Turnstile(MACHINE))
    assert 0 < timed.details["gpu_ms"] < 1.1 * timed.value


def test_candidate_is_trained_and_priced_on_a_gpu(small: Path) -> None:
    study = read_study(small, (*ON_GPU, NO_INT8))
    candidate = study.space.decode(study.space.draw(np.random.default_rng(0)), (1, 8, 8))
    priced = evaluate(Price(trial=0, candidate=candidate), study, "cuda", 1)
    assert priced.status == "priced", priced.reason
    job = Train(trial=0, candidate=candidate, until_epoch=2, checkpoint=None)
    trained = evaluate(job, study, "cuda", 1)
    assert trained.status == "done", trained.reason


@pytest.mark.parametrize("runtime", [Compile(), CudaGraph()])
def test_other_runtimes_answer_as_the_network_on_a_gpu(runtime: Runtime) -> None:
    network = ConvNet(depth=2, width=16).build((3, 32, 32), 10).eval()
    inputs = torch.randn(8, 3, 32, 32)
    deployment = runtime.deploy(
        network, calibration=inputs, precision="fp32", device="cuda", threads=1
    )
    with torch.no_grad():
        torch.testing.assert_close(deployment.run(inputs), network(inputs), rtol=1e-2, atol=1e-2)
    deployment.bind(inputs[:1])()


def test_graph_gives_each_input_its_own_answer() -> None:
    network = ConvNet(depth=1, width=16).build((3, 32, 32), 10).eval()
    deployment = CudaGraph().deploy(
        network, calibration=torch.randn(2, 3, 32, 32), precision="fp32", device="cuda", threads=1
    )
    first, second = torch.randn(2, 1, 3, 32, 32)
    assert not torch.allclose(deployment.run(first), deployment.run(second))


def test_energy_counter_of_a_gpu_rises() -> None:
    counter = energy_counter("cuda")
    before = counter()
    busy = torch.randn(2048, 2048, device="cuda")
    for _ in range(2000):
        busy = torch.tanh(busy @ busy)
    torch.cuda.synchronize()
    assert counter() > before
