"""Latency on a GPU, by runtime, precision and batch: python -m benchmarks.gpu [--to FILE].

Three networks with random weights (a small convnet on 3 x 32 x 32 pictures, torchvision's resnet18
and mobilenet_v3_small on 3 x 224 x 224) in every runtime that this machine can run. Reported: the
wall clock's value with its interval (what a caller waits), the kernels' time by CUDA events, and
the wall value of a second visit after all others. What a runtime refuses is listed with a reason.
"""

import argparse
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks.conditions import keep
from objectives.device import MACHINE, Turnstile, describe_device
from objectives.runtimes import RUNTIMES, DeploymentError
from objectives.runtimes.onnxruntime import OnnxRuntime
from objectives.target import Target
from spaces.families.convnet import ConvNet

NETWORKS = {
    "convnet": (lambda: ConvNet(depth=3, width=64).build((3, 32, 32), 10), (3, 32, 32)),
    "resnet18": (torchvision.models.resnet18, (3, 224, 224)),
    "mobilenet_v3_small": (torchvision.models.mobilenet_v3_small, (3, 224, 224)),
}
BATCHES = (1, 32)


def main() -> int:
    """Measure, print, keep; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu: this machine has no CUDA device that torch can use", file=sys.stderr)
        return 2
    rows = list(measured())
    for row in rows:
        print(told(row))
    gpu = {**describe_device("cuda"), "driver": driver()}
    keep(options.to, "gpu", {"gpu": gpu, "rows": rows})
    return 0


def measured() -> Iterator[dict[str, Any]]:
    """One row a network, runtime, precision and batch; visited twice."""
    timed = []
    for name, (factory, shape) in NETWORKS.items():
        torch.manual_seed(0)
        network, inputs = factory().eval(), torch.randn(max(BATCHES), *shape)
        for target in targets():
            for precision in sorted(target.runtime.precisions - {"int8"}):
                row = {
                    "network": name,
                    "runtime": runtime_name(target),
                    "precision": precision,
                    "batch": target.batch,
                }
                try:
                    deployment = target.deploy(network, inputs, precision)
                except DeploymentError as error:
                    yield {**row, "refused": str(error)}
                    continue
                timed.append((row, deployment, target, inputs))
    visits = [
        [
            deployment.time(inputs, target.batch, target.timing(), Turnstile(MACHINE))
            for _, deployment, target, inputs in timed
        ]
        for _ in range(2)
    ]
    for (row, *_), first, second in zip(timed, *visits, strict=True):
        yield {
            **row,
            "ms": first.value,
            "low": first.low,
            "high": first.high,
            "gpu_ms": first.details.get("gpu_ms"),
            "second_visit_ms": second.value,
            "per_second": first.details["per_second"],
            "flags": list(first.flags),
        }


def targets() -> Iterator[Target]:
    """Every runtime of the table at every batch, where this machine has it."""
    runtimes = [kind() for kind in RUNTIMES.values() if kind is not OnnxRuntime]
    runtimes += [OnnxRuntime(provider="cuda"), OnnxRuntime(provider="tensorrt")]
    for runtime in runtimes:
        target = Target(device="cuda", runtime=runtime)
        if (reason := target.check()) is not None:
            print(f"{runtime_name(target)}: left out: {reason}")
            continue
        for batch in BATCHES:
            yield dataclasses.replace(target, batch=batch)


def runtime_name(target: Target) -> str:
    """Name of the runtime, with its provider."""
    provider = getattr(target.runtime, "provider", "")
    return type(target.runtime).__name__ + (f" {provider}" if provider else "")


def told(row: dict[str, Any]) -> str:
    """One line of the table."""
    place = f"{row['network']:20}{row['runtime']:22}{row['precision']:5}{row['batch']:4}"
    if "refused" in row:
        return f"{place} refused: {row['refused']}"
    kernels = "-" if row["gpu_ms"] is None else f"{row['gpu_ms']:.3f}"
    return (
        f"{place} {row['ms']:9.3f} ms ({row['low']:.3f} - {row['high']:.3f})  kernels {kernels} ms"
        f"  again {row['second_visit_ms']:.3f} ms"
    )


def driver() -> str:
    """Version of the NVIDIA driver, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
