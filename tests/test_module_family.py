"""A network of somebody else: fitted to the task, made smaller, told of when it cannot be."""

import urllib.error
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search.errors import InputError
from search.keys import keys_of
from search.spec import read_study
from spaces.choice import representatives
from spaces.families.derive import derive
from spaces.families.module import Module
from spaces.families.pretrained import NetworkError
from spaces.families.reshape import narrow_to, other_channels
from tests.conftest import Command

SHAPE = (3, 12, 12)
HERE = "tests.test_module_family"


class Block(nn.Module):
    """x + f(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, 2 * channels, 5, padding=2)
        self.outer = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(self.inner(x).relu())


class Shuffled(Block):
    """The same behind a decision that cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) > 0 else x * 1)


class Net(nn.Module):
    """Stem, two stages of residual blocks, linear head."""

    def __init__(self, *, width: int = 8, kinds: int = 7, block: type[nn.Module] = Block) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.early = nn.Sequential(block(width), block(width), block(width))
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.late = nn.Sequential(block(2 * width), block(2 * width))
        self.head = nn.Linear(2 * width, kinds)

    def forward(self, x: Tensor) -> Tensor:
        late: Tensor = self.late(self.down(self.early(self.stem(x))))
        head: Tensor = self.head(late.mean((2, 3)))
        return head


def twofold(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs), nn.Unflatten(1, (outputs, 1)))


def number() -> int:
    return 3


def needy(*, depth: int) -> nn.Module:
    return nn.Sequential(*[nn.Conv2d(1, 1, 1) for _ in range(depth)])


class Auxiliary(Net):
    """Two answers in training."""

    def forward(self, x: Tensor) -> Tensor:
        answer = super().forward(x)
        return (answer, answer) if self.training else answer  # type: ignore[return-value]


def net(**options: object) -> Module:
    return Module(factory=f"{HERE}:Net", **options)


def built(family: Module, shape: tuple[int, ...] = SHAPE, outputs: int = 7) -> nn.Module:
    torch.manual_seed(0)
    return family.build(shape, outputs).eval()


def answer(network: nn.Module, shape: tuple[int, ...] = SHAPE) -> Tensor:
    with torch.no_grad():
        output: Tensor = network(
            torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
        )
    return output


def widths(network: nn.Module) -> dict[str, int]:
    return {n: m.out_channels for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}


def test_network_that_fits_the_task_is_taken_as_it_is() -> None:
    torch.manual_seed(0)
    assert torch.equal(answer(Net().eval()), answer(built(net())))


def test_blocks_are_left_out_from_the_end_of_the_fullest_stage() -> None:
    derived = net().derived(SHAPE, 7)
    assert derived.blocks == ("early.2", "late.1", "early.1", "late.0", "early.0")
    assert derived.head == "head"


def test_block_left_out_answers_as_one_whose_branch_is_zero() -> None:
    whole = built(net())
    for name in ("early.2", "late.1"):
        for parameter in whole.get_submodule(f"{name}.outer").parameters():
            nn.init.zeros_(parameter)
    torch.testing.assert_close(answer(built(net(drop=2))), answer(whole))


def test_blocks_that_cannot_be_traced_are_known_by_their_twins() -> None:
    torch.manual_seed(0)
    derived = derive(Net(block=Shuffled), torch.zeros(2, *SHAPE))
    assert set(derived.blocks) == {"early.0", "early.1", "early.2", "late.0", "late.1"}


def test_blocks_of_resnet18_are_those_without_a_projection() -> None:
    derived = Module(factory="torchvision:resnet18").derived((3, 32, 32), 5)
    assert set(derived.blocks) == {"layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"}
    assert derived.kernels["conv1"] == 7
    sums = next(group for group in derived.groups if "conv1" in group.layers)
    assert set(sums.layers) == {"conv1", "layer1.0.conv2", "layer1.1.conv2"}
    assert sums.width == 64


def test_cropped_kernel_with_an_empty_border_answers_alike() -> None:
    family = net(kernel=3)
    whole = built(net())
    for block in (*whole.early, *whole.late):  # type: ignore[union-attr,misc]  # sequences
        with torch.no_grad():
            border = torch.ones(5, 5, dtype=torch.bool)
            border[1:4, 1:4] = False
            block.inner.weight[:, :, border] = 0
    small = built(family)
    assert small.get_submodule("early.0.inner").kernel_size == (3, 3)
    torch.testing.assert_close(answer(small), answer(whole))


def test_kept_channels_are_counted_by_hand_and_sums_stay_consistent() -> None:
    assert set(widths(built(net(width=0.5))).values()) == {4, 8, 16}
    kept = widths(built(net(width=0.5, keep=["early.*.inner", "down"])))
    whole = widths(built(net()))
    for name in whole:
        left = name.startswith("late") and name.endswith("outer")  # in one group with `down`
        same = name in ("down", "early.0.inner", "early.1.inner", "early.2.inner") or left
        assert kept[name] == (whole[name] if same else whole[name] // 2), name


def test_shapes_do_not_depend_on_the_weights(folder: Path) -> None:
    shapes = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(Net().state_dict(), folder / f"{seed}.pt")
        family = net(weights=str(folder / f"{seed}.pt"), width=0.3, drop=1, kernel=3)
        shapes.append([tuple(p.shape) for p in built(family).parameters()])
    assert shapes[0] == shapes[1]


def test_kept_blocks_are_not_left_out() -> None:
    derived = net(keep=["late.*"]).derived(SHAPE, 7)
    assert derived.blocks == ("early.2", "early.1", "early.0")


def test_weights_of_a_file_are_those_of_the_network(folder: Path) -> None:
    torch.manual_seed(5)
    given = Net().eval()
    torch.save({"state_dict": given.state_dict()}, folder / "net.pt")
    assert torch.equal(answer(built(net(weights="net.pt"))), answer(given))


def test_head_of_another_width_stays_fresh_and_the_rest_is_loaded(folder: Path) -> None:
    torch.save(Net(kinds=100).state_dict(), folder / "net.pt")
    network = built(net(weights="net.pt", options={"kinds": 9}), outputs=5)
    given = torch.load(folder / "net.pt")
    loaded = network.state_dict()
    assert loaded["head.weight"].shape == (5, 16)
    assert all(torch.equal(loaded[k], given[k]) for k in given if not k.startswith("head"))


def test_pictures_of_one_channel_are_answered_as_grey_ones_of_three(folder: Path) -> None:
    torch.manual_seed(3)
    given = Net().eval()
    torch.save(given.state_dict(), folder / "net.pt")
    grey = built(net(weights="net.pt"), (1, 12, 12))
    pictures = torch.randn(4, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(grey(pictures), given(pictures.expand(-1, 3, -1, -1)))


def test_repeated_channels_answer_a_constant_picture_alike() -> None:
    weight = torch.randn(4, 3, 3, 3)
    five = functional.conv2d(torch.ones(1, 6, 5, 5), other_channels(weight, 6))
    torch.testing.assert_close(five, functional.conv2d(torch.ones(1, 3, 5, 5), weight))


def test_network_scales_pictures_to_the_size_that_it_is_given() -> None:
    network = built(net(size=6))
    seen: list[tuple[int, ...]] = []
    network.get_submodule("1.stem").register_forward_hook(lambda _, i, o: seen.append(i[0].shape))
    assert answer(network, (3, 20, 30)).shape == (4, 7)
    assert seen == [(4, 3, 6, 6)]


def test_listed_weights_are_read_where_torchvision_keeps_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import MobileNet_V3_Small_Weights, mobilenet_v3_small

    monkeypatch.setenv("TORCH_HOME", str(folder))
    name = MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    given = mobilenet_v3_small()
    torch.save(given.state_dict(), folder / "hub" / "checkpoints" / name)
    family = Module(factory="torchvision:mobilenet_v3_small", weights="DEFAULT")
    loaded = family.build((3, 32, 32), 4).state_dict()
    assert torch.equal(loaded["features.0.0.weight"], given.features[0][0].weight)


def test_weights_that_cannot_be_downloaded_are_told_with_their_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    family = Module(factory="torchvision:mobilenet_v3_small", weights="DEFAULT")
    with pytest.raises(NetworkError, match=r"no route to host.*fetch .*\.pth elsewhere"):
        family.build((3, 32, 32), 4)


STUDY = """
name: brought
task: digits
space:
  architecture:
    module: {{{options}}}
  compression: [{{prune: {{ratio: [0.0, 0.5]}}}}]
objectives: [accuracy, flops]
search: {{sampler: random, trials: 2, plan: 8, rungs: [1]}}
executor: inline
"""


def written(folder: Path, options: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(STUDY.format(options=options))
    return path


FILES = {
    "other.pt": nn.Linear(3, 3).state_dict(),
    "list.pt": [torch.zeros(1)],
    "named.pt": {"epoch": 3},
}

MISTAKES = {
    "factory: nets": ("factory", "no import path"),
    "factory: 'no_such:net'": ("factory", "'no_such' does not import"),
    f"factory: '{HERE}:Nett'": ("factory", "did you mean 'Net'"),
    "factory: 'torchvision:resnet19'": ("factory", "did you mean 'resnet18'"),
    f"factory: '{HERE}:number'": ("factory", "returned int, not a torch.nn.Module"),
    f"factory: '{HERE}:needy'": ("options", "missing a required argument: 'depth'"),
    f"factory: '{HERE}:Net', options: {{with: 3}}": ("options", "it takes width, kinds, block"),
    f"factory: '{HERE}:Net', options: {{width: -1}}": ("options", "cannot be built"),
    f"factory: '{HERE}:needy', options: {{depth: 2}}": ("factory", "has no head"),
    f"factory: '{HERE}:twofold'": ("factory", "has no head"),
    f"factory: '{HERE}:Auxiliary'": ("factory", "returns tuple for 2 inputs in training"),
    f"factory: '{HERE}:Net', weights: lost.pt": ("weights", "'lost.pt' is not a file"),
    f"factory: '{HERE}:Net', weights: other.pt": ("weights", "missing (stem.weight, stem.bias,"),
    f"factory: '{HERE}:Net', weights: list.pt": ("weights", "holds a list, no state dict"),
    f"factory: '{HERE}:Net', weights: named.pt": ("weights", "holds a int under 'epoch'"),
    f"factory: '{HERE}:Net', weights: study.yaml": ("weights", "holds no state dict"),
    f"factory: '{HERE}:Net', weights: wide.pt": ("weights", "(16, 3, 3, 3) for (8, 3, 3, 3)"),
    f"factory: '{HERE}:Net', drop: [0, 9]": ("drop", "5 can (early.2, late.1,"),
    f"factory: '{HERE}:Net', keep: [stemm]": ("keep", "'stemm' matches no module"),
    f"factory: '{HERE}:Net', keep: stem": ("keep", "must be"),
    f"factory: '{HERE}:Net', options: [1]": ("options", "must be a mapping"),
    f"factory: '{HERE}:Net', kernel: [2]": ("kernel", "must be"),
    f"factory: '{HERE}:Net', width: [0.0, 1.0]": ("width", "must be greater than 0"),
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistake_is_one_line_at_load_time(folder: Path, options: str) -> None:
    for name, content in {**FILES, "wide.pt": Net(width=16).state_dict()}.items():
        torch.save(content, folder / name)
    field, told = MISTAKES[options]
    with pytest.raises(InputError) as error:
        read_study(written(folder, options))
    line = str(error.value)
    assert line.startswith(f"{folder}/study.yaml:6: space.architecture.module.{field}")
    assert told in line
    assert len(line.splitlines()) == 1


def test_network_that_cannot_be_narrowed_is_told() -> None:
    attention = nn.TransformerEncoderLayer(8, 2, batch_first=True)
    network = nn.Sequential(attention, nn.Flatten(), nn.Linear(32, 2))
    example = torch.zeros(2, 4, 8)
    derived = derive(network, example)
    assert derived.listing()[-1].startswith("width     module 0.self_attn: torch-pruning")
    with pytest.raises(NetworkError, match=r"self_attn.*leave width out"):
        narrow_to(network, derived, example, 0.5)


def test_other_weights_are_another_network_in_every_key(folder: Path) -> None:
    keys = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(Net().state_dict(), folder / "net.pt")
        study = read_study(written(folder, f"factory: '{HERE}:Net', weights: net.pt"))
        choices = study.space.open_choices
        first = {c.name: representatives(c.domain)[0] for c in choices}
        found = keys_of(study.space.decode(first, (1, 8, 8)), study)
        keys.append({found.key, found.train_key, found.recipe_key, study.definition()["space"]})
    assert not keys[0] & keys[1]


def test_options_and_kept_names_reach_the_network_and_the_candidate(folder: Path) -> None:
    options = f"factory: '{HERE}:Net', options: {{width: 4}}, keep: ['late.*'], drop: [0, 1]"
    study = read_study(written(folder, options))
    assert [c.name for c in study.space.open_choices] == [
        "architecture.module.drop",
        "compression.prune.ratio",
    ]
    parameters = {"architecture.module.drop": 1, "compression.prune.ratio": 0.5}
    candidate = study.space.decode(parameters, (1, 8, 8))
    assert candidate.architecture["options"] == {"width": 4}
    assert candidate.architecture["keep"] == ["late.*"]
    assert study.space.encode(candidate) == parameters
    network = study.space.build(candidate, (1, 8, 8), 10)
    assert isinstance(network.get_submodule("early.2"), nn.Identity)
    assert widths(network)["stem"] == 4


def test_training_goes_on_from_the_weights(folder: Path, command: Command) -> None:
    (folder / "my_nets.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),\n"
        "        nn.Flatten(), nn.Linear(128, 10))\n"
    )
    study = written(folder, "factory: 'my_nets:build', width: [0.5, 1.0]")
    ran = command("run", study.name)
    assert ran.returncode == 0, ran.stderr
    assert "module" in ran.stdout
    exported = command("export", study.name, "best", "--to", "out")
    assert exported.returncode == 0, exported.stderr


def test_changeable_parts_are_listed(command: Command) -> None:
    shape = ("--input", "3x32x32", "--changeable")
    listed = command("analyze", "torchvision:mobilenet_v3_small", *shape)
    assert listed.returncode == 0, listed.stderr
    assert "drop      1: features.11" in listed.stdout
    wrong = command("analyze", "torchvision:mobilenet", *shape)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
