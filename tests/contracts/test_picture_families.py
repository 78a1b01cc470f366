"""What every family of pictures promises of all its choices, not only of its defaults."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.steps import example_of
from objectives.complexity import count_flops
from objectives.runtimes.deployment import PARITY_TOLERANCE
from objectives.runtimes.onnx_export import Exporter
from objectives.runtimes.onnxruntime import OnnxRuntime
from spaces.compression import StepError
from spaces.compression.prune import Prune
from spaces.families import FAMILIES, Family

Options = dict[str, Any]
Signature = tuple[tuple[int, ...], int, tuple[int, ...]]
DIGITS: Signature = ((1, 8, 8), 10, ())
COLOURED: Signature = ((3, 8, 8), 10, ())
SQUARES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]
UNPRUNABLE = {"vit"}

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("convnet", {"block": "residual", "blocks": 2}),
    ("convnet", {"block": "residual", "pool_kind": "stride", "se": 4, "width": (16, 24)}),
    ("convnet", {"block": "separable", "se": 4, "activation": "relu6"}),
    ("convnet", {"block": "separable", "pool_kind": "stride", "blocks": 2, "dropout": 0.2}),
    ("convnet", {"block": "residual", "norm": "none", "activation": "elu", "pool": 3}),
    ("convnet", {"se": 2, "norm": "none", "pool_kind": "avg"}),
    ("convnet", {"kernel": (1, 3), "pool_kind": "stride", "block": "separable", "depth": 2}),
    ("lenet", {"norm": True, "activation": "relu", "pool_kind": "max"}),
    ("mobilenet", {"depth": 2, "se": 4, "activation": "hardswish", "kernel": (5, 3)}),
    ("mobilenet", {"depth": 3, "expansion": (1, 6, 6), "blocks": (1, 2, 3), "last": 0}),
    ("mobilenet", {"depth": 7, "width": 0.25, "blocks": 1, "resolution": 20, "dropout": 0.2}),
    ("resnet", {"depth": 2, "block": "bottleneck", "width": 8}),
    ("resnet", {"depth": 2, "se": 4, "blocks": (1, 2), "activation": "silu", "dropout": 0.1}),
    ("resnet", {"depth": 2, "resolution": 7}),
    ("squeezenet", {"depth": 3, "every": 1, "width": 24, "increment": 8, "dropout": 0.5}),
    ("squeezenet", {"norm": "none", "squeeze": 0.5, "share": 0.25, "resolution": 12}),
    ("mlp", {"width": (24, 16), "activation": "relu6"}),
    ("vit", {"depth": 1, "patch": 2, "heads": 2, "width": 24, "mlp": 1.5}),
    ("vit", {"depth": 2, "resolution": 16, "activation": "relu", "dropout": 0.1}),
]
"""(family, options): together they take every branch; each fits 8 x 8 pictures and larger."""

every_family = pytest.mark.parametrize("name", sorted({name for name, _ in VARIANTS}))
every_variant = pytest.mark.parametrize(
    ("name", "options"), VARIANTS, ids=lambda value: str(value).replace("'", "")
)


def built(family: Family, signature: Signature = DIGITS, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return family.build(*signature).eval()


def answer(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = network(inputs)
    return output


def test_every_family_that_takes_pictures_has_variants() -> None:
    takes = {name for name, family in FAMILIES.items() if family().check(*DIGITS) is None}
    assert {name for name, _ in VARIANTS} == takes - {"module"}  # tests/test_module_family.py


@every_family
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_default_takes_square_pictures(name: str, shape: tuple[int, ...]) -> None:
    assert FAMILIES[name]().check(shape, 10) is None


@every_variant
@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_variant_is_built_from_its_canonical_choices_and_answers_alike(
    name: str, options: Options, shape: tuple[int, ...]
) -> None:
    family, signature = FAMILIES[name](**options), (shape, 10, ())
    canonical = family.canonical(shape)
    assert family.check(*signature) is None
    assert canonical.canonical(shape) == canonical
    outputs = answer(built(family, signature), example_of(signature))
    assert outputs.shape == (8, 10)
    assert torch.equal(answer(built(canonical, signature), example_of(signature)), outputs)


@every_variant
def test_every_parameter_of_a_variant_is_counted_and_learns(name: str, options: Options) -> None:
    network = built(FAMILIES[name](**options)).train()
    assert count_flops(network, DIGITS[0]).total > 0
    network(example_of(DIGITS)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@every_variant
def test_no_convolution_of_one_pixel_has_a_stride(name: str, options: Options) -> None:
    """Its gradient of under 16 channels corrupts memory: oneDNN issue 6035."""
    for module in built(FAMILIES[name](**options)).modules():
        if isinstance(module, nn.Conv2d) and set(module.stride) != {1}:
            assert min(module.kernel_size) > 1


@every_variant
def test_exported_variant_answers_alike_and_in_8_bits_nearly_so(
    name: str, options: Options
) -> None:
    deviation = exported(FAMILIES[name](**options), "torchscript")
    assert deviation["fp32"] <= PARITY_TOLERANCE
    assert 0 < deviation["int8"] <= 0.1


@every_family
def test_file_of_the_shipping_exporter_answers_alike_too(name: str) -> None:
    assert exported(FAMILIES[name](), "dynamo")["fp32"] <= PARITY_TOLERANCE


def exported(family: Family, exporter: Exporter) -> dict[str, float]:
    """Precision -> largest deviation of the deployed file as a share of the largest output."""
    network, inputs, deviation = built(family), example_of(DIGITS, 3), {}
    expected = answer(network, inputs)
    for precision in ("fp32", "int8") if exporter == "torchscript" else ("fp32",):
        deployed = OnnxRuntime(exporter=exporter).deploy(
            network,
            calibration=example_of(DIGITS, 16, seed=2),
            precision=precision,
            device="cpu",
            threads=1,
        )
        difference = (deployed.run(inputs) - expected).abs().max()
        deviation[precision] = float(difference / expected.abs().max())
    return deviation


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
@every_variant
def test_every_layer_of_a_variant_is_pruned_to_the_width_asked_for_whatever_its_weights(
    name: str, options: Options, ratio: float
) -> None:
    step, kept = Prune(ratio=ratio), []
    for seed in (0, 1):
        network = built(FAMILIES[name](**options), COLOURED, seed=seed)
        layers = {
            layer: module.weight.shape[0]
            for layer, module in network.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear))
        }
        if name in UNPRUNABLE:
            with pytest.raises(StepError, match=r"prune: .*; leave prune out for this network"):
                step.apply(network, example_of(COLOURED))
            return
        *_, last = layers
        kept.append(step.apply(network, example_of(COLOURED)).record["kept"])
        assert kept[-1] == {**{n: step.kept(w) for n, w in layers.items()}, last: 10}
        network.train()(example_of(COLOURED)).sum().backward()
    assert kept[0] == kept[1]
