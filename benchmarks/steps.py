"""Which compression step works on which family, and what it takes: python -m benchmarks.steps.

Every step of the table is applied to the default network of every family, untrained, with inputs
that the family takes; what works is deployed in the precision that the step asks for. A step that
cannot work says so before anything is trained. Told are the milliseconds of the step (median) and
of deploying what it leaves (once). [--to FILE] keeps the figures.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.conditions import keep
from objectives.runtimes import RUNTIMES, DeploymentError
from spaces.compression import STEPS, Step, StepError
from spaces.families import FAMILIES, Family

SIGNATURES: tuple[tuple[tuple[int, ...], int, tuple[int, ...]], ...] = (
    ((1, 8, 8), 10, ()),
    ((3, 32, 32), 10, ()),
    ((16,), 6, (50,)),
    ((2,), 1, (20, 30)),
    ((24,), 4, ()),
    ((16, 24), 4, ()),
    ((8000,), 10, ()),
)
"""(shape of one input, outputs, vocabulary): pictures, words, pairs of ids, columns, waves."""

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "prune": [{"ratio": 0.5, "importance": i} for i in ("l1", "l2", "bn_scale", "random")],
    "sparsify": [{"pattern": "unstructured", "share": 0.8}, {"pattern": "2:4"}],
    "factorise": [{"rank": 0.25}],
    "fuse": [{"batch_norm": True}],
    "finetune": [{"epochs": 1}],
    "distil": [{"epochs": 1}],
    "quantize": [
        {"scheme": scheme}
        for scheme in ("int8", "int8_aware", "int8_dynamic", "int4", "fp16", "bf16")
    ],
}
"""Step -> options that change a network. A new step needs an entry."""
ROUNDS = 5


def signature_of(family: Family) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """The first signature that a family takes."""
    return next(each for each in SIGNATURES if family.check(*each) is None)


def example_of(
    signature: tuple[tuple[int, ...], int, tuple[int, ...]], count: int = 8, seed: int = 1
) -> Tensor:
    """Random inputs (count, ...) of a signature."""
    shape, _, vocabulary = signature
    generator = torch.Generator().manual_seed(seed)
    if not vocabulary:
        return torch.randn(count, *shape, generator=generator)
    highest = torch.tensor(vocabulary).expand(shape)
    return (torch.rand(count, *shape, generator=generator) * highest).long()


def default_families() -> dict[str, Family]:
    """The families that need no options, with their defaults."""
    made = {}
    for name, family in FAMILIES.items():
        try:
            made[name] = family()
        except ValueError:  # a user's own network has no default
            continue
    return made


def built(family: Family, seed: int = 0) -> nn.Module:
    """The family's network for its signature, freshly initialised."""
    torch.manual_seed(seed)
    return family.build(*signature_of(family)).eval()


def attempt(step: Step, family: Family) -> dict[str, Any]:
    """What came of a step on a family: refused with a reason, or milliseconds and precision."""
    example = example_of(signature_of(family))
    took_ms = []
    for _ in range(ROUNDS):
        network = built(family)
        start = time.perf_counter()
        try:
            applied = step.apply(network, example)
        except StepError as error:
            return {"refused": str(error).splitlines()[0]}
        took_ms.append(1e3 * (time.perf_counter() - start))
    precision = applied.precision or "fp32"
    runtime = "eager" if precision == "bf16" else "onnxruntime"
    start = time.perf_counter()
    try:
        RUNTIMES[runtime]().deploy(
            network.eval(), calibration=example, precision=precision, device="cpu", threads=1
        )
    except DeploymentError as error:
        return {"refused": str(error).splitlines()[0]}
    return {
        "apply_ms": statistics.median(took_ms),
        "deploy_ms": 1e3 * (time.perf_counter() - start),
        "changed": bool(applied.record),
        "precision": precision,
    }


def main() -> None:
    """Walk the tables, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    families, rows = default_families(), []
    reasons: dict[str, int] = {}
    print(f"| step | {' | '.join(families)} |")
    print(f"|---|{'---|' * len(families)}")
    for name, choices in OPTIONS.items():
        for choice in choices:
            told = []
            for family_name, family in families.items():
                found = attempt(STEPS[name](**choice), family)
                rows.append({"step": name, "options": choice, "family": family_name, **found})
                told.append(_told(found, reasons))
            named = ", ".join(f"{key} {value}" for key, value in choice.items())
            print(f"| {name} {named} | {' | '.join(told)} |", flush=True)
    for reason, number in reasons.items():
        print(f"\n({number}) {reason}")
    keep(options.to, "steps", {"rows": rows})


def _told(found: dict[str, Any], reasons: dict[str, int]) -> str:
    if "refused" in found:
        return f"no ({reasons.setdefault(found['refused'], len(reasons) + 1)})"
    told = f"{found['apply_ms']:.1f} + {found['deploy_ms']:.0f}"
    return told if found["changed"] else f"nothing to do, {told}"


if __name__ == "__main__":
    main()
