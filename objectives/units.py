"""Quantities as people write them: `0.05 ms`, `2MB`, `10 MFLOPs`, `95%`."""

import re

UNITS: dict[str, dict[str, float]] = {
    "ms": {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6},
    "bytes": {
        "b": 1.0,
        "bytes": 1.0,
        "kb": 1e3,
        "mb": 1e6,
        "gb": 1e9,
        "kib": 2.0**10,
        "mib": 2.0**20,
        "gib": 2.0**30,
    },
    "flops": {"": 1.0, "flops": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
    | {"kflops": 1e3, "mflops": 1e6, "gflops": 1e9, "tflops": 1e12},
    "parameters": {"": 1.0, "parameters": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12},
    "mJ": {"nj": 1e-6, "uj": 1e-3, "µj": 1e-3, "mj": 1.0, "j": 1e3},
    "ratio": {"": 1.0, "%": 0.01},
}
"""base unit -> spelling in lower case -> factor; an empty spelling means that none is needed."""

_QUANTITY = re.compile(r"\s*([-+]?[0-9_.]+(?:[eE][-+]?[0-9]+)?)\s*([^\s0-9.]*)\s*")


def parse_quantity(text: str | int | float, unit: str) -> float:
    """The value of `text` in the base unit `unit`; a unit unknown here must be written as it is.

    >>> parse_quantity("50 us", "ms")
    0.05
    >>> parse_quantity("95%", "ratio")
    0.95
    >>> parse_quantity(0.9, "stars")
    0.9

    Raises:
        ValueError: not a number, no unit where one is needed, or a unit of something else.
    """
    spellings = UNITS.get(unit, {"": 1.0, unit.lower(): 1.0})
    known = ", ".join(name for name in spellings if name) or "nothing, it has no unit"
    match = _QUANTITY.fullmatch(str(text))
    if match is None or isinstance(text, bool):
        raise ValueError(f"{text!r} is not a quantity; write a number with a unit of: {known}")
    number, spelling = match.groups()
    if spelling.lower() not in spellings:
        problem = f"has the unit {spelling!r}" if spelling else "has no unit"
        raise ValueError(f"{str(text)!r} {problem}; write one of: {known}")
    try:
        value = float(number) * spellings[spelling.lower()]
    except ValueError:
        raise ValueError(f"{number!r} is not a number") from None
    # 15 digits take away what 50 * 1e-3 adds; a value in base units stays as it was printed
    return value if spellings[spelling.lower()] == 1 else float(f"{value:.15g}")


def with_unit(name: str, unit: str) -> str:
    """What an axis or a column of bare numbers is called.

    >>> with_unit("latency", "ms"), with_unit("flops", "flops"), with_unit("accuracy", "ratio")
    ('latency (ms)', 'flops', 'accuracy')
    """
    return name if unit in ("", "ratio", name) else f"{name} ({unit})"


def format_quantity(value: float, unit: str) -> str:
    """`value` with three significant digits, in the spelling people use for `unit`.

    >>> format_quantity(166528, "flops")
    '167 kFLOPs'
    >>> format_quantity(0.0123, "ms")
    '12.3 us'
    """
    if unit == "ratio":
        return f"{100 * value:.2f}%"
    if unit == "ms":
        return _scaled(value * 1e-3, (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)))
    if unit == "mJ":
        return _scaled(value * 1e-3, (("nJ", 1e-9), ("uJ", 1e-6), ("mJ", 1e-3), ("J", 1.0)))
    if unit == "bytes":
        return _scaled(value, (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)))
    if unit in ("flops", "parameters"):
        suffix = "FLOPs" if unit == "flops" else ""
        steps = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12))
        return _scaled(value, tuple((prefix + suffix, factor) for prefix, factor in steps)).strip()
    return f"{value:.4g} {unit}".rstrip()


def _scaled(value: float, steps: tuple[tuple[str, float], ...]) -> str:
    """`value` in the largest step that leaves a number of at least 1."""
    fitting = [step for step in steps if abs(value) >= step[1] * 0.9995] or [steps[0]]
    name, factor = fitting[-1]
    number = float(f"{value / factor:.3g}")  # 9.996 has two digits before the point
    digits = max(0, 2 - len(str(int(abs(number)))) + 1)
    return f"{number:.{digits}f} {name}"
