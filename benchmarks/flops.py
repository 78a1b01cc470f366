"""Our multiply-adds beside those of four others: python -m benchmarks.flops [--to FILE].

For one input each, by torchvision (published with its weights), fvcore, ptflops and torchinfo, as
they come. A difference is taken apart by module: every line says what the other counts, misses or
counts differently, summed over the modules of one kind; what the lines leave is the remainder.
Needs the packages of the `bench` extra.
"""

import argparse
import io
import logging
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.conditions import keep
from objectives.complexity import Complexity, LayerCost, analyze_complexity
from objectives.layers import Details, closed_form
from spaces.compression.prune import Prune

PICTURES = ("resnet18", "mobilenet_v3_small", "squeezenet1_1", "vit_b_16", "shufflenet_v2_x1_0")
PEERS = ("torchvision", "fvcore", "ptflops", "torchinfo")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, one input, and what its authors publish."""

    network: nn.Module
    example: Tensor
    published_gmacs: float | None = None


@dataclass(frozen=True, kw_only=True)
class PeerCount:
    """Multiply-adds as another tool counts them."""

    total: int
    own: Mapping[str, int]
    """Dotted module name -> counted in it, not below it."""
    elsewhere: int = 0
    """Counted outside of any module."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One part of a difference."""

    what: str
    macs: int
    modules: int


class LastState(nn.Module):
    """An LSTM 40 -> 128 and ten classes of its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 128, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, 40) -> (B, 10)."""
        states_BTH, _ = self.lstm(x_BTF)
        classes: Tensor = self.head(states_BTH[:, -1])
        return classes


def pruned() -> nn.Module:
    """Three convolutions, half of the channels gone."""
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    Prune(ratio=0.5).apply(network, torch.zeros(2, 1, 28, 28))
    return network.eval()


def cases() -> dict[str, Case]:
    """All networks, untrained."""
    import torchvision

    found = {}
    for name in PICTURES:
        weights = torchvision.models.get_model_weights(name).DEFAULT
        found[name] = Case(
            network=torchvision.models.get_model(name, weights=None).eval(),
            example=torch.zeros(1, 3, 224, 224),
            published_gmacs=weights.meta["_ops"],
        )
    found["lstm"] = Case(network=LastState().eval(), example=torch.zeros(1, 50, 40))
    found["pruned"] = Case(network=pruned(), example=torch.zeros(1, 1, 28, 28))
    return found


def by_fvcore(case: Case) -> PeerCount:
    """FlopCountAnalysis: traced on CPU tensors; its flops are multiply-adds."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(case.network, case.example)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    below = analysis.by_module()
    own = {
        name: int(
            below[name]
            - sum(below[f"{name}.{child}".strip(".")] for child, _ in module.named_children())
        )
        for name, module in case.network.named_modules()
    }
    return PeerCount(total=int(analysis.total()), own=own)


def by_ptflops(case: Case) -> PeerCount:
    """get_model_complexity_info with the default backend: hooks, and patched functions besides."""
    own: dict[str, int] = {}

    def read(network: nn.Module, *_: object) -> None:
        own.update(_ptflops_modules(network))

    handle = case.network.register_forward_hook(read)
    total = _ptflops_total(case, count_functional=True)
    handle.remove()
    return PeerCount(
        total=total, own=own, elsewhere=total - _ptflops_total(case, count_functional=False)
    )


def _ptflops_total(case: Case, *, count_functional: bool) -> int:
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        case.network,
        tuple(case.example.shape[1:]),
        as_strings=False,
        print_per_layer_stat=False,
        ost=io.StringIO(),
        backend_specific_config={"count_functional": count_functional},
    )
    return int(macs)


def _ptflops_modules(module: nn.Module, name: str = "") -> dict[str, int]:
    """What its hooks left in the modules it knows; it does not look below those."""
    if "__flops__" in vars(module):
        return {name: int(vars(module)["__flops__"])}
    found = {}
    for child, below in module.named_children():
        found.update(_ptflops_modules(below, f"{name}.{child}".strip(".")))
    return found


def by_torchinfo(case: Case) -> PeerCount:
    """`summary`: parameters times positions, of modules without modules below them."""
    from torchinfo import summary

    statistics = summary(case.network, input_data=case.example, verbose=0)
    names = {id(module): name for name, module in case.network.named_modules()}
    own: dict[str, int] = defaultdict(int)
    for info in statistics.summary_list:
        if info.is_leaf_layer:
            own[names[info.layer_id]] += info.macs
    return PeerCount(total=int(statistics.total_mult_adds), own=own)


COUNTERS: dict[str, Callable[[Case], PeerCount]] = {
    "fvcore": by_fvcore,
    "ptflops": by_ptflops,
    "torchinfo": by_torchinfo,
}


def explain(case: Case, ours: Complexity, theirs: PeerCount) -> list[Line]:
    """The parts of `theirs - ours`, largest first."""
    layers = {layer.name: layer for layer in ours.layers}
    modules = dict(case.network.named_modules())
    parts: dict[str, list[int]] = defaultdict(list)
    for name in sorted({*layers, *theirs.own}):
        our = layers[name].macs if name in layers else 0
        difference = theirs.own.get(name, 0) - our
        if difference:
            verb = _verb(layers[name], difference) if name in layers else "counts"
            parts[f"{verb} {type(modules[name]).__name__}"].append(difference)
    lines = [Line(what=what, macs=sum(d), modules=len(d)) for what, d in parts.items()]
    if theirs.elsewhere:
        repeated = sum(
            macs
            for name, macs in theirs.own.items()
            if name in layers and layers[name].macs == 0 and not layers[name].parameters
        )
        again = "activations and pooling again, as functions"
        what = f"counts {again}" if theirs.elsewhere == repeated else "counts functions"
        lines.append(Line(what=what, macs=theirs.elsewhere, modules=0))
    return sorted(lines, key=lambda line: -abs(line.macs))


def _verb(layer: LayerCost, difference: int) -> str:
    """What the other tool does to this layer; said only where the arithmetic agrees."""
    if layer.macs == 0:
        return "counts"
    if difference == -layer.macs:
        return "misses"
    if difference == layer.output_elements:
        return "adds the biases of"
    if difference == layer.parameters - layer.macs:
        return "counts one position of"
    causes = {}
    if layer.kind == "MultiheadAttention":
        causes = _attention_causes(layer.details)
    if layer.kind == "LSTM":
        causes = _lstm_causes(layer.details)
    return next((verb for verb, macs in causes.items() if macs == difference), "differs on")


def _attention_causes(details: Details) -> dict[str, int]:
    """Ways to count self-attention with biases differently -> multiply-adds."""
    sizes = ("queries", "attended", "embed_dim", "heads")
    queries, keys, width, heads = (_int(details, name) for name in sizes)
    return {
        "misses scores and weighted sums of": -2 * queries * keys * width,
        # scaling of the queries, four biases, softmax
        "adds scaling, biases and softmax of": 5 * queries * width + heads * queries * keys,
    }


def _lstm_causes(details: Details) -> dict[str, int]:
    """Ways to count an LSTM of one layer with biases differently -> multiply-adds."""
    steps, hidden = _int(details, "steps"), _int(details, "hidden_size")
    return {
        "adds the biases of": steps * 8 * hidden,
        # two biases of four gates; four sums and six products and sums of states
        "adds biases and element-wise work of": steps * (8 + 10) * hidden,
    }


def _int(details: Details, name: str) -> int:
    value = details[name]
    assert isinstance(value, int), name
    return value


def compare(case: Case) -> dict[str, Any]:
    """One network: ours, everybody else's, and each difference taken apart."""
    ours = analyze_complexity(case.network, case.example)
    known = [layer for layer in ours.layers if layer.details and layer.forward_flops]
    result: dict[str, Any] = {
        "ours": ours.macs,
        "closed_forms": sum(closed_form(layer.kind, layer.details) for layer in known) // 2,
        "parameters": ours.parameters,
        "backward_flops": ours.backward_flops,
        "backward_excess_flops": ours.backward_excess_flops,
        "peers": {},
    }
    if case.published_gmacs is not None:
        result["published"] = case.published_gmacs
        result["published_equals_ours"] = round(ours.macs / 1e9, 3) == case.published_gmacs
    for name, count in COUNTERS.items():
        theirs = count(case)
        lines = explain(case, ours, theirs)
        difference = theirs.total - ours.macs
        result["peers"][name] = {
            "macs": theirs.total,
            "difference": difference,
            "lines": [vars(line) for line in lines],
            "remainder": difference - sum(line.macs for line in lines),
        }
    return result


def show(name: str, result: Mapping[str, Any]) -> None:
    """Print one comparison."""
    print(f"\n{name}: {result['ours']:,} multiply-adds; closed forms {result['closed_forms']:,}")
    if "published" in result:
        verdict = "the same" if result["published_equals_ours"] else "DIFFERENT"
        print(f"  torchvision  {result['published']} 10^9, {verdict}")
    for peer, found in result["peers"].items():
        print(f"  {peer:12} {found['macs']:,} ({found['difference']:+,})")
        for line in found["lines"]:
            where = f" ({line['modules']} modules)" if line["modules"] else ""
            print(f"    {line['macs']:+14,}  {line['what']}{where}")
        if found["remainder"]:
            print(f"    {found['remainder']:+14,}  remainder, not explained")


def main() -> None:
    """Count, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # fvcore
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    results = {}
    for name, case in cases().items():
        results[name] = compare(case)
        show(name, results[name])
    versions = {name: version(name) for name in PEERS}
    keep(options.to, "flops", {"unit": "multiply-adds", "peers": versions, "networks": results})


if __name__ == "__main__":
    main()
