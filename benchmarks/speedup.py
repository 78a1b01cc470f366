"""Do FLOPs tell what compression gives? python -m benchmarks.speedup [--to FILE].

Ten networks of the digits study, each as it is, pruned to half, quantized to int8, and both, by
ONNX Runtime on one thread. Predicted is the speed-up by FLOPs (pruning) and by bit operations
(int8: a sixteenth of those of 32-bit numbers); measured is that of the latency.
"""

import argparse
import statistics
from pathlib import Path

import torch

from benchmarks.conditions import keep
from search.evaluate import evaluate
from search.evaluation import Price
from search.plan import draw_candidates
from search.spec import read_study

STUDY = Path(__file__).parent.parent / "studies" / "digits.yaml"
STEPS: dict[str, tuple[float, str]] = {
    "pruned to half": (0.5, "none"),
    "int8": (0.0, "int8"),
    "both": (0.5, "int8"),
}
NETWORKS = 10
OVERRIDES = (
    "space.compression=[{prune: {ratio: [0.0, 0.5]}}, {quantize: {scheme: [none, int8]}}]",
    "search.plan=400",
    "objectives=[accuracy, flops, {latency: {target: cpu, precision: 0.01}}]",
)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measured()
    print(f"{'':16}{'by FLOPs or bits':>18}{'measured':>10}   (medians of {NETWORKS})")
    for step in STEPS:
        predicted = [row["predicted"] for row in rows if row["step"] == step]
        found = [row["measured"] for row in rows if row["step"] == step]
        print(
            f"{step:16}{statistics.median(predicted):17.2f}x{statistics.median(found):9.2f}x"
            f"   {min(found):.2f} to {max(found):.2f}"
        )
    keep(options.to, "speedup", {"networks": rows})


def measured() -> list[dict[str, object]]:
    """One row a network and step."""
    study = read_study(str(STUDY), OVERRIDES)
    plain = [c for c in draw_candidates(study) if not c.compression][:NETWORKS]
    rows: list[dict[str, object]] = []
    for candidate in plain:
        base = costs(study, candidate)
        for step, (ratio, scheme) in STEPS.items():
            compression = [("prune", {"ratio": ratio})] if ratio else []
            compression += [("quantize", {"scheme": scheme})] if scheme != "none" else []
            kind = type(candidate)
            changed = kind.from_dict({**candidate.as_dict(), "compression": compression})
            found = costs(study, changed)
            predicted = base["flops"] / found["flops"] * (16 if scheme == "int8" else 1)
            rows.append(
                {
                    "network": candidate.as_dict()["architecture"],
                    "step": step,
                    "latency_us": 1e3 * base["latency"],
                    "predicted": predicted,
                    "measured": base["latency"] / found["latency"],
                }
            )
    return rows


def costs(study: object, candidate: object) -> dict[str, float]:
    """FLOPs and milliseconds."""
    job = Price(trial=None, candidate=candidate, again=True)  # type: ignore[arg-type]
    priced = evaluate(job, study, "cpu", 1)  # type: ignore[arg-type]
    assert priced.status == "priced", priced.reason
    return {name: m.value for name, m in priced.measurements.items()}


if __name__ == "__main__":
    main()
