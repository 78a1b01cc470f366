"""What every runtime of the table promises in every precision it offers."""

import dataclasses
import io

import onnx
import pytest
import torch
from torch import Tensor, nn

from objectives.runtimes import RUNTIMES, Deployment, DeploymentError, Runtime
from objectives.runtimes.deployment import PARITY_TOLERANCE, check_parity

SHAPE = (3, 12, 12)
TOLERANCE = {
    "fp32": PARITY_TOLERANCE,
    "bf16": 0.03,
    "fp16": 0.005,
    "int8": 0.1,
    "int8_dynamic": 0.1,
    "int4": 0.2,
}
"""Largest difference to the network relative to the largest output, of random weights."""

RUN_HERE = ["eager", "onnxruntime"]
"""Deployed in the tests of all: `cuda_graph` needs a GPU, `compile` 10 s a batch size; these have
tests of their own."""
every_runtime = pytest.mark.parametrize("name", RUNTIMES)
runtimes_here = pytest.mark.parametrize("name", RUN_HERE)
every_precision = pytest.mark.parametrize(
    ("name", "precision"),
    [(name, precision) for name in RUN_HERE for precision in sorted(RUNTIMES[name].precisions)],
)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


def inputs(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="module")
def deployments(network: nn.Module) -> dict[tuple[str, str], Deployment]:
    return {
        (name, precision): deploy(name, precision, network)
        for name in RUN_HERE
        for precision in RUNTIMES[name].precisions
    }


def deploy(name: str, precision: str, network: nn.Module) -> Deployment:
    return RUNTIMES[name]().deploy(
        network, calibration=inputs(16), precision=precision, device="cpu", threads=1
    )


def state_dict(deployment: Deployment) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(io.BytesIO(deployment.artefact), weights_only=True)
    return state


@every_runtime
def test_runtime_without_options_satisfies_the_protocol(name: str) -> None:
    runtime = RUNTIMES[name]()
    assert isinstance(runtime, Runtime)
    assert runtime.precisions
    assert runtime == RUNTIMES[name]()
    with pytest.raises(ValueError, match="no_such_option"):
        RUNTIMES[name](no_such_option=1)
    for field in dataclasses.fields(runtime):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(runtime, field.name, None)


@every_runtime
def test_runtime_refuses_a_device_it_does_not_have_with_a_sentence(name: str) -> None:
    reason = RUNTIMES[name]().check("abacus")
    assert reason is not None
    assert "abacus" in reason
    assert len(reason.split()) > 4


@every_runtime
def test_precision_that_a_runtime_does_not_offer_is_an_error(
    name: str, network: nn.Module
) -> None:
    with pytest.raises(DeploymentError, match="does not run int3"):
        deploy(name, "int3", network)


@every_precision
def test_deployed_network_answers_as_the_network(
    name: str,
    precision: str,
    network: nn.Module,
    deployments: dict[tuple[str, str], Deployment],
) -> None:
    for count in (1, 3, 17):
        actual = deployments[name, precision].run(inputs(count))
        with torch.no_grad():
            expected = network(inputs(count))
        assert actual.shape == (count, 5)
        assert actual.dtype == torch.float32
        assert not actual.requires_grad
        largest = float(expected.abs().max())
        assert float((actual - expected).abs().max()) <= TOLERANCE[precision] * largest


@every_precision
def test_bound_call_can_be_repeated_for_any_batch(
    name: str, precision: str, deployments: dict[tuple[str, str], Deployment]
) -> None:
    threads = torch.get_num_threads()
    try:
        for count in (1, 4):
            call = deployments[name, precision].bind(inputs(count))
            call()
            call()
    finally:
        torch.set_num_threads(threads)


@every_precision
def test_conditions_say_what_was_deployed_and_with_which_versions(
    name: str, precision: str, deployments: dict[tuple[str, str], Deployment]
) -> None:
    conditions = deployments[name, precision].conditions
    assert conditions["runtime"] == name
    assert conditions["precision"] == precision
    assert conditions["threads"] == 1
    assert conditions["torch"] == torch.__version__
    assert {"device", "cores"} <= set(conditions)
    assert all(isinstance(value, str | int | float | bool) for value in conditions.values())


@runtimes_here
def test_deploying_leaves_the_network_as_it_was(name: str, network: nn.Module) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    deploy(name, sorted(RUNTIMES[name].precisions)[0], network)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(value.dtype == before[key].dtype for key, value in after.items())


@every_precision
def test_artefact_holds_every_weight(
    name: str,
    precision: str,
    network: nn.Module,
    deployments: dict[tuple[str, str], Deployment],
) -> None:
    weights = sum(p.numel() for p in network.parameters() if p.dim() > 1)
    bytes_each = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "int8_dynamic": 1, "int4": 0.5}[
        precision
    ]
    assert len(deployments[name, precision].artefact) > weights * bytes_each


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_eager_artefact_is_a_state_dict_of_that_precision(
    precision: str, deployments: dict[tuple[str, str], Deployment]
) -> None:
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    state = state_dict(deployments["eager", precision])
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {dtype}


def test_eager_runs_channels_last_whatever_layout_it_was_given(
    network: nn.Module, deployments: dict[tuple[str, str], Deployment]
) -> None:
    assert not network[4].weight.is_contiguous(memory_format=torch.channels_last)
    weight = state_dict(deployments["eager", "fp32"])["4.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_onnx_artefact_is_a_valid_model_with_a_free_batch(
    deployments: dict[tuple[str, str], Deployment],
) -> None:
    model = onnx.load_from_string(deployments["onnxruntime", "fp32"].artefact)
    onnx.checker.check_model(model)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param == "batch"


def test_both_exporters_make_files_that_answer_alike(network: nn.Module) -> None:
    outputs = [
        RUNTIMES["onnxruntime"](exporter=exporter)
        .deploy(network, calibration=inputs(4), precision="fp32", device="cpu", threads=1)
        .run(inputs(5))
        for exporter in ("torchscript", "dynamo")
    ]
    torch.testing.assert_close(outputs[0], outputs[1])


def test_onnxruntime_refuses_a_gpu_and_names_the_remedy() -> None:
    assert "use runtime eager" in (RUNTIMES["onnxruntime"]().check("cuda") or "")


@pytest.mark.skipif(
    RUNTIMES["compile"]().check("cpu") is not None, reason="no C++ compiler for torch.compile"
)
@pytest.mark.filterwarnings("ignore")  # what Inductor's own imports warn about
def test_compiled_network_answers_as_the_network_and_ships_a_program(network: nn.Module) -> None:
    deployed = deploy("compile", "fp32", network)
    with torch.no_grad():
        expected = network(inputs(16)[:8])
    torch.testing.assert_close(deployed.run(inputs(16)[:8]), expected, rtol=1e-3, atol=1e-4)
    deployed.bind(inputs(16)[:8])()
    assert deployed.conditions["runtime"] == "compile"
    assert deployed.conditions["mode"] == "default"
    assert deployed.file == "model.pt2"


def test_shipped_program_answers_for_any_batch_without_our_code(network: nn.Module) -> None:
    program = torch.export.load(io.BytesIO(deploy("eager", "fp32", network).ship())).module()
    for count in (1, 7):
        with torch.no_grad():
            torch.testing.assert_close(program(inputs(count)), network(inputs(count)))


def test_network_that_branches_on_data_cannot_be_shipped_as_a_program() -> None:
    deployed = RUNTIMES["eager"]().deploy(
        _Branches().eval(), calibration=torch.ones(4, 4), precision="fp32", device="cpu", threads=1
    )
    with pytest.raises(DeploymentError, match=r"torch\.export failed: "):
        deployed.ship()


def test_cuda_graph_is_refused_on_a_cpu() -> None:
    assert "runs on device cuda" in (RUNTIMES["cuda_graph"]().check("cpu") or "")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_provider_must_fit_the_device(provider: str) -> None:
    reason = RUNTIMES["onnxruntime"](provider=provider).check("cpu")
    assert f"provider {provider} does not run on device 'cpu'" in (reason or "")


class _Branches(nn.Module):
    """Takes the other way if the batch is dark: no trace of one example can follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x_BF: Tensor) -> Tensor:
        y_BK: Tensor = self.layer(x_BF)
        return y_BK if bool(x_BF.mean() > 0) else -y_BK


def test_file_that_answers_differently_is_never_deployed() -> None:
    bright_then_dark = torch.cat([torch.ones(2, 4), -3 * torch.ones(6, 4)])
    with pytest.raises(DeploymentError, match="differs from the network by"):
        RUNTIMES["onnxruntime"]().deploy(
            _Branches().eval(),
            calibration=bright_then_dark,
            precision="fp32",
            device="cpu",
            threads=1,
        )


def test_network_that_cannot_be_exported_is_a_deployment_error() -> None:
    class Sorts(nn.Module):
        def forward(self, x_BF: Tensor) -> Tensor:
            return torch.linalg.eigvals(x_BF.T @ x_BF).real.expand(len(x_BF), -1)

    with pytest.raises(DeploymentError, match="ONNX export failed"):
        RUNTIMES["onnxruntime"]().deploy(
            Sorts(), calibration=torch.randn(4, 3), precision="fp32", device="cpu", threads=1
        )


def test_parity_is_relative_to_the_largest_output() -> None:
    network = nn.Linear(3, 2)
    x_BF = 100 * torch.randn(8, 3)
    with torch.no_grad():
        exact = network(x_BF)
    largest = float(exact.abs().max())
    allowed, too_much = 0.9 * PARITY_TOLERANCE * largest, 1.1 * PARITY_TOLERANCE * largest
    assert check_parity(network, lambda _: exact + allowed, x_BF) == pytest.approx(
        0.9 * PARITY_TOLERANCE, rel=0.01
    )
    with pytest.raises(DeploymentError, match="differs"):
        check_parity(network, lambda _: exact + too_much, x_BF)


def test_outputs_of_another_shape_or_not_a_number_are_no_parity() -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(DeploymentError, match=r"returns shape \(4, 1\)"):
        check_parity(network, lambda x: x[:, :1], torch.randn(4, 3))
    with pytest.raises(DeploymentError, match="differs"):
        check_parity(network, lambda x: x[:, :2] * float("nan"), torch.randn(4, 3))
