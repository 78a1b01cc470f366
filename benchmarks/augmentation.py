"""What augmentation costs: python -m benchmarks.augmentation [--to FILE].

Each field alone on one batch of its kind of data, one thread: median CPU milliseconds a call, as
other processes cannot add to them. For comparison the training step of a small convnet on the same
pictures, which the augmentation precedes. Calls of all fields alternate, so a machine that changes
its speed changes all of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.conditions import keep, spread
from spaces.augmentation import Augmentation
from spaces.augmentation.fitting import NEEDS
from spaces.families.convnet import ConvNet

BATCH = 128
PICTURE, CLASSES = (3, 32, 32), 10
SHAPES: dict[str, tuple[int, ...]] = {
    "waveforms": (8000,),  # 1 s at 8 kHz, as in spoken_digits
    "rows of features": (21,),
    "texts": (40,),
}
STRENGTHS: dict[str, dict[str, Any]] = {
    "none": {},
    "noise": {"noise": 0.1},
    "mixup": {"mixup": 0.2},
    "rotate_deg": {"rotate_deg": 10},
    "shift": {"shift": 0.1},
    "flip": {"flip": True},
    "scale": {"scale": 0.2},
    "crop": {"crop": 0.125},
    "light": {"light": 0.3},
    "colour": {"colour": 0.3},
    "erase": {"erase": 0.3},
    "policy rand": {"policy": "rand"},
    "policy trivial": {"policy": "trivial", "policy_strength": 1.0},
    "cutmix": {"cutmix": 1.0},
    "flip + crop + erase + cutmix": {"flip": True, "crop": 0.125, "erase": 0.3, "cutmix": 1.0},
    "time_shift": {"time_shift": 0.1},
    "time_mask": {"time_mask": 0.1},
    "frequency_mask": {"frequency_mask": 0.1},
    "feature_dropout": {"feature_dropout": 0.1},
    "feature_swap": {"feature_swap": 0.1},
    "token_dropout": {"token_dropout": 0.1},
}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shapes = {name: shape_for(fields) for name, fields in STRENGTHS.items()}
    calls = {name: call(fields, shapes[name]) for name, fields in STRENGTHS.items()}
    calls["a training step"] = training_step()
    taken = measure(calls, options.calls)
    for name, values in taken.items():
        shape = shapes.get(name, PICTURE)
        print(f"{name:29} {BATCH} x {'x'.join(map(str, shape)):8} {spread(values)} ms")
    medians = {name: round(statistics.median(values), 4) for name, values in taken.items()}
    keep(options.to, "augmentation", {"batch": BATCH, "threads": 1, "cpu_ms": medians})


def shape_for(fields: dict[str, Any]) -> tuple[int, ...]:
    """The shape of an input that the fields are for."""
    kinds = [NEEDS[field] for field in fields]
    return next((SHAPES[kind] for kind in kinds if kind in SHAPES), PICTURE)


def call(fields: dict[str, Any], shape: tuple[int, ...]) -> Callable[[], object]:
    """One batch changed."""
    generator = torch.Generator().manual_seed(0)
    inputs: Tensor = torch.randn(BATCH, *shape, generator=generator)
    if shape == SHAPES["texts"]:
        inputs = torch.randint(5000, (BATCH, *shape), generator=generator)
    targets, augment = torch.arange(BATCH) % CLASSES, Augmentation(**fields)
    return lambda: augment(inputs, targets, generator)


def training_step() -> Callable[[], object]:
    """Forward, backward and update of the default convnet with three stages."""
    torch.manual_seed(0)
    network = ConvNet(depth=3).build(PICTURE, CLASSES).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    inputs = torch.randn(BATCH, *PICTURE).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(BATCH) % CLASSES

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()

    return step


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of each call, `rounds` times in turn after three to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 3):
        for name, work in calls.items():
            start_ns = time.thread_time_ns()
            work()
            if turn >= 3:
                taken[name].append((time.thread_time_ns() - start_ns) / 1e6)
    return taken


if __name__ == "__main__":
    main()
