"""A first study file for data of the user's own: what is found there decides what is asked."""

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.tasks.csv_file import Column, read_columns
from objectives.tasks.image_folder import PARTS, SUFFIXES
from objectives.tasks.table import Table
from objectives.tasks.task import TaskError
from search.errors import InputError

LOOKED_AT = 200
"""Pictures of which size and colour are read."""
SIZES = (16, 24, 32, 48, 64)
"""To which pictures are scaled: the largest that is no larger than half of them are."""
SEPARATORS = ",;\t|"
ROW_NAMES = ("id", "index", "row", "name", "uuid", "key")


@dataclass(frozen=True, kw_only=True)
class Data:
    """What was found: the part of the study file that it decides."""

    name: str
    about: str
    """What it is, for the head of the file."""
    task: str
    metric: str
    architecture: str
    augmentation: str
    rungs: str
    trials: int
    cost: str
    """Objective beside metric and latency."""


def looked_at(path: Path, target: str | None = None) -> Data:
    """What a folder of class folders, or a table, is as a task.

    Raises:
        InputError: it is neither, or holds nothing that a study could use.
    """
    try:
        if path.is_dir():
            return _pictures(path)
        if path.is_file():
            return _table(path, target)
    except TaskError as error:
        raise InputError(str(error)) from error
    raise InputError(
        f"{path}: there is no such file or folder; name a folder of pictures or a csv"
    )


def _pictures(root: Path) -> Data:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    own = [p for p in folders if p.name in PARTS]
    classes = [c for c in (own[-1].iterdir() if own else folders) if c.is_dir()]
    files = [p for p in sorted(root.rglob("*")) if p.suffix.lower() in SUFFIXES]
    if len(classes) < 2 or not files:
        raise InputError(
            f"{root}: {len(files)} picture(s) in {len(classes)} folder(s); put the pictures of "
            "each class into a folder of its own, at least 2"
        )
    sides, colours = _seen(files[:: max(1, len(files) // LOOKED_AT)])
    half = statistics.median(sides)
    size = max([SIZES[0], *(s for s in SIZES if s <= half)])
    depths = {16: "[2, 3]", 24: "[2, 3]", 32: "[2, 3, 4]"}.get(size, "[3, 4, 5]")
    return Data(
        name=root.resolve().name,
        about=f"{len(files)} pictures of {len(classes)} classes, half of them at least "
        f"{half:.0f} pixels on the shorter side",
        task=f"{{image_folder: {{path: {_quoted(str(root))}, size: {size}, "
        f"channels: {3 if colours else 1}}}}}",
        metric="accuracy",
        architecture=f"""\
convnet:
  depth: {depths}    # stages
  width: {{per_stage: {{low: 8, high: 64, step: 8}}}}    # channels, stage by stage
  kernel: {{per_stage: [3, 5]}}
  pool_kind: [max, avg]
  activation: [relu, leaky_relu]""",
        augmentation="""\
rotate_deg: [0, 10]
shift: [0.0, 0.1]
flip: [false, true]    # drop it where left and right mean something, as in letters
mixup: [0.0, 0.2]""",
        rungs="[3, 9, 27]",
        trials=60,
        cost="size",
    )


def _seen(files: Sequence[Path]) -> tuple[list[int], bool]:
    """(shorter sides, whether any has colours) of pictures that can be read."""
    from PIL import Image

    sides, colours = [], False
    for file in files:
        try:
            with Image.open(file) as picture:
                sides.append(min(picture.size))
                colours |= picture.mode not in ("1", "L", "LA")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"picture {file} cannot be read ({error}); repair or remove it"
            ) from error
    return sides, colours


def _table(path: Path, target: str | None) -> Data:
    separator = _separator(path)
    columns = read_columns(path, separator)
    names = list(columns)
    if target is None:
        target = names[-1]
    if target not in columns:
        raise InputError(f"--target: {path} has no column {target!r}; it has {', '.join(names)}")
    ignored = [name for name in names if name != target and _no_input(columns[name])]
    options = [f"path: {_quoted(str(path))}", f"target: {_quoted(target)}"]
    options += [f"separator: {_quoted(separator)}"] if separator != "," else []
    options += [f"ignore: [{', '.join(map(_quoted, ignored))}]"] if ignored else []
    table = Table(path=str(path), target=target, separator=separator, ignore=tuple(ignored))
    metric, classes = table.metric.name, table.splits().classes
    num_inputs = len(names) - 1 - len(ignored)
    what = f"one of {len(classes)} classes" if classes else "a number"
    left_out = f"; left out are {', '.join(ignored)}" if ignored else ""
    return Data(
        name=path.stem,
        about=f"{len(columns[target].cells)} rows, {num_inputs} columns that answer "
        f"{target}, {what}{left_out}",
        task=f"{{csv: {{{', '.join(options)}}}}}",
        metric=metric,
        architecture="""\
mlp:
  depth: [1, 2, 3, 4]    # hidden layers
  width: {per_stage: [8, 16, 24, 32, 48, 64]}    # units, layer by layer
  activation: [relu, tanh, silu]
  norm: [none, batch, layer]""",
        augmentation="noise: [0.0, 0.02]    # in standard deviations of each column",
        rungs="[10, 30, 90]",
        trials=80,
        cost="flops",
    )


def _separator(path: Path) -> str:
    """The character that is most frequent in the line of names."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
    return max(SEPARATORS, key=head.count)


def _no_input(column: Column) -> bool:
    """Whether a column tells rows apart and nothing else: their names, or free text."""
    different = len(set(column.cells))
    numeric = all(_is_number(cell) for cell in column.cells)
    if different == len(column.cells) and column.name.lower() in ROW_NAMES:
        return True
    return not numeric and different > 32


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def module_architecture(factory: str) -> str:
    """The section of a network that is there, in smaller forms."""
    return f"""\
module:
  factory: {_quoted(factory)}
  width: [0.5, 0.75, 1.0]    # share of channels kept; what else: python -m search.analyze"""


def study_file(data: Data, name: str, limit: str | None, factory: str | None = None) -> str:
    """The text of the study file."""
    architecture = module_architecture(factory) if factory else data.architecture
    bound = f", limit: {limit}" if limit else ""
    remark = "" if limit else "    # add `, limit: 1 ms` for what it must keep"
    return f"""\
{_remarks(data.about)}
#   python -m search.run THIS_FILE --dry-run     # what is asked, and what networks cost here
#   python -m search.run THIS_FILE               # search; the same command goes on after a stop
#   python -m search.export THIS_FILE knee       # a member of the front as a model file
# A list is a choice, {{low, high}} a range, anything else is fixed.
name: {_quoted(name)}
seed: 0
task: {data.task}
space:
  architecture:
{_indented(architecture, 4)}
  training:
    lr: {{low: 1.0e-3, high: 3.0e-2, log: true}}
    batch: [16, 32]
  augmentation:    # while training only
{_indented(data.augmentation, 4)}
  compression:     # after training, in this order
    - prune: {{ratio: [0.0, 0.25, 0.5]}}
    - quantize: {{scheme: [none, int8]}}
targets:
  cpu: {{device: cpu, threads: 1, batch: 1, runtime: onnxruntime}}    # where it is to run
objectives:
  - {data.metric}
  - {data.cost}
  - latency: {{target: cpu{bound}}}{remark}
search: {{sampler: ehvi, trials: {data.trials}, rungs: {data.rungs}}}    # rungs: epochs
executor: process
storage: sqlite:///paretune.db
"""


def _remarks(about: str) -> str:
    told = f"Written by search.init for {about}."
    return textwrap.indent("\n".join(textwrap.wrap(told, 90)), "# ")


def _indented(text: str, columns: int) -> str:
    return textwrap.indent(text, " " * columns)


def _quoted(text: str) -> str:
    """A YAML scalar, in quotes where it could be read as something else."""
    plain = text.replace("_", "a").replace("/", "a").replace("-", "a").replace(".", "a")
    if plain.isalnum() and plain[0].isalpha() and text.lower() not in ("true", "false", "null"):
        return text
    return "'" + text.replace("'", "''") + "'"
