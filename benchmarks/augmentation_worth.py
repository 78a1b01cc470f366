"""What augmentation is worth on a small task: python -m benchmarks.augmentation_worth [--to FILE].

One convnet is trained on `digits` (1,077 pictures of 8 x 8) with each augmentation alone, several
seeds each, and judged on the test split. Reported: the accuracy's difference to none with the same
seeds (same first weights), its mean and standard error over seeds. Nothing is chosen by the test
split; the strengths are common values, not tuned ones. A larger task may answer otherwise: this is
why augmentation is part of the search.
"""

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.conditions import keep
from objectives.device import MACHINE, Turnstile
from objectives.tasks import load
from objectives.tasks.digits import Digits
from objectives.training import Training, answers, begin, train
from spaces.augmentation import Augmentation
from spaces.families.convnet import ConvNet

TASK, SETTINGS = Digits(), Training()
FIELDS: dict[str, dict[str, Any]] = {
    "none": {},
    "noise 0.1": {"noise": 0.1},
    "mixup 0.2": {"mixup": 0.2},
    "rotate_deg 10": {"rotate_deg": 10},
    "shift 0.1": {"shift": 0.1},
    "flip": {"flip": True},
    "scale 0.15": {"scale": 0.15},
    "crop 0.125": {"crop": 0.125},
    "light 0.3": {"light": 0.3},
    "erase 0.2": {"erase": 0.2},
    "cutmix 1.0": {"cutmix": 1.0},
    "mixup 0.2 + cutmix 1.0": {"mixup": 0.2, "cutmix": 1.0},
    "policy rand 0.3": {"policy": "rand"},
    "policy trivial 0.3": {"policy": "trivial"},
    "policy trivial 1.0": {"policy": "trivial", "policy_strength": 1.0},
    "rotate_deg 10 + shift 0.1": {"rotate_deg": 10, "shift": 0.1},
}


def main() -> None:
    """Train, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    scores: dict[str, list[float]] = {}
    for name, fields in FIELDS.items():
        augmentation = Augmentation(**fields)
        scores[name] = [test_score(augmentation, s, options.epochs) for s in range(options.seeds)]
        gains = [a - b for a, b in zip(scores[name], scores["none"], strict=True)]
        found[name] = {
            "accuracy": statistics.mean(scores[name]),
            "gain": statistics.mean(gains),
            "standard_error": statistics.stdev(gains) / math.sqrt(options.seeds),
        }
        gain, error = (100 * found[name][key] for key in ("gain", "standard_error"))
        print(
            f"{name:27} {100 * found[name]['accuracy']:.2f}%  {gain:+.2f} ± {error:.2f}",
            flush=True,
        )
    rest = {"seeds": options.seeds, "epochs": options.epochs}
    keep(options.to, "augmentation_worth", {**rest, "found": found})


def test_score(augmentation: Augmentation, seed: int, epochs: int) -> float:
    """Accuracy on the test split of one training."""
    splits = load(TASK)
    torch.manual_seed(seed)
    network = ConvNet(depth=2, width=24).build(splits.input_shape, splits.outputs)
    progress = begin(network, SETTINGS, examples=len(splits.train), epochs=epochs, seed=seed)
    train(
        progress,
        TASK,
        SETTINGS,
        augmentation,
        until_epoch=epochs,
        device="cpu",
        turnstile=Turnstile(MACHINE),
    )
    with torch.no_grad():
        outputs = answers(progress.network, splits.test.inputs, splits)
    return TASK.metric.score(outputs, splits.test.targets).value


if __name__ == "__main__":
    main()
