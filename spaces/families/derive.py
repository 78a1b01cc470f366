"""What can be changed in a network that somebody else wrote, found by looking at it run.

Nothing is declared: the layers are watched once, each block's graph is traced by `torch.fx`, and
channels that must go together are found by torch-pruning's dependency graph.
"""

import fnmatch
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from spaces.compression.channels import ChannelGroup, channel_groups
from spaces.compression.step import StepError
from spaces.families.pretrained import NetworkError

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
SUMS = {"add", "iadd", "add_"}
"""Names by which fx knows a sum: `torch.add`, `+`, `+=`, `Tensor.add_`."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run of a network."""

    layers: tuple[str, ...]
    """Convolutions and linear layers in the order in which they ran."""
    same: Mapping[str, tuple[int, ...]]
    """Modules that ran once, on one tensor, and returned one of the same shape -> that shape."""
    shape: tuple[int, ...]
    """Of the output, batch first."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What can be changed; names as in `named_modules`."""

    head: str
    """The layer that runs last."""
    blocks: tuple[str, ...]
    """Residual blocks that can be left out, in the order in which they are."""
    kernels: Mapping[str, int]
    """Convolutions whose kernel can be cropped -> its side."""
    groups: tuple[ChannelGroup, ...]
    """Layers that keep or lose channels together; those of the head and of `keep` left out."""
    obstacle: str = ""
    """Why there are no groups, where torch-pruning cannot follow the network."""

    def listing(self) -> list[str]:
        """Lines for a reader.

        >>> Derived(head="fc", blocks=("b.1",), kernels={"stem": 7}, groups=()).listing()
        ['head      fc', 'drop      1: b.1', 'kernel    7: stem', 'width     nothing']
        """
        sides = {side: [n for n, s in self.kernels.items() if s == side] for side in KERNELS}
        groups = [f"{group.width}: {', '.join(group.layers)}" for group in self.groups]
        return [
            f"head      {self.head}",
            *_lines("drop", [f"{i}: {name}" for i, name in enumerate(self.blocks, 1)]),
            *_lines("kernel", [f"{k}: {', '.join(names)}" for k, names in sides.items() if names]),
            *_lines("width", groups or ([self.obstacle] if self.obstacle else [])),
        ]


KERNELS = (3, 5, 7, 9, 11, 13, 15)
"""Sides of square kernels that can be cropped: odd, so that the centre stays the centre."""


def _lines(what: str, items: list[str]) -> list[str]:
    return [f"{what:9} {item}" for item in items or ["nothing"]]


def derive(
    network: nn.Module, example: Tensor, keep: tuple[str, ...] = (), *, channels: bool = True
) -> Derived:
    """What can be changed in `network`; layers whose name matches a pattern of `keep` cannot.

    `example`: inputs (N, ...), N >= 2; their values do not matter. `channels`: look for groups,
    which takes seconds in a network of hundreds of layers.

    Raises:
        NetworkError: the network does not run on `example`, or a pattern matches no module.
    """
    names = [name for name, _ in network.named_modules() if name]
    _check_patterns(keep, names)
    kept = frozenset(n for n in names if any(fnmatch.fnmatchcase(n, each) for each in keep))
    seen = watch(network, example)
    head = head_of(seen)
    groups, obstacle = _groups(network, example, kept | {head}) if channels else ((), "")
    return Derived(
        head=head,
        blocks=_in_order(
            {
                name: (name.rpartition(".")[0], seen.same[name])
                for name in _blocks(network, seen)
                if not _touches(name, kept)
            }
        ),
        kernels={
            name: module.kernel_size[0]
            for name, module in network.named_modules()
            if name in seen.layers and name not in kept and _shrinkable(module)
        },
        groups=groups,
        obstacle=obstacle,
    )


def watch(network: nn.Module, example: Tensor) -> Seen:
    """Run `network` once in eval mode and see what its modules do.

    Raises:
        NetworkError: it does not run, or returns something else than one tensor.
    """
    order: list[str] = []
    runs: Counter[str] = Counter()
    same: dict[str, tuple[int, ...]] = {}

    def see(name: str, inputs: object, output: object) -> None:
        runs[name] += 1
        first = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else None
        shapes = {tuple(t.shape) if isinstance(t, Tensor) else None for t in (first, output)}
        if len(shapes) == 1 and (shape := shapes.pop()) is not None:
            same[name] = shape

    hooks = []
    for name, module in network.named_modules():
        hooks.append(module.register_forward_hook(lambda _, i, o, n=name: see(n, i, o)))
        if isinstance(module, LAYERS):
            hooks.append(module.register_forward_hook(lambda *_, n=name: order.append(n)))
    was_training = network.training
    try:
        with torch.no_grad():
            output = network.eval()(example)
    except Exception as error:
        raise NetworkError(
            "factory",
            f"the network does not take inputs of {tuple(example.shape[1:])}: "
            f"{type(error).__name__}: {error}; give the task another size, or mend the network",
        ) from error
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor):
        raise NetworkError(
            "factory",
            f"the network returns {type(output).__name__}, not one tensor (inputs, outputs); "
            "write a factory that returns a network which does",
        )
    once = {name: shape for name, shape in same.items() if runs[name] == 1}
    return Seen(layers=tuple(order), same=once, shape=tuple(output.shape))


def head_of(seen: Seen) -> str:
    """The layer that runs last.

    Raises:
        NetworkError: there is none.
    """
    if not seen.layers:
        raise NetworkError(
            "factory",
            "the network has no head: no convolution or linear layer that ran; end it with one",
        )
    return seen.layers[-1]


def _check_patterns(keep: tuple[str, ...], names: list[str]) -> None:
    for pattern in keep:
        if not fnmatch.filter(names, pattern):
            raise NetworkError(
                "keep",
                f"{pattern!r} matches no module; they are {', '.join(names[:12])}, ...: "
                "see python -m search.analyze FACTORY --input SHAPE --changeable",
            )


def _touches(block: str, kept: frozenset[str]) -> bool:
    return any(name == block or name.startswith(f"{block}.") for name in kept)


def _blocks(network: nn.Module, seen: Seen) -> list[str]:
    """Residual blocks in order of definition; of nested ones the inner.

    A block that `torch.fx` cannot trace counts if it stands in a container beside one of its own
    class that keeps the shape too.
    """
    modules = dict(network.named_modules())
    found = [
        name
        for name, module in modules.items()
        if name in seen.same and any(module.children()) and _droppable(name, modules, seen.same)
    ]
    return [n for n in found if not any(other.startswith(f"{n}.") for other in found)]


def _droppable(name: str, modules: Mapping[str, nn.Module], same: Collection[str]) -> bool:
    try:
        graph = fx.symbolic_trace(modules[name]).graph
    except Exception:  # control flow that depends on data: anything can be raised
        return _repeated(name, modules, same)
    return is_residual(graph)


def is_residual(graph: fx.Graph) -> bool:
    """Whether the graph adds its own input to something that it computes from it."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    return any(
        _is_sum(node)
        and inputs[0] in node.args
        and any(
            isinstance(arg, fx.Node) and arg is not inputs[0] and _depends(arg, inputs[0])
            for arg in node.args
        )
        for node in graph.nodes
    )


def _is_sum(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in SUMS
    return node.op == "call_function" and callable(node.target) and node.target.__name__ in SUMS


def _depends(node: fx.Node, source: fx.Node) -> bool:
    waiting, seen = [node], set()
    while waiting:
        current = waiting.pop()
        if current is source:
            return True
        waiting += [other for other in current.all_input_nodes if other not in seen]
        seen.update(current.all_input_nodes)
    return False


def _repeated(name: str, modules: Mapping[str, nn.Module], same: Collection[str]) -> bool:
    parent = name.rpartition(".")[0]
    if not isinstance(modules[parent], nn.Sequential | nn.ModuleList):
        return False
    names = [f"{parent}.{child}".strip(".") for child, _ in modules[parent].named_children()]
    twins = [n for n in names if n in same and type(modules[n]) is type(modules[name])]
    return len(twins) > 1


def _in_order(stages: Mapping[str, Hashable]) -> tuple[str, ...]:
    """Blocks by turn: the last of the stage that has most left, the later stage on a tie.

    `stages`: block -> its stage, which is where it stands and the shape that it keeps.

    >>> _in_order({"layer1.0": 1, "layer1.1": 1, "layer2.1": 2, "layer3.1": 3})
    ('layer1.1', 'layer3.1', 'layer2.1', 'layer1.0')
    """
    left: dict[Hashable, list[str]] = {}
    for block, stage in stages.items():
        left.setdefault(stage, []).append(block)
    order = []
    for _ in stages:
        fullest = max(reversed(left.values()), key=len)
        order.append(fullest.pop())
    return tuple(order)


def _shrinkable(module: nn.Module) -> bool:
    """A square odd kernel whose padding reaches as far as it does."""
    if type(module) is not nn.Conv2d:
        return False
    sides, reach = set(module.kernel_size), _reach(module)
    return sides <= set(KERNELS) and len(sides) == 1 and module.padding in ("same", reach)


def _reach(module: nn.Conv2d) -> tuple[int, ...]:
    """Pixels from the centre of the kernel to its edge, by side."""
    return tuple(
        d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size, strict=True)
    )


def _groups(
    network: nn.Module, example: Tensor, kept: frozenset[str]
) -> tuple[tuple[ChannelGroup, ...], str]:
    try:
        found = channel_groups(network, example)
    except StepError as error:
        return (), str(error).removeprefix("prune: ").partition("; ")[0]
    return tuple(group for group in found if not kept & set(group.layers)), ""
