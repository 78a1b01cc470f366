"""What every cost of the table promises; sizes and counts by hand."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from objectives.costs import COSTS, Cost, Flops, Latency, Parameters, Size, Subject
from objectives.device import Turnstile
from objectives.runtimes import RUNTIMES, Deployment
from objectives.target import Target
from objectives.units import parse_quantity

every_cost = pytest.mark.parametrize("name", COSTS)
measured_here = pytest.mark.parametrize("name", sorted(COSTS.keys() - {"energy"}))
"""Energy needs a counter, which most virtual machines lack; `test_energy.py` brings one."""


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks of this test alone, and torch's threads as they were."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def subject(
    lock: str, net: nn.Module | None = None, *, batch: int = 1, runtime: str = "eager"
) -> Subject:
    """A small network on one target called `box`; `lock` names a device of its own."""
    net, inputs = net or network(), torch.randn(5, 2, 4)
    target = Target(runtime=RUNTIMES[runtime](), batch=batch)
    deployment = target.runtime.deploy(
        net, calibration=inputs, precision="fp32", device="cpu", threads=1
    )
    return Subject(
        network=net,
        inputs=inputs,
        targets={"box": target},
        deployments={"box": deployment},
        turnstile=Turnstile(lock),
    )


def cost(name: str) -> Cost:
    """The cost on `box` if it needs a target; a short timing."""
    fields = {field.name for field in dataclasses.fields(COSTS[name])}
    options = {"target": "box"} if "target" in fields else {}
    return COSTS[name](**options, **({"max_s": 0.02} if "max_s" in fields else {}))


@measured_here
def test_measurement_is_positive_inside_its_interval_and_in_the_unit_of_the_cost(
    name: str,
) -> None:
    measured = cost(name).measure(subject(name))
    assert measured.unit == COSTS[name].unit
    assert 0 < measured.low <= measured.value <= measured.high


@measured_here
def test_cost_that_is_counted_does_not_depend_on_the_weights(name: str) -> None:
    first, other = (cost(name).measure(subject(name, network(seed))) for seed in (0, 1))
    if not first.samples:
        assert first.value == first.low == first.high == other.value


@measured_here
def test_larger_network_costs_more_if_counted(name: str) -> None:
    larger = nn.Sequential(nn.Flatten(), nn.Linear(8, 600), nn.ReLU(), nn.Linear(600, 3)).eval()
    small, large = (cost(name).measure(subject(name, net)) for net in (None, larger))
    if not small.samples:
        assert small.value < large.value


@every_cost
def test_limit_is_written_in_a_unit_of_the_cost(name: str) -> None:
    assert cost(name).limit is None
    limited = COSTS[name](limit=f"3 {COSTS[name].unit}")
    assert parse_quantity(limited.limit or "", COSTS[name].unit) == 3


@every_cost
def test_cost_is_frozen_and_refuses_unknown_options(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(COSTS[name](), "limit", 1)  # noqa: B010
    with pytest.raises(ValueError, match="no_such_option"):
        COSTS[name](no_such_option=1)


def test_flops_of_two_linear_layers_are_two_for_each_weight() -> None:
    assert Flops().measure(subject("flops")).value == 2 * (8 * 6 + 6 * 3)


def test_flops_are_those_of_one_input_whatever_the_batch() -> None:
    assert Flops().measure(subject("flops", batch=4)).value == 2 * (8 * 6 + 6 * 3)


def test_parameters_count_weights_and_biases_but_no_buffers() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    counted = Parameters().measure(subject("parameters", net.eval()))
    assert counted.value == (8 * 6 + 6) + 2 * 6 + (6 * 3 + 3)


def test_shared_parameters_are_counted_once() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    net[2].weight = net[1].weight
    assert Parameters().measure(subject("parameters", net)).value == 64 + 8 + 8


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_size_is_the_length_of_what_would_be_shipped(runtime: str) -> None:
    measured_on = subject("size", runtime=runtime)
    size = Size(target="box").measure(measured_on)
    assert size.value == len(measured_on.deployments["box"].artefact)
    assert size.conditions["runtime"] == runtime


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_size_grows_by_the_bytes_of_the_added_weights(runtime: str) -> None:
    sizes = [
        Size(target="box")
        .measure(
            subject(
                "size",
                nn.Sequential(nn.Flatten(), nn.Linear(8, width), nn.Linear(width, 3)).eval(),
                runtime=runtime,
            )
        )
        .value
        for width in (512, 1024)
    ]
    assert sizes[1] - sizes[0] == pytest.approx(4 * 512 * (8 + 1 + 3), abs=300)


@pytest.mark.parametrize(("threads", "clock"), [(1, "cpu"), (2, "wall")])
def test_latency_takes_the_cpu_clock_only_where_one_thread_computes(
    threads: int, clock: str
) -> None:
    measured_on = subject("latency")
    target = dataclasses.replace(measured_on.targets["box"], threads=threads)
    deployment = target.runtime.deploy(
        measured_on.network,
        calibration=measured_on.inputs,
        precision="fp32",
        device="cpu",
        threads=threads,
    )
    measured_on = dataclasses.replace(
        measured_on, targets={"box": target}, deployments={"box": deployment}
    )
    measured = Latency(target="box", max_s=0.02).measure(measured_on)
    assert measured.conditions["clock"] == clock
    assert measured.conditions["threads"] == threads


def test_latency_carries_samples_and_the_conditions_of_target_and_deployment() -> None:
    measured_on = subject("latency", batch=3)
    measured = Latency(target="box", max_s=0.02).measure(measured_on)
    assert len(measured.samples) >= 6
    assert measured.conditions["batch"] == 3
    assert measured.conditions.items() >= measured_on.deployments["box"].conditions.items()


@pytest.mark.parametrize("batch", [1, 2, 12])
def test_latency_rotates_through_different_batches_of_real_inputs(batch: int) -> None:
    bound: list[Tensor] = []

    def bind(inputs: Tensor) -> Callable[[], object]:
        bound.append(inputs)
        return lambda: None

    deployment = Deployment(
        run=lambda x: x, bind=bind, artefact=b"", conditions={}, file="", ship=bytes
    )
    measured_on = dataclasses.replace(
        subject("latency", batch=batch), deployments={"box": deployment}
    )
    Latency(target="box", max_s=0.01).measure(measured_on)
    real = {tuple(row.flatten().tolist()) for row in measured_on.inputs}
    # a noisy value is taken twice, with calls of its own
    assert len(bound) in (len(measured_on.inputs), 2 * len(measured_on.inputs))
    del bound[len(measured_on.inputs) :]
    assert {tuple(batch_.shape) for batch_ in bound} == {(batch, 2, 4)}
    assert {tuple(row.flatten().tolist()) for rows in bound for row in rows} == real
    assert len({tuple(rows[0].flatten().tolist()) for rows in bound}) == len(bound)


@pytest.mark.parametrize("options", [{"precision": 0.0}, {"precision": 1.0}, {"max_s": 0.0}])
def test_latency_refuses_a_plan_that_cannot_end_or_mean_anything(
    options: dict[str, float],
) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Latency(**options)


def test_target_refuses_no_threads_and_no_inputs() -> None:
    for options in ({"threads": 0}, {"batch": 0}, {"cores": 2}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Target(**options)


def test_target_is_checked_by_its_runtime() -> None:
    assert Target().check() is None
    assert "cpu" in (Target(device="abacus").check() or "")
