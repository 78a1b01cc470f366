"""Quantization of a briefly trained network for digits: what runs in 8 bits, and how well."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import onnx
import pytest
import torch
from torch import Tensor, nn

from objectives.device import Turnstile
from objectives.runtimes import RUNTIMES, Deployment, DeploymentError
from objectives.tasks import Splits, load
from objectives.tasks.digits import Digits
from objectives.training import Training, answers, begin, train
from spaces.augmentation import Augmentation
from spaces.compression.prune import Prune
from spaces.compression.quantize import Quantize
from spaces.families.convnet import ConvNet

SPLITS = load(Digits())


def fit(network: nn.Module, epochs: int, lr: float = 1e-2) -> nn.Module:
    """Train on the digits."""
    settings = Training(lr=lr)
    progress = begin(network, settings, examples=len(SPLITS.train), epochs=epochs, seed=0)
    train(
        progress,
        Digits(),
        settings,
        Augmentation(),
        until_epoch=epochs,
        device="cpu",
        turnstile=Turnstile("tests"),
    )
    return progress.network


@pytest.fixture(scope="module", autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Training here waits for no measurement elsewhere on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return fit(ConvNet(width=16).build(*SPLITS.signature), epochs=4)


def deploy(network: nn.Module, runtime: str, scheme: str) -> Deployment:
    step = Quantize(scheme=scheme)
    applied = step.apply(network, SPLITS.prepare(SPLITS.train.inputs[:2]))
    return RUNTIMES[runtime]().deploy(
        network,
        calibration=SPLITS.prepare(SPLITS.train.inputs[:64]),
        precision=applied.precision or "fp32",
        device="cpu",
        threads=1,
    )


def predictions(deployment: Deployment, splits: Splits = SPLITS) -> Tensor:
    return answers(deployment.run, splits.validation.inputs, splits).argmax(1)


def float_predictions(network: nn.Module) -> Tensor:
    with torch.no_grad():
        return answers(network, SPLITS.validation.inputs, SPLITS).argmax(1)


def agreement(first: Tensor, second: Tensor) -> float:
    return float((first == second).double().mean())


def executed(model: bytes, folder: Path) -> list[str]:
    """Operations of the graph that ONNX Runtime really runs, after its optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


def test_every_convolution_runs_in_8_bits(network: nn.Module, tmp_path: Path) -> None:
    operations = executed(deploy(network, "onnxruntime", "int8").artefact, tmp_path)
    assert operations.count("QLinearConv") == 2
    assert not {"Conv", "FusedConv"} & set(operations)


def test_nothing_runs_in_8_bits_unless_asked(network: nn.Module, tmp_path: Path) -> None:
    operations = executed(deploy(network, "onnxruntime", "none").artefact, tmp_path)
    assert not [name for name in operations if "QLinear" in name or "Quantize" in name]


def test_8_bits_agree_with_the_float_network_on_most_predictions(network: nn.Module) -> None:
    expected = float_predictions(network)
    assert agreement(expected, SPLITS.validation.targets) > 0.9
    assert agreement(predictions(deploy(network, "onnxruntime", "int8")), expected) > 0.95


def test_8_bits_make_a_smaller_file_of_a_wider_network() -> None:
    wide = ConvNet(width=64).build(*SPLITS.signature).eval()
    sizes = [len(deploy(wide, "onnxruntime", scheme).artefact) for scheme in ("none", "int8")]
    assert sizes[1] < 0.5 * sizes[0]


def test_pruned_network_runs_in_8_bits_too(network: nn.Module, tmp_path: Path) -> None:
    pruned = copy.deepcopy(network)
    Prune(ratio=0.5).apply(pruned, SPLITS.prepare(SPLITS.train.inputs[:8]))
    pruned = fit(pruned, epochs=1, lr=3e-3)
    deployment = deploy(pruned, "onnxruntime", "int8")
    assert executed(deployment.artefact, tmp_path).count("QLinearConv") == 2
    assert agreement(predictions(deployment), float_predictions(pruned)) > 0.95


def test_bf16_by_eager_agrees_with_the_float_network(network: nn.Module) -> None:
    deployment = deploy(network, "eager", "bf16")
    assert agreement(predictions(deployment), float_predictions(network)) > 0.95
    weights = sum(p.numel() for p in network.parameters())
    saved = len(deploy(network, "eager", "none").artefact) - len(deployment.artefact)
    assert saved == pytest.approx(2 * weights, rel=0.1)


def test_fp16_agrees_with_the_float_network_in_half_the_bytes(network: nn.Module) -> None:
    deployment = deploy(network, "onnxruntime", "fp16")
    assert agreement(predictions(deployment), float_predictions(network)) > 0.98
    weights = sum(p.numel() for p in network.parameters())
    saved = len(deploy(network, "onnxruntime", "none").artefact) - len(deployment.artefact)
    assert saved == pytest.approx(2 * weights, rel=0.2)


@pytest.mark.parametrize(
    ("scheme", "operation", "bytes_each"),
    [("int8_dynamic", "MatMulInteger", 1.0), ("int4", "MatMulNBits", 0.5 + 4 / 32)],
)
def test_linear_layers_run_in_fewer_bits_in_a_file_of_that_size(
    scheme: str, operation: str, bytes_each: float
) -> None:
    """4 bits carry a float32 scale for each 32 weights."""
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 256)).eval()
    deployment = deploy(wide, "onnxruntime", scheme)
    nodes = [n.op_type for n in onnx.load_from_string(deployment.artefact).graph.node]
    assert nodes.count(operation) == 2
    assert not {"Gemm", "MatMul"} & set(nodes)
    weights = 64 * 512 + 512 * 256
    assert len(deployment.artefact) == pytest.approx(bytes_each * weights + 4 * 768, rel=0.05)
    inputs = SPLITS.prepare(SPLITS.validation.inputs)
    with torch.no_grad():
        expected = wide(inputs)
    assert (deployment.run(inputs) - expected).abs().max() < 0.25 * expected.abs().max()


class Recurrent(nn.Module):
    """Reads a picture row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        output: Tensor = self.head(self.lstm(x_BCHW.squeeze(1))[0][:, -1])
        return output


def test_lstm_runs_in_8_bits_when_asked_for_dynamic(tmp_path: Path) -> None:
    network = fit(Recurrent(), epochs=2)
    deployment = deploy(network, "onnxruntime", "int8_dynamic")
    assert "DynamicQuantizeLSTM" in executed(deployment.artefact, tmp_path)
    assert agreement(predictions(deployment), float_predictions(network)) > 0.9


class Flattening(nn.Module):
    """Computes the shape of a reshape, which ONNX Runtime's preprocessing cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        rows = x_BCHW.shape[2] - x_BCHW.shape[2] % 2
        x_BCHW = x_BCHW[:, :, :rows].unflatten(2, (rows // 2, 2)).flatten(2, 3)
        output: Tensor = self.head(self.conv(x_BCHW).flatten(1))
        return output


@pytest.mark.parametrize("scheme", ["int8", "int8_dynamic"])
def test_network_with_computed_shapes_is_quantized_too(scheme: str) -> None:
    network = fit(Flattening(), epochs=2)
    expected = float_predictions(network)
    assert agreement(predictions(deploy(network, "onnxruntime", scheme)), expected) > 0.9


@pytest.mark.parametrize("scheme", ["int8_dynamic", "int4"])
def test_network_without_linear_layers_is_refused_by_name(scheme: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(DeploymentError, match=f"{scheme} quantization failed: the network has no"):
        deploy(network.eval(), "onnxruntime", scheme)


@pytest.mark.parametrize(
    ("runtime", "scheme"), [("onnxruntime", "bf16"), ("eager", "int8"), ("eager", "int4")]
)
def test_scheme_that_the_runtime_does_not_run_is_an_error(
    runtime: str, scheme: str, network: nn.Module
) -> None:
    with pytest.raises(DeploymentError, match=f"runtime {runtime} does not run {scheme}"):
        deploy(network, runtime, scheme)


def test_ranges_come_from_the_calibration_inputs(network: nn.Module) -> None:
    """With inputs a thousand times too large, 8 bits have no levels left for real ones."""
    calibration = SPLITS.prepare(SPLITS.train.inputs[:64])
    outputs = [
        RUNTIMES["onnxruntime"]().deploy(
            network, calibration=scale * calibration, precision="int8", device="cpu", threads=1
        )
        for scale in (1, 1000)
    ]
    expected = float_predictions(network)
    right, wrong = (agreement(predictions(deployment), expected) for deployment in outputs)
    assert wrong < 0.5 < right


def test_step_leaves_the_module_and_names_the_precision(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    for scheme, precision in Quantize.PRECISIONS.items():
        if scheme == "int8_aware":  # tests/test_learned.py
            continue
        applied = Quantize(scheme=scheme).apply(network, SPLITS.train.inputs[:2])
        assert applied.precision == precision
        assert applied.record == {"scheme": scheme}
        assert applied.finetune_epochs == 0
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_every_scheme_has_a_precision_that_some_runtime_offers() -> None:
    schemes = get_args(get_type_hints(Quantize)["scheme"])
    assert set(schemes) == set(Quantize.PRECISIONS)
    offered = frozenset[str]().union(*(runtime.precisions for runtime in RUNTIMES.values()))
    assert set(Quantize.PRECISIONS.values()) <= offered
