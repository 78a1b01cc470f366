"""Layers against the roofline: the model by hand, what is recorded, names of deployed nodes."""

import math

import pytest
import torch
from torch import Tensor, nn

from objectives.complexity import analyze_complexity
from objectives.layer_timing import analyze_layers
from objectives.measurement import exact
from objectives.node_profile import profile_nodes, scope_paths
from objectives.recording import record_calls
from objectives.roofline import Level, Roofline, cache_sizes, measure_roofline
from objectives.runtimes.onnx_export import Exporter, export_onnx

BY_HAND = Roofline(
    peak=exact(1e9, "flops/s"),
    levels=(
        Level(name="L2", capacity_bytes=1000, bandwidth=exact(1e8, "bytes/s")),
        Level(name="memory", capacity_bytes=math.inf, bandwidth=exact(1e7, "bytes/s")),
    ),
    call=exact(0.001, "ms"),
)
"""1 GFLOP/s; 100 MB/s while 1000 bytes are enough, else 10 MB/s."""


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)) + x)
        return y


class Listed(nn.Module):
    """Names of every sort: a number alone, numbers in a row, a list that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList([nn.Sequential(Residual(), nn.Sequential(Residual()))])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x.mean((2, 3)))
        return y


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused, self.wide = nn.Linear(8, 8), nn.Linear(8, 64)
        self.narrow = nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.unused(x) if x.sum() > 1e6 else self.narrow(self.wide(x))
        return y


@pytest.mark.parametrize(
    ("flops", "moved", "attainable", "time_ms"),
    [
        (50_000, 100, 1e9, 0.05),  # 500 FLOPs a byte: the peak decides
        (100, 100, 1e8, 0.001),  # 1 a byte, in the cache
        (2_000, 2_000, 1e7, 0.2),  # 1 a byte, from the memory
        (1_000, 100, 1e9, 0.001),  # on the ridge both take as long
        (0, 100, 0.0, 0.001),  # only moves
        (0, 0, 0.0, 0.0),
    ],
)
def test_the_roof_is_peak_or_bandwidth_whichever_is_less(
    flops: int, moved: int, attainable: float, time_ms: float
) -> None:
    assert BY_HAND.attainable(flops, moved) == pytest.approx(attainable)
    assert BY_HAND.time_ms(flops, moved) == pytest.approx(time_ms)


def test_a_layer_belongs_to_the_smallest_level_that_holds_it() -> None:
    assert [BY_HAND.level(n).name for n in (0, 1000, 1001, 10**12)] == ["L2", "L2"] + [
        "memory"
    ] * 2
    assert BY_HAND.ridge(1000) == 10
    assert BY_HAND.ridge(1001) == 100


def test_every_level_of_this_machine_is_measured_once() -> None:
    roofline = measure_roofline("cpu", 1)
    assert roofline is measure_roofline("cpu", 1)
    assert [level.name for level in roofline.levels[:-1]] == [n for n, _ in cache_sizes("cpu")]
    capacities = [level.capacity_bytes for level in roofline.levels]
    assert capacities == sorted(capacities)
    assert math.isinf(capacities[-1])
    for rate in (roofline.peak, roofline.call, *(level.bandwidth for level in roofline.levels)):
        assert 0 < rate.low <= rate.value <= rate.high
        assert rate.conditions["threads"] == 1
    # any processor of this century, with PyTorch: more than 0.1 GFLOP/s and 0.1 GB/s
    assert roofline.peak.value > 1e8
    assert min(level.bandwidth.value for level in roofline.levels) > 1e8


def test_threads_are_as_before_when_all_is_measured() -> None:
    torch.set_num_threads(2)
    network = nn.Linear(4, 2)
    analyze_layers(network, torch.randn(1, 4), device="cpu", threads=1)
    assert torch.get_num_threads() == 2


def test_layers_are_those_of_the_count_and_each_is_timed() -> None:
    network, inputs = Listed().eval(), torch.randn(2, 1, 10, 10)
    analysis = analyze_layers(network, inputs, device="cpu", threads=1)
    counted = analyze_complexity(network, inputs, weight_bits=32, activation_bits=32)
    alone = [use for use in analysis.layers if use.measured is not None]
    assert [use.cost for use in analysis.layers] == list(counted.layers)
    assert (analysis.flops, analysis.moved_bytes) == (
        counted.forward_flops,
        counted.traffic_bytes,
    )
    assert analysis.parameters == sum(p.numel() for p in network.parameters())
    assert {"stem.0", "blocks.0.1.0.conv", "head"} <= {use.cost.name for use in alone}
    assert analysis.layers_ms == pytest.approx(sum(u.measured.value for u in alone if u.measured))
    for use in alone:
        assert use.measured is not None
        assert use.share_of_roof == pytest.approx(use.roof_ms / use.measured.value)
    # a convolution of 8 channels by hand: 2 x 2 x 8 x 8 maps x 9 x 8 x 8
    [conv] = [use for use in analysis.layers if use.cost.name == "blocks.0.0.conv"]
    assert conv.cost.forward_flops == 2 * 2 * 64 * 9 * 64
    assert conv.moved_bytes == 4 * (2 * 2 * 8 * 64 + 9 * 64 + 8)
    assert conv.intensity == pytest.approx(conv.cost.forward_flops / conv.moved_bytes)


def test_network_is_left_as_it_was() -> None:
    network = Residual().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    analyze_layers(network, torch.randn(1, 8, 4, 4), device="cpu", threads=1)
    assert network.training
    assert network.act.inplace
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_each_call_is_kept_with_the_input_that_it_had() -> None:
    shared = nn.ReLU(inplace=True)
    network = nn.Sequential(nn.Identity(), shared, nn.Linear(2, 3), shared)
    recorded = record_calls(network, torch.tensor([[-1.0, 1.0]]))
    assert list(recorded) == ["0", "1", "2"]
    first, second = (arguments[0] for arguments, _ in recorded["1"].calls)
    assert first.tolist() == [[-1.0, 1.0]]
    assert second.shape == (1, 3)


def test_attention_is_one_layer() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.attention(x, x, value=x)[0]
            return y

    network, inputs = Attending().eval(), torch.randn(1, 5, 8)
    assert list(record_calls(network, inputs)) == ["attention"]
    [use] = analyze_layers(network, inputs, device="cpu", threads=1).layers
    assert use.measured is not None
    assert use.cost.forward_flops > 0


def test_a_way_that_depends_on_values_is_counted_as_it_was_taken() -> None:
    analysis = analyze_layers(Branching(), torch.zeros(3, 8), device="cpu", threads=1)
    costs = {use.cost.name: use.cost.forward_flops for use in analysis.layers}
    assert costs == {"wide": 2 * 3 * 8 * 64, "narrow": 2 * 3 * 8 * 64}
    assert "the way that these inputs took" in analysis.notes[0]


def test_a_module_that_is_never_called_is_named() -> None:
    network = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = network

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.parts["used"](x)
            return y

    notes = analyze_layers(Half(), torch.randn(1, 2), device="cpu", threads=1).notes
    assert notes == ("parts.idle: never called",)


def test_a_network_without_parameters_has_a_row_and_no_flops() -> None:
    analysis = analyze_layers(nn.Flatten(), torch.randn(2, 3, 4), device="cpu", threads=1)
    assert (analysis.parameters, analysis.flops, len(analysis.layers)) == (0, 0, 1)
    assert analysis.layers[0].share_of_roof is not None


def test_paths_are_those_of_the_exported_file() -> None:
    import onnx

    network = Listed().eval()
    file = onnx.load_from_string(export_onnx(network, torch.randn(2, 1, 10, 10), "torchscript"))
    paths = {node.name.rpartition("/")[0] for node in file.graph.node}
    assert paths <= set(scope_paths(network).values())
    assert scope_paths(network)["blocks.0.1.0.conv"] in paths


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_deployed_nodes_are_found_in_the_network(exporter: Exporter) -> None:
    torch.manual_seed(0)
    network = Listed().eval()
    inputs = torch.randn(2, 1, 10, 10)
    nodes = profile_nodes(export_onnx(network, inputs, exporter), inputs, 1, network)
    convolutions = [node.layer for node in nodes if node.operation == "Conv"]
    # fused with what follows them, and still called by their own names
    assert convolutions == ["stem.0", "blocks.0.0.conv", "blocks.0.1.0.conv"]
    assert [node.layer for node in nodes if node.operation == "Gemm"] == ["head"]
    assert all(node.mean_ms >= 0 for node in nodes)
    assert sum(node.mean_ms for node in nodes) > 0
