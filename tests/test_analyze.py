"""`search.analyze` on modules and on studies: data, tables, page, and each mistake."""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finished import finished_small

from search import analyze
from search.analysis import findings
from search.analysis.figure import LARGEST, LEAST, roofline_figure
from search.commands import BAD_INPUT, DONE
from search.spec import read_study
from search.store.view import view_of

NETS = """
import torch
from torch import nn

def build(input_shape, outputs):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 8, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs),
    )

ready = build((1,), 3)

class Free(nn.Module):
    def forward(self, x):
        return x.mean(-1)

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        return self.a(x) if x.sum() > 1e6 else self.b(x)

def words():
    return "no module"

def broken():
    raise OSError("the disk is full")
"""


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands in this process leave neither folders, modules nor signal handlers behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, modules = signal.getsignal(signal.SIGTERM), set(sys.modules)
    yield
    signal.signal(signal.SIGTERM, before)
    for name in {"analyzed_nets"} & (sys.modules.keys() - modules):
        del sys.modules[name]


@pytest.fixture
def nets(folder: Path) -> str:
    """The name of a module of networks in the current folder."""
    (folder / "analyzed_nets.py").write_text(NETS)
    return "analyzed_nets"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_small(tmp_path_factory)


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert analyze.main([*arguments, "--json"]) == DONE
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


def test_a_factory_is_analyzed_from_its_import_path(
    nets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _json(capsys, f"{nets}:build", "--input", "2x9x9", "--outputs", "7", "--batch", "3")
    layers = {layer["name"]: layer for layer in data["layers"]}
    # by hand, batch 3: the map stays 9 x 9, kernels of 5 x 5 on 2 channels; then 8 to 7
    assert layers["0"]["flops"] == 2 * 3 * 81 * 25 * 2 * 8
    assert layers["5"]["flops"] == 2 * 3 * 8 * 7
    assert layers["0"]["moved_bytes"] == 4 * (3 * 2 * 81 + 3 * 8 * 81 + 25 * 2 * 8 + 8)
    assert data["flops"] == sum(layer["flops"] for layer in data["layers"])
    assert data["parameters"] == 25 * 2 * 8 + 8 + 8 * 7 + 7
    assert data["target"] == {
        "device": "cpu", "threads": 1, "batch": 3, "runtime": "OnnxRuntime", "precision": "fp32",
    }  # fmt: skip
    assert sum(layer["share_of_time"] for layer in data["layers"]) == pytest.approx(1)
    assert all(layer["share_of_limit"] is None for layer in data["layers"])
    assert data["deployed"]["conditions"]["clock"] == "cpu"
    assert {node["layer"] for node in data["nodes"]} >= {"0", "5"}
    changes = {change["change"]: change for change in data["what_if"]}
    kernel = changes["kernel 5 to 3 in 1 layer"]
    assert kernel["flops"] == data["flops"] - 2 * 3 * 81 * (25 - 9) * 2 * 8
    assert kernel["measured"] is None
    assert changes["batch 3 to 6, latency of the whole batch"]["flops"] == 2 * data["flops"]


def test_changes_are_measured_where_that_is_asked(
    nets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _json(capsys, f"{nets}:ready", "--input", "1,8,8", "--measure")
    assert len(data["what_if"]) == 4
    for change in data["what_if"]:
        assert change["measured"]["unit"] == "ms"
        assert change["measured"]["value"] > 0
        assert change["predicted_latency_ms"] > 0


def test_a_network_without_parameters_is_analyzed_and_says_so(
    nets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _json(capsys, f"{nets}:Free", "--input", "6")
    assert "the network has no parameters" in data["notes"]
    assert data["deployed"] is not None
    reasons = [change["reason"] for change in data["what_if"]]
    assert all(reasons[:3])
    assert reasons[3] == ""


def test_what_cannot_be_exported_is_told_and_the_rest_stands(
    nets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze.main([f"{nets}:Branching", "--input", "8", "--measure", "--json"]) == DONE
    said = capsys.readouterr()
    data = json.loads(said.out)
    assert said.err == ""
    assert data["deployed"] is None
    assert any(note.startswith("not deployed: ONNX export failed") for note in data["notes"])
    assert [layer["name"] for layer in data["layers"]] == ["b"]
    assert data["layers"][0]["flops"] == 2 * 8 * 4
    assert data["layers"][0]["measured"]["value"] > 0


def test_the_table_names_every_layer_uncut(nets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze.main([f"{nets}:ready", "--input", "1x8x8"]) == DONE
    said = capsys.readouterr().out
    for word in (
        "AdaptiveAvgPool2d",
        "25.6 kFLOPs",
        "roofs ",
        "deployed",
        "GFLOPs/s",
    ):
        assert word in said
    assert "…" not in said
    assert "remark" not in said  # every change could be made
    assert "measured" not in said.split("What if")[1]  # nobody asked for it
    [view] = [line.split() for line in said.splitlines() if " Flatten " in line]
    assert view[:7] == ["4", "Flatten", "-", "-", "-", "-", "-"]  # bound by nothing
    assert view[-1] == "-"  # no share of a roof


def test_the_page_stands_alone_and_has_a_point_a_layer_with_flops(
    nets: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[findings.Findings] = []
    found = findings.findings
    monkeypatch.setattr(
        findings, "findings", lambda *a, **k: kept.append(found(*a, **k)) or kept[-1]
    )
    path = folder / "out" / "page.html"
    assert analyze.main([f"{nets}:ready", "--input", "1x8x8", "--html", str(path)]) == DONE
    text = path.read_text()
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert "Plotly.newPlot" in text
    assert "<script src" not in text
    assert not list(path.parent.glob("*.part"))
    figure = roofline_figure(kept[0])
    *roofs, points = figure.data
    assert len(roofs) == len(kept[0].analysis.roofline.levels)
    assert len(points.x) == 2  # the convolution and the linear layer
    assert tuple(points.text) == ("0", "5")  # few enough to be named
    uses = [use for use in kept[0].analysis.layers if use.cost.forward_flops]
    sizes = {use.measured.value: size for use, size in zip(uses, points.marker.size, strict=True)}
    assert sizes[max(sizes)] == LARGEST  # the slowest layer
    assert LEAST <= sizes[min(sizes)] < LARGEST
    peak = kept[0].analysis.roofline.peak.value
    for roof, level in zip(roofs, kept[0].analysis.roofline.levels, strict=True):
        # slope 1 on the log scales up to the ridge, then flat
        assert roof.y[0] / roof.x[0] == pytest.approx(level.bandwidth.value)
        assert roof.y[1] / roof.x[1] == pytest.approx(level.bandwidth.value)
        assert roof.y[1] == roof.y[2] == peak


def test_a_title_with_markup_is_text_on_the_page(nets: str, folder: Path) -> None:
    (folder / "angled.py").write_text("from torch import nn\nvars()['<b>'] = nn.Flatten()\n")
    assert analyze.main(["angled:<b>", "--input", "4", "--html", "page.html"]) == DONE
    text = Path("page.html").read_text()
    assert ">angled:&lt;b&gt;</h1>" in text
    assert "<b>" not in text.split("</script>")[-2]


def test_a_member_is_analyzed_with_its_weights_and_its_limit(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(finished):
        study = read_study("small.yaml")
        member = view_of(study.name, study.storage).members[0]
        data = _json(capsys, "small.yaml", "--member", str(member.number))
        knee = _json(capsys, "small.yaml")
    assert data["subject"] == f"small: trial {member.number}"
    assert data["candidate"] == member.candidate.as_dict()
    assert data["flops"] == member.measurements["flops"].value
    assert not any("weights" in note for note in data["notes"])
    assert data["limit_ms"] == 1.0
    of_limit = sum(layer["share_of_limit"] for layer in data["layers"])
    assert of_limit == pytest.approx(data["deployed"]["value"] / data["limit_ms"])
    assert knee["subject"].endswith("the knee")
    assert len(data["what_if"]) > 4  # neighbours in the space too


def test_a_limit_is_not_held_against_other_conditions(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(finished):
        data = _json(capsys, "small.yaml", "--member", "best", "--batch", "2")
    assert data["limit_ms"] is None
    assert data["target"]["batch"] == 2


def test_lost_weights_are_told_and_change_no_cost(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(finished):
        data = _json(capsys, "small.yaml", "artifacts=nowhere.artifacts", "--member", "best")
        known = _json(capsys, "small.yaml", "--member", "best")
    assert any("its weights are not stored" in note for note in data["notes"])
    assert (data["flops"], data["parameters"]) == (known["flops"], known["parameters"])


def test_a_study_without_a_database_shows_the_middle_of_its_plan(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze.main([str(small), "--json"]) == DONE
    said = capsys.readouterr()
    data = json.loads(said.out)
    assert data["subject"] == "small: the middle candidate of the plan"
    assert said.err == "no database yet: pricing the plan's 8 candidates\n"
    assert not Path("small.db").exists()
    assert data["candidate"]["family"] == "convnet"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["analyzed_nets:nothing", "--input", "8"], "no class or function 'nothing'"),
        (["no_such_nets:build", "--input", "8"], "does not import"),
        (["analyzed_nets:words", "--input", "8"], "it is a str, not a torch.nn.Module"),
        (["analyzed_nets:broken", "--input", "8"], "cannot be built: OSError: the disk is full"),
        (["analyzed_nets:ready"], "give the shape of one input"),
        (["analyzed_nets:ready", "--input", "1x0x8"], "'1x0x8' is not a shape"),
        (["analyzed_nets:ready", "--input", "1xx8"], "'1xx8' is not a shape"),
        (["analyzed_nets:ready", "--input", "8x8x8"], "does not take inputs of 8x8x8"),
        (["analyzed_nets:ready", "--input", "8"], "does not take inputs of 8"),
        (["analyzed_nets:ready", "--input", "1x8x8", "--threads", "0"], "--threads: 0"),
        (["analyzed_nets:ready", "--input", "1x8x8", "--device", "tpu"], "'tpu' is not a device"),
        (["analyzed_nets:ready", "--input", "1x8x8", "--device", "ssh://a@b"], "--device cpu"),
        (["analyzed_nets:ready", "--input", "1x8x8", "--member", "knee"], "of a study file"),
        (["small.yaml", "--input", "1x8x8"], "those of its task"),
        (["small.yaml", "--member", "knee"], "run the study first"),
        (["absent.yaml"], "absent.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    arguments: list[str], told: str, nets: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze.main(arguments) == BAD_INPUT
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert told in said.err


def test_an_unknown_member_is_a_mistake_that_names_the_known(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.chdir(finished):
        assert analyze.main(["small.yaml", "--member", "99"]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "'99' is not a member of the front; choose knee, best, or one of" in said
