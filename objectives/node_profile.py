"""The nodes that ONNX Runtime runs for a network: how long each takes, which layer it computes."""

import ast
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from objectives import agent
from objectives.device import MACHINE, Turnstile
from objectives.runtimes.onnx_export import SCOPES

PROFILE_S, PROFILE_RUNS = 0.3, (30, 1000)
"""Seconds of profiling, within these numbers of runs (the profile is kept in memory)."""
_WARM_UP = 5
"""Runs of a profile that are left out."""
_KERNEL = "_kernel_time"


@dataclass(frozen=True, kw_only=True)
class NodeTime:
    """One node of the graph that ONNX Runtime really runs, after it has fused and reordered."""

    name: str
    operation: str
    layer: str
    """The layer that it computes, by dotted name; "" where its name does not tell."""
    mean_ms: float
    """Mean over many runs. The profiler counts whole microseconds, rounded down."""


def profile_nodes(
    model: bytes, inputs: Tensor, threads: int, network: nn.Module
) -> tuple[NodeTime, ...]:
    """What ONNX Runtime's own profiler says of each node, in the order in which they run.

    Taking notes slows every node by about a microsecond: shares tell more than sums. `network`
    is what `model` was exported from; its names are found in those of the nodes. Source:
    SessionOptions.enable_profiling of ONNX Runtime.
    """
    times: dict[tuple[str, str], list[int]] = {}
    for event in _events(model, inputs, threads):
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            node = (event["name"].removesuffix(_KERNEL), event["args"]["op_name"])
            times.setdefault(node, []).append(event["dur"])
    layer_of = _layers_of_nodes(model, network)
    return tuple(
        NodeTime(
            name=name,
            operation=operation,
            layer=layer_of(name, operation),
            mean_ms=1e-3 * sum(taken[_WARM_UP:]) / len(taken[_WARM_UP:]),
        )
        for (name, operation), taken in times.items()
    )


def _events(model: bytes, inputs: Tensor, threads: int) -> list[dict[str, Any]]:
    """What the profiler noted of many runs, in a session like the one that is timed."""
    import onnxruntime

    options = agent.open_session(model, threads).get_session_options()
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: inputs.contiguous().numpy()}
        least, most = PROFILE_RUNS
        with Turnstile(MACHINE).quiet():
            end, runs = time.perf_counter() + PROFILE_S, 0
            while runs < least or (runs < most and time.perf_counter() < end):
                session.run(None, feed)
                runs += 1
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    return events


def _layers_of_nodes(model: bytes, network: nn.Module) -> Callable[[str, str], str]:
    """(name, operation) of a node that runs -> layer.

    ONNX Runtime names a fused node after the last output that it makes, so a convolution that
    swallowed its activation is looked up there and followed back to the convolution.
    """
    import onnx

    graph = onnx.load_from_string(model).graph
    maker = {output: node for node in graph.node for output in node.output}
    known = {**maker, **{node.name: node for node in graph.node if node.name}}
    layers = {path: name for name, path in scope_paths(network).items()}

    def layer_of(name: str, operation: str) -> str:
        fitting = [key for key in known if name.startswith(key)]
        if not fitting:
            return ""
        node = known[max(fitting, key=len)]
        back = node
        while "Conv" in operation and "Conv" not in back.op_type and back.input[0] in maker:
            back = maker[back.input[0]]
        node = back if "Conv" in back.op_type else node
        owners = [i.removesuffix(".weight") for i in node.input if i.endswith(".weight")]
        # a folded normalisation gives a node its scope, the weight keeps its own name
        scopes = [p.value for p in node.metadata_props if p.key.endswith(SCOPES)]
        told = [*(ast.literal_eval(scopes[0]) if scopes else ()), *owners]
        named = [name for name in told if name in layers.values()]
        return named[-1] if named else layers.get(node.name.rpartition("/")[0], "")

    return layer_of


def scope_paths(network: nn.Module) -> dict[str, str]:
    """Module name -> the path that torch's older ONNX exporter puts before its nodes' names.

    Each module adds its own name, with its parents' as far as its own is only a number; lists
    and dicts of modules are never called and add nothing. Source: torch.onnx's
    _unqualified_variable_name (`_internal/torchscript_exporter/utils.py`, torch 2.14).
    """
    paths = {"": ""}
    for name, module in network.named_modules():
        if name:
            atoms = name.split(".")
            words = [i for i, atom in enumerate(atoms) if not atom.isnumeric()]
            own = ".".join(atoms[words[-1] if words else 0 :])
            listed = isinstance(module, nn.ModuleList | nn.ModuleDict)
            above = paths[name.rpartition(".")[0]]
            paths[name] = above if listed else f"{above}/{own}"
    return paths
