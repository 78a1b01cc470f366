"""Times and checks an exported model where it will run: needs Python 3.9, numpy and ONNX Runtime.

    python verify.py [FOLDER] [--json]     what holds here of the certificate in FOLDER
    python verify.py FOLDER --time         time model.onnx as request.json says; JSON on stdout

`search.export` puts a copy of this file beside the model; an `ssh://` target runs it on the board;
and Paretune itself times every call with it, so that all three mean the same by a latency.
Exit codes: 0 the file is unchanged and answers alike, 1 it does not, 2 the folder cannot be read.
Latency is told and compared, but decides nothing: another machine has another one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

BLOCK_S = 0.005
"""Length of one block: long enough for a median of tiny calls, short for waiting trainers."""
MIN_BLOCKS, MAX_BLOCKS = 8, 60
MIN_CALLS = 3
"""Samples a block at least, unless that many of every block would take longer than there is."""
SAMPLE_S = 100e-6
"""Calls shorter than this are timed several at once: reading both clocks costs about 2 us."""
WARM_UP_S = 0.5
"""Warming up ends after this long, for networks of which one call takes a good part of it."""
UNDISTURBED = 1.02
"""Wall over CPU time up to which a call counts as undisturbed (plus 1 us)."""
VISIT_SPREAD = 0.03
"""Relative standard deviation between two visits of a quiet machine, beyond that of the blocks.

Minutes apart it was 0.012; 71 minutes apart a virtual machine ran all of 30 networks 4.6 to 6.0%
slower than before, in the same order (`benchmarks.repeatability`)."""
LOW_PERCENT = 5
"""Percentile of the samples that stands for an undisturbed call on the CPU clock. Neighbours on
the same core come and go in seconds: over 8 visits of 30 networks the medians of 30 blocks
differed by 3.6% (one in ten by 27%), this percentile by 1.2% (4.5%); it was 2.3% below the median
of the quietest visit."""
CLEARLY = 1.3
"""A limit counts as broken beyond doubt when two blocks lie above it by this factor."""
PARITY_TOLERANCE = 1e-3
"""Largest difference of an answer over the largest output, at fp32: 3e-6 was seen, and three
orders of magnitude above that is another network."""
TOLERANCES = {
    "fp32": PARITY_TOLERANCE,
    "bf16": 0.02,
    "fp16": 0.005,
    "int8": 0.02,
    "int8_dynamic": 0.02,
    "int4": 0.02,
}
"""The same by precision, for one file on two machines: a rounding step of int8 is 1/255, of fp16
1/2048; with int4 activations are rounded to int8."""
INPUT = "input"

thread_time_ns = getattr(time, "thread_time_ns", time.perf_counter_ns)
"""The thread's CPU time; wall time where the system does not count it (`Target.clock` knows)."""

Call = Callable[[], object]
Quiet = Callable[[], "contextlib.AbstractContextManager[None]"]


# --- statistics ---


def block_interval(
    blocks: Sequence[float], visit_spread: float = 0.0, value: float | None = None
) -> tuple[float, float, float]:
    """(value, low, high) of a quantity sampled in blocks, from one figure of each block.

    Single samples come in regimes, so an interval from pooled samples covers a second measurement
    in 21 to 53% of cases; blocks are nearly independent. The interval is Student's t with the
    standard error of a median, 1.2533 sd / sqrt(n) (Kenney and Keeping 1962, section 8.4), and
    sd = IQR / 1.349: a rare slow block moves neither the median nor its interval.

    `value`: the centre; default the median of the blocks. With `visit_spread` (relative standard
    deviation between visits) it is the interval for the *next* measurement: the variances of both
    visits and of both measurements are added.
    """
    centre = statistics.median(blocks) if value is None else value
    if len(blocks) < 4:
        return centre, min(centre, *blocks), max(centre, *blocks)
    first, _, third = statistics.quantiles(blocks, n=4, method="inclusive")
    error = 1.2533 * (third - first) / 1.349 / math.sqrt(len(blocks))
    if visit_spread:
        error = math.sqrt(2) * math.hypot(error, visit_spread * centre)
    half = student_t(len(blocks) - 1) * error
    return centre, max(0.0, centre - half), centre + half


def student_t(freedom: int) -> float:
    """The 97.5% quantile of Student's t, within 1% from 3 degrees of freedom on.

    Source: Abramowitz and Stegun 1964, 26.7.5 (expansion about the normal quantile).
    """
    z = 1.959963984540054
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, 1))


def half_width(blocks: Sequence[float]) -> float:
    """Half width of the interval of the blocks over their median."""
    value, low, high = block_interval(blocks)
    return (high - low) / 2 / max(value, 1e-12)


def level(samples: Sequence[float], clock: str) -> float:
    """What stands for the samples: an undisturbed one by CPU time, the median by wall time."""
    return percentile(sorted(samples), LOW_PERCENT if clock == "cpu" else 50)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of samples in rising order, by linear interpolation."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


# --- timing ---


@contextlib.contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """This thread, and threads that it starts, run on `cores` alone; on all as before if empty."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def time_blocks(
    calls: Sequence[Call],
    *,
    clock: str,
    precision: float = 0.02,
    max_s: float = 0.5,
    warmup: int = 10,
    limit_ms: float = math.inf,
    quiet: Quiet = contextlib.nullcontext,
    reference: Call | None = None,
) -> dict[str, Any]:
    """Time `calls` in turn, block by block, until the interval is narrow or time is up.

    `clock`: `cpu` (the thread's CPU time: right for one thread, beside any load) or `wall`.
    `limit_ms`: timing ends early, after two blocks, where this is clearly broken. `quiet` is held
    around every block. `reference` is timed before and after: a machine that changes its speed
    changes it too.

    Returns `value` (ms), `blocks` (the same of every block alone), `undisturbed` (share of the
    samples whose wall time is within 2% of CPU time), `first_ms` (the very first call), `p50`,
    `p90`, `p99` of the samples in ms, `calls_a_sample`, `stopped` (whether a limit ended it), and,
    if there is a reference, `reference_ms` and `reference_moved` (relative).
    """
    with quiet():
        first_ms, repeat, call_s = warm_up(calls, warmup)
        before = read_reference(reference)
    least = MIN_CALLS if call_s * MIN_CALLS * MIN_BLOCKS <= max_s else 1
    blocks: list[float] = []
    samples: list[float] = []
    calm: list[bool] = []
    spent_s = 0.0
    while not settled(blocks, precision, spent_s, max_s) and not broken(blocks, limit_ms):
        with quiet():
            start = time.perf_counter()
            walls, cpus = time_block(calls, repeat, least)
            spent_s += time.perf_counter() - start
        taken = cpus if clock == "cpu" else walls
        samples += taken
        blocks.append(level(taken, clock))
        calm += [wall <= cpu * UNDISTURBED + 1e-3 for wall, cpu in zip(walls, cpus)]  # noqa: B905
    result = {
        "value": level(samples, clock) if clock == "cpu" else statistics.median(blocks),
        "blocks": blocks,
        "undisturbed": sum(calm) / len(calm),
        "first_ms": first_ms,
        "calls_a_sample": repeat,
        "stopped": broken(blocks, limit_ms),
        **percentiles(samples),
    }
    if reference is not None:
        with quiet():
            after = read_reference(reference)
        result["reference_ms"] = (before + after) / 2
        result["reference_moved"] = after / before - 1
    return result


def warm_up(calls: Sequence[Call], count: int) -> tuple[float, int, float]:
    """(milliseconds of the very first call, calls that make up one sample, seconds of a call).

    By the shortest call: one that was interrupted would hide that the clocks cost as much.
    """
    spent_s: list[float] = []
    while len(spent_s) < max(2, count) and (sum(spent_s) < WARM_UP_S or len(spent_s) < 2):
        start = time.perf_counter()
        calls[len(spent_s) % len(calls)]()
        spent_s.append(time.perf_counter() - start)
    shortest_s = max(min(spent_s), 1e-7)
    return spent_s[0] * 1e3, max(1, math.ceil(SAMPLE_S / shortest_s)), shortest_s


def time_block(
    calls: Sequence[Call], repeat: int, least: int = MIN_CALLS
) -> tuple[list[float], list[float]]:
    """(wall, CPU) milliseconds a call of every sample of one block, `least` samples or more."""
    walls: list[float] = []
    cpus: list[float] = []
    end = time.perf_counter() + BLOCK_S
    while time.perf_counter() < end or len(walls) < least:
        call = calls[len(walls) % len(calls)]
        wall, cpu = time.perf_counter_ns(), thread_time_ns()
        for _ in range(repeat):
            call()
        cpu, wall = thread_time_ns() - cpu, time.perf_counter_ns() - wall
        walls.append(wall / repeat * 1e-6)
        cpus.append(cpu / repeat * 1e-6)
    return walls, cpus


def settled(blocks: Sequence[float], precision: float, spent_s: float, max_s: float) -> bool:
    """Whether timing may stop: enough blocks, and a narrow interval or no time left."""
    if len(blocks) < MIN_BLOCKS:
        return False
    return half_width(blocks) <= precision or len(blocks) >= MAX_BLOCKS or spent_s > max_s


def broken(blocks: Sequence[float], limit_ms: float) -> bool:
    """Whether a limit is broken beyond doubt: nothing more precise is needed to say so."""
    return len(blocks) >= 2 and min(blocks) > CLEARLY * limit_ms


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p90 and p99."""
    ordered = sorted(samples)
    return {f"p{percent}": percentile(ordered, percent) for percent in (50, 90, 99)}


def reference_call() -> Call:
    """A fixed piece of work, about 0.1 ms: products of small matrices that stay in the cache."""
    import numpy as np

    matrix = np.linspace(-1, 1, 48 * 48, dtype=np.float32).reshape(48, 48) / 48

    def call() -> object:
        product = matrix
        for _ in range(8):
            product = matrix @ product
        return product

    return call


def read_reference(call: Call | None) -> float:
    """Milliseconds of an undisturbed reference in one block now, CPU time; 0 for none."""
    if call is None:
        return 0.0
    _, cpus = time_block([call], 1)
    return level(cpus, "cpu")


# --- the model file ---


def open_session(
    model: bytes | str, threads: int, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> Any:
    """An ONNX Runtime session, as it is timed, scored and verified."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # idle threads must not spin: with 2 threads that burns 0.9 CPU seconds a second between calls
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=list(providers))


def rotating(session: Any, inputs: Any, batch: int) -> list[Call]:
    """One call for each of up to 8 different batches of `inputs` (N, ...)."""
    import numpy as np

    repeated = np.concatenate([inputs] * -(-batch // len(inputs)))
    name = session.get_inputs()[0].name
    feeds = [
        {name: np.ascontiguousarray(np.roll(repeated, -shift, axis=0)[:batch])}
        for shift in range(min(8, len(inputs)))
    ]
    return [functools.partial(session.run, None, feed) for feed in feeds]


def conditions(threads: int) -> dict[str, str | int]:
    """What a latency depends on besides the file: processor, versions, threads."""
    import onnxruntime

    return {
        "device": cpu_model(),
        "cores": os.cpu_count() or 1,
        "system": platform.system(),
        "onnxruntime": onnxruntime.__version__,
        "threads": threads,
    }


def cpu_model() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def time_model(folder: Path) -> dict[str, Any]:
    """Time `model.onnx` in `folder` as its `request.json` says, on its `inputs.npz`.

    The answers to the inputs go back as well: they show that the file computes the same here.
    """
    import numpy as np

    request = json.loads((folder / "request.json").read_text())
    inputs = np.load(folder / "inputs.npz")["inputs"]
    with pinned(request["cores"]):
        session = open_session(str(folder / "model.onnx"), request["threads"])
        timed = time_blocks(
            rotating(session, inputs, request["batch"]),
            clock=request["clock"],
            precision=request["precision"],
            max_s=request["max_s"],
            limit_ms=request["limit_ms"] or math.inf,
            reference=reference_call(),
        )
    answers = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    return {
        "timed": timed,
        "answers": answers.tolist(),
        "conditions": conditions(request["threads"]),
    }


# --- the certificate ---


def check(folder: Path, load: Callable[[str, int], Any] = open_session) -> dict[str, Any]:
    """What holds here of the certificate in `folder`: hashes, answers, latency.

    `load`: (file, threads) -> what runs it, with the two methods of an ONNX Runtime session.
    """
    certificate = json.loads((folder / "certificate.json").read_text())
    report: dict[str, Any] = {"hashes": check_hashes(folder, certificate["sha256"])}
    if not report["hashes"]["holds"]:
        return report
    file, threads = str(folder / certificate["file"]), certificate["target"]["threads"]
    if load is open_session and not file.endswith(".onnx"):
        raise ValueError(f"{certificate['file']} needs torch: python -m search.verify {folder}")
    with pinned(certificate["target"].get("cores", ())):
        session = load(file, threads)
    report["parity"] = check_parity(session, folder, certificate["precision"])
    if certificate.get("output", {}).get("kind") == "values":
        del report["parity"]["same_answer"]
    report["latency"] = check_latency(session, folder, certificate)
    return report


def check_hashes(folder: Path, expected: dict[str, str]) -> dict[str, Any]:
    """Whether every file is the one that the certificate was written for."""
    changed = [name for name, digest in expected.items() if sha256(folder / name) != digest]
    return {"holds": not changed, "files": len(expected), "changed": changed}


def sha256(file: Path) -> str:
    """Of a file's bytes; empty if it is not there."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def check_parity(session: Any, folder: Path, precision: str) -> dict[str, Any]:
    """The file's answers here against those that it gave when it was exported."""
    import numpy as np

    stored = np.load(folder / "parity.npz")
    answers = session.run(None, {session.get_inputs()[0].name: stored["inputs"]})[0]
    return compare(answers, stored["outputs"], TOLERANCES[precision])


def compare(answers: Any, expected: Any, tolerance: float) -> dict[str, Any]:
    """Largest difference over the largest output, share of equal answers (largest of each row)."""
    import numpy as np

    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(answers - expected).max()) / scale
    return {
        "holds": bool(difference <= tolerance),
        "inputs": len(expected),
        "largest_difference": difference,
        "same_answer": float((answers.argmax(-1) == expected.argmax(-1)).mean()),
    }


def check_latency(session: Any, folder: Path, certificate: dict[str, Any]) -> dict[str, Any]:
    """The latency here beside the claimed one, in milliseconds."""
    import numpy as np

    claimed, target = certificate["latency"], certificate["target"]
    if claimed is None:
        return {"holds": None, "reason": "the certificate claims none"}
    inputs = np.load(folder / "parity.npz")["inputs"]
    with pinned(target.get("cores", ())):
        timed = time_blocks(
            rotating(session, inputs[:8], target["batch"]),
            clock=claimed["conditions"]["clock"],
            max_s=2.0,
            reference=reference_call(),
        )
    value, low, high = block_interval(timed["blocks"], VISIT_SPREAD, timed["value"])
    reference_ms = claimed["details"].get("reference_ms", timed["reference_ms"])
    here, there = conditions(target["threads"]), claimed["conditions"]
    differing = sorted(key for key in here if here[key] != there.get(key))
    return {
        "holds": None if differing else claimed["low"] <= value <= claimed["high"],
        "value": value,
        "low": low,
        "high": high,
        "claimed": claimed["value"],
        "claimed_low": claimed["low"],
        "claimed_high": claimed["high"],
        "reference_change": timed["reference_ms"] / reference_ms - 1,
        "undisturbed": timed["undisturbed"],
        "differing": {key: [there.get(key), here[key]] for key in differing},
    }


def lines(report: dict[str, Any]) -> list[str]:
    """The report for a terminal."""
    hashes = report["hashes"]
    if not hashes["holds"]:
        changed = ", ".join(hashes["changed"])
        return [f"hashes   CHANGED: {changed}; this is not what was certified, export it again"]
    told = [f"hashes   hold: {hashes['files']} files are as certified"]
    parity, latency = report["parity"], report["latency"]
    verdict = "holds" if parity["holds"] else "DOES NOT HOLD"
    same = f"same answer {100 * parity['same_answer']:.1f}% of " if "same_answer" in parity else ""
    told.append(
        f"parity   {verdict}: largest difference {parity['largest_difference']:.1e} of the "
        f"largest output, {same}{parity['inputs']} inputs"
    )
    return [*told, *latency_lines(latency)]


def latency_lines(latency: dict[str, Any]) -> list[str]:
    """Two lines at most: the figures, and why they may differ."""
    if "value" not in latency:
        return [f"latency  not repeated: {latency['reason']}"]
    half = (latency["high"] - latency["low"]) / 2 / latency["value"]
    verdicts = {True: "holds", False: "differs", None: "other conditions"}
    told = [
        f"latency  {verdicts[latency['holds']]}: {latency['value'] * 1e3:.1f} us "
        f"+-{100 * half:.0f}% here, {latency['claimed'] * 1e3:.1f} us certified "
        f"({latency['claimed_low'] * 1e3:.1f} to {latency['claimed_high'] * 1e3:.1f})"
    ]
    if latency["differing"]:
        pairs = latency["differing"].items()
        told.append("         " + "; ".join(f"{k}: {a} there, {b} here" for k, (a, b) in pairs))
    elif not latency["holds"]:
        told.append(
            f"         the machine itself is now {100 * latency['reference_change']:+.0f}% slower "
            f"on the reference work; {100 * latency['undisturbed']:.0f}% of calls undisturbed"
        )
    return told


def main(arguments: list[str] | None = None) -> int:
    """Check or time; returns the exit code."""
    parser = argparse.ArgumentParser(prog="verify.py", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--time", action="store_true", help="time model.onnx by request.json")
    parser.add_argument("--conditions", type=int, metavar="THREADS", help="tell them and end")
    parser.add_argument("--give-up", type=int, metavar="SECONDS", help="end after so long")
    options = parser.parse_args(arguments)
    if options.give_up:
        signal.alarm(options.give_up)
    try:
        if options.conditions:
            print(json.dumps(conditions(options.conditions)))
            return 0
        if options.time:
            print(json.dumps(time_model(options.folder)))
            return 0
        report = check(options.folder)
    except Exception as error:
        kind = type(error).__name__
        print(f"verify: {options.folder}: {kind}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    return 0 if report["hashes"]["holds"] and report["parity"]["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
