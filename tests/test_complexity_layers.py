"""The analysis by layer: against the counter, against hand arithmetic, and its edges."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from objectives.complexity import Complexity, LayerCost, analyze_complexity, count_flops


class Attends(nn.Module):
    """Attention by hand, and a product with a weight of its own."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.mix = nn.Linear(8, 24)
        self.out = nn.Parameter(torch.randn(4, 8))
        self.scale = torch.full((8,), 0.5)  # neither parameter nor buffer
        self.causal = causal

    def forward(self, x_BTF: Tensor) -> Tensor:
        q, k, v = (self.mix(x_BTF).unflatten(-1, (3, 2, 4)).movedim(-2, 1)).unbind(-2)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return functional.linear(mixed.transpose(1, 2).flatten(2) * self.scale, self.out)


class Text(nn.Module):
    """Token ids in, positions made in `forward`, the embedding tied to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 8)
        self.positions = nn.Embedding(16, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids_BT: Tensor) -> Tensor:
        x_BTF = self.tokens(ids_BT) + self.positions(torch.arange(ids_BT.shape[1]))
        output: Tensor = self.head(self.block(x_BTF))
        return output


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.RNNBase], **options: int) -> None:
        super().__init__()
        self.inner = kind(6, 10, batch_first=True, **options)
        self.head = nn.Linear(10, 3)

    def forward(self, x_BTF: Tensor) -> Tensor:
        states, _ = self.inner(x_BTF)
        output: Tensor = self.head(states[:, -1, :10])
        return output


class Recomputes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, x_BF: Tensor) -> Tensor:
        output: Tensor = self.head(checkpoint(self.inner, x_BF, use_reentrant=False))
        return output


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Conv1d(2, 6, 3)
        self.unused = nn.Linear(100, 100)

    def forward(self, x_BF: Tensor, y_BCT: Tensor) -> dict[str, Tensor]:
        return {"sum": self.left(x_BF) + self.right(y_BCT).mean(-1)}


def pyramid() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(8, 4, 3, stride=2, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4, 3),
    )


def twice() -> nn.Module:
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer)


def frozen() -> nn.Module:
    network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    return network


FLOAT_NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "pyramid": (pyramid(), (2, 12, 12)),
    "one_layer": (nn.Conv2d(2, 4, 3), (2, 8, 8)),
    "conv1d": (nn.Sequential(nn.Conv1d(2, 3, 5, dilation=2), nn.AvgPool1d(2)), (2, 20)),
    "conv3d": (nn.Sequential(nn.Conv3d(1, 2, 3), nn.ConvTranspose3d(2, 1, 2)), (1, 5, 6, 7)),
    "own_attention": (Attends(), (5, 8)),
    "causal_attention": (Attends(causal=True), (5, 8)),
    "encoder_layer": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (5, 8)),
    "rnn": (Recurrent(nn.RNN), (5, 6)),
    "gru": (Recurrent(nn.GRU, num_layers=2), (5, 6)),
    "lstm": (Recurrent(nn.LSTM, num_layers=2, bidirectional=True), (5, 6)),
    "twice": (twice(), (8,)),
    "frozen": (frozen(), (8,)),
    "no_parameters": (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (3, 8, 8)),
    "recomputes": (Recomputes(), (8,)),
    "double": (nn.Linear(8, 4).double(), (8,)),
}


@dataclass(frozen=True)
class Counted:
    forward: int
    backward: int


def count_both(network: nn.Module, inputs: tuple[Tensor, ...]) -> Counted:
    """Totals of the counter itself, forward and backward."""
    ghost = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter:
        with torch.device("meta"):
            output = ghost(*(x.to("meta") for x in inputs))
        forward = counter.get_total_flops()
        output = output["sum"] if isinstance(output, dict) else output
        if output.requires_grad:
            output.sum().backward()
        return Counted(int(forward), int(counter.get_total_flops() - forward))


def by_name(found: Complexity) -> dict[str, LayerCost]:
    return {layer.name: layer for layer in found.layers}


def example(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize("name", FLOAT_NETWORKS)
def test_layers_sum_to_what_the_counter_counts_both_ways(name: str) -> None:
    network, shape = FLOAT_NETWORKS[name]
    dtype = torch.float64 if name == "double" else torch.float32
    inputs = example(3, *shape, dtype=dtype)
    tensors_attached = copy.deepcopy(network)
    if isinstance(tensors_attached, Attends):
        tensors_attached.scale = tensors_attached.scale.to("meta")
    found = analyze_complexity(network, inputs)
    expected = count_both(tensors_attached, (inputs,))
    assert (found.forward_flops, found.backward_flops) == (expected.forward, expected.backward)
    assert found.batch == 3
    if dtype == torch.float32:
        assert found.forward_flops == count_flops(tensors_attached, shape, batch=3).total


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_torchvision_networks_sum_to_what_the_counter_counts(name: str) -> None:
    import torchvision

    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    inputs = torch.empty((2, 3, 224, 224), device="meta")
    found, expected = analyze_complexity(network, inputs), count_both(network, (inputs,))
    assert (found.forward_flops, found.backward_flops) == (expected.forward, expected.backward)
    assert found.forward_flops == count_flops(network, (3, 224, 224), batch=2).total
    assert found.parameters == sum(layer.parameters for layer in found.layers)


def test_token_ids_positions_and_tied_weights() -> None:
    network, ids = Text(), torch.zeros((2, 7), dtype=torch.long)
    found, expected = analyze_complexity(network, ids), count_both(network, (ids,))
    assert (found.forward_flops, found.backward_flops) == (expected.forward, expected.backward)
    layers = by_name(found)
    assert layers["tokens"].forward_flops == 0
    assert layers["tokens"].note == "a table look-up"
    assert layers["tokens"].input_bytes == 2 * 7 * 8
    assert layers["tokens"].weight_bytes == 14 * 8 * 4  # of 50 rows
    assert layers["tokens"].parameters == layers["head"].parameters == 400
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.uncounted["tokens"] == "a table look-up"


def test_several_inputs_mappings_as_output_and_a_module_that_is_never_called() -> None:
    inputs = (example(2, 4), example(2, 2, 9))
    found, expected = analyze_complexity(Pair(), inputs), count_both(Pair(), inputs)
    assert (found.forward_flops, found.backward_flops) == (expected.forward, expected.backward)
    assert [layer.name for layer in found.layers] == ["left", "right"]
    assert found.uncounted["unused"] == "never called"
    assert found.parameters == 30 + 42 + 10_100


def test_backward_lacks_the_inputs_of_the_first_layer_only() -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    layers = by_name(analyze_complexity(network, example(3, 8)))
    assert (layers["0"].forward_flops, layers["0"].backward_flops) == (192, 192)
    assert (layers["2"].forward_flops, layers["2"].backward_flops) == (48, 96)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_excess_is_what_groups_are_counted_too_often(kind: type[nn.Module], groups: int) -> None:
    network = nn.Sequential(kind(8, 8, 3, groups=groups), kind(8, 16, 3, groups=groups))
    first, second = analyze_complexity(network, example(2, 8, 9, 9)).layers
    # the gradient of the weights costs what the forward pass does, that of the inputs too
    assert first.backward_flops - first.backward_excess_flops == first.forward_flops
    assert second.backward_flops - second.backward_excess_flops == 2 * second.forward_flops
    assert first.backward_excess_flops == (groups - 1) * first.forward_flops


def test_backward_work_of_a_mobile_network_is_about_twice_the_forward_one() -> None:
    import torchvision

    with torch.device("meta"):
        network = torchvision.models.mobilenet_v2()
    found = analyze_complexity(network, torch.empty((1, 3, 64, 64), device="meta"))
    work = found.backward_flops - found.backward_excess_flops
    first = by_name(found)["features.0.0"].forward_flops
    assert work == 2 * found.forward_flops - first
    assert found.backward_flops > 10 * found.forward_flops


def test_frozen_layers_have_no_backward_pass() -> None:
    layers = by_name(analyze_complexity(frozen(), example(3, 8)))
    assert layers["0"].backward_flops == 0
    assert layers["2"].backward_flops == layers["2"].forward_flops


def test_functional_work_belongs_to_the_module_whose_forward_does_it() -> None:
    layers = by_name(analyze_complexity(Attends(), example(2, 5, 8)))
    assert layers["mix"].forward_flops == 2 * 2 * 5 * 8 * 24
    # scores and their sum over the values, two heads of 4; then the product with `out`
    own = 2 * 2 * 2 * 2 * 5 * 5 * 4 + 2 * 2 * 5 * 8 * 4
    assert layers[""].forward_flops == own
    assert layers[""].kind == "Attends"
    assert layers[""].parameters == 32
    assert layers[""].weight_bytes == 32 * 4
    assert layers[""].backward_flops == 2 * own


def test_attention_is_one_row_and_recomputation_counts_in_the_backward_pass() -> None:
    names = by_name(analyze_complexity(FLOAT_NETWORKS["encoder_layer"][0], example(2, 5, 8)))
    assert "self_attn" in names
    assert not any(name.startswith("self_attn.") for name in names)
    once = analyze_complexity(Recomputes(), example(4, 8))
    plain = analyze_complexity(
        nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8), nn.Linear(8, 2)),
        example(4, 8),
    )
    inner = 2 * 4 * 8 * 16
    assert once.forward_flops == plain.forward_flops
    assert once.backward_flops - plain.backward_flops in (inner, 2 * inner)  # torch stops early


def test_module_that_is_called_twice_is_one_row_that_costs_twice() -> None:
    found = analyze_complexity(twice(), example(1, 8))
    layers = by_name(found)
    assert list(layers) == ["0", "1"]
    assert layers["0"].forward_flops == 2 * 128
    assert layers["0"].backward_flops == 128 + 256
    assert layers["0"].parameters == found.parameters == 72
    assert layers["0"].weight_bytes == 2 * 72 * 4
    assert layers["0"].output_elements == 16


def test_rows_say_sizes_traffic_and_why_nothing_was_counted() -> None:
    found = analyze_complexity(pyramid(), example(1, 2, 12, 12))
    layers = by_name(found)
    assert layers["0"].details == {
        "batch": 1,
        "in_channels": 2,
        "out_channels": 8,
        "kernel": (3, 3),
        "stride": (2, 2),
        "dilation": (1, 1),
        "groups": 1,
        "transposed": 0,
        "input": (12, 12),
        "output": (6, 6),
    }
    assert (layers["0"].input_bytes, layers["0"].output_bytes) == (2 * 144 * 4, 8 * 36 * 4)
    assert layers["0"].weight_bytes == (8 * 2 * 9 + 8) * 4
    assert layers["0"].macs == 36 * 9 * 2 * 8
    assert layers["0"].note == ""
    assert "batch" not in layers["1"].details
    assert layers["1"].weight_bytes == 4 * 8 * 4  # weight, bias and two running statistics
    assert "aten.relu" in layers["2"].note
    assert "pooling_operations" in layers["5"].note
    assert layers["5"].details["kernel"] == (2, 2)
    assert layers["8"].output_bytes == layers["9"].output_bytes == 0  # views move nothing
    assert found.activations == 8 * 36 + 8 * 36 + 4 * 49 + 3
    assert found.traffic_bytes == sum(
        layer.input_bytes + layer.output_bytes + layer.weight_bytes for layer in found.layers
    )
    assert found.uncounted["aten.relu"] == "1 call"
    assert found.uncounted["1"].startswith("element-wise")


def test_module_with_parameters_but_no_flops_is_listed_not_refused() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Bilinear(4, 4, 2)

        def forward(self, x_BF: Tensor) -> Tensor:
            output: Tensor = self.inner(x_BF, x_BF)
            return output

    found = analyze_complexity(Product(), example(2, 4))
    assert found.forward_flops == 0
    assert found.uncounted["inner"].startswith("has parameters but no counted FLOPs; it ran aten.")
    assert by_name(found)["inner"].input_bytes == 2 * 4 * 4  # the same tensor twice


def test_network_without_parameters_costs_traffic_only() -> None:
    found = analyze_complexity(nn.ReLU(), example(2, 5))
    assert (found.forward_flops, found.backward_flops, found.parameters) == (0, 0, 0)
    assert found.traffic_bytes == 80
    assert found.peak_bytes == 80


@pytest.mark.parametrize(
    ("inplace", "peak"),
    [
        # inputs 2 x 8, then the hidden layer before and after the activation: 2 x 16 each
        (False, 4 * (16 + 32 + 32)),
        # inputs, hidden layer, outputs 2 x 4
        (True, 4 * (16 + 32 + 8)),
    ],
)
def test_peak_is_what_lives_at_once(inplace: bool, peak: int) -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(inplace=inplace), nn.Linear(16, 4))
    found = analyze_complexity(network, example(2, 8))
    assert found.peak_activation_bytes == peak
    assert found.peak_bytes == peak + 4 * (9 * 16 + 17 * 4)


def test_widths_scale_bytes_and_bit_operations_not_flops() -> None:
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    full = analyze_complexity(network, example(2, 8))
    small = analyze_complexity(network, example(2, 8), weight_bits=4, activation_bits=8)
    assert small.forward_flops == full.forward_flops
    assert full.bit_operations == full.macs * 32 * 32
    assert small.bit_operations == full.macs * 4 * 8
    assert small.peak_activation_bytes * 4 == full.peak_activation_bytes
    assert small.state_bytes * 8 <= full.state_bytes + 32  # each tensor rounded up
    first = by_name(small)["0"]
    assert (first.weight_bits, first.activation_bits) == (4, 8)
    assert (first.input_bytes, first.output_bytes, first.weight_bytes) == (16, 32, 64 + 8)


def test_widths_default_to_those_of_the_network() -> None:
    found = analyze_complexity(nn.Linear(8, 4).half(), example(1, 8, dtype=torch.float16))
    (layer,) = found.layers
    assert (layer.weight_bits, layer.activation_bits) == (16, 16)
    assert (layer.input_bytes, layer.output_bytes, layer.weight_bytes) == (16, 8, 72)
    assert layer.bit_operations == 32 * 256


@pytest.mark.parametrize(
    "inputs", [example(0, 8), (), torch.tensor(1.0), (example(2, 8), example(0))]
)
def test_empty_batch_is_an_error_of_one_line(inputs: Tensor | tuple[Tensor, ...]) -> None:
    with pytest.raises(ValueError, match=r"^the example is empty: .*; give at least one input"):
        analyze_complexity(nn.Linear(8, 4), inputs)


def test_width_of_no_bits_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"weight_bits is 0; a number has at least 1 bit"):
        analyze_complexity(nn.Linear(8, 4), example(1, 8), weight_bits=0)


def test_analysis_leaves_the_network_as_it_was_and_says_the_same_again() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    inputs = torch.randn(3, 8)
    assert analyze_complexity(network, inputs) == analyze_complexity(network, inputs)
    assert network.training
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())
    assert all(torch.equal(network.state_dict()[key], before[key]) for key in before)
    assert not network[0]._forward_hooks
