"""Families against the networks they are named after, as torch and torchvision build them."""

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from objectives.complexity import count_flops
from spaces.attention import Attention
from spaces.families.blocks import Parallel, Residual, SqueezeExcitation
from spaces.families.convnet import ConvNet
from spaces.families.layers import eighths, kernel_too_large, stage_stride, stem_stride, strided
from spaces.families.mobilenet import MobileNet
from spaces.families.resnet import ResNet
from spaces.families.resolution import resized, resizing
from spaces.families.squeezenet import SqueezeNet
from spaces.families.vit import TransformerLayer, ViT


def lived_in(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network with statistics in its normalisations that are not those of a new one."""
    with torch.no_grad():
        network.train()(torch.randn(4, *shape))
    return network.eval()


def take_over(network: nn.Module, other: nn.Module) -> None:
    """Weights and statistics of `other`, which has the same in the same order."""
    state = zip(network.state_dict(), other.state_dict().values(), strict=True)
    network.load_state_dict(dict(state))


@pytest.mark.parametrize(
    ("family", "reference"),
    [
        (ResNet(depth=4, width=64, blocks=2), models.resnet18),
        (ResNet(depth=4, width=64, blocks=(3, 4, 6, 3), block="bottleneck"), models.resnet50),
        (
            MobileNet(depth=7, expansion=(1, *(6,) * 6), blocks=(1, 2, 3, 4, 3, 3, 1)),
            models.mobilenet_v2,
        ),
    ],
    ids=["resnet18", "resnet50", "mobilenet_v2"],
)
def test_family_is_the_network_of_torchvision_with_these_choices(
    family: ResNet | MobileNet, reference: type[nn.Module]
) -> None:
    torch.manual_seed(0)
    shape, known = (3, 128, 128), lived_in(reference(num_classes=10), (3, 128, 128))
    network = family.build(shape, 10).eval()
    take_over(network, known)
    inputs = torch.randn(2, *shape)
    with torch.no_grad():
        expected, actual = known(inputs), network(inputs)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_squeezenet_has_the_convolutions_of_version_1_1() -> None:
    known = models.squeezenet1_1(num_classes=10)
    ours = SqueezeNet(depth=8, width=128, increment=128, norm="none").build((3, 224, 224), 10)
    shapes = [
        [m.weight.shape for m in network.modules() if isinstance(m, nn.Conv2d)]
        for network in (ours, known)
    ]
    assert shapes[0] == shapes[1][:-1]  # their classes are a 1 x 1 convolution
    assert sum(isinstance(module, nn.MaxPool2d) for module in ours.modules()) == 3


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_answers_as_the_one_of_torch(heads: int) -> None:
    torch.manual_seed(0)
    known, ours = nn.MultiheadAttention(8, heads, batch_first=True), Attention(8, heads, 5)
    share_weights(ours, known)
    x_BNC = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x_BNC), known(x_BNC, x_BNC, x_BNC)[0])


def share_weights(ours: Attention, known: nn.MultiheadAttention) -> None:
    """Give `ours` random weights and biases, the same as `known`."""
    nn.init.normal_(known.in_proj_bias)
    for index, layer in enumerate((ours.queries, ours.keys, ours.values)):
        layer.weight.data = known.in_proj_weight.data.chunk(3)[index]
        layer.bias.data = known.in_proj_bias.data.chunk(3)[index]
    ours.output.load_state_dict(known.out_proj.state_dict())


def test_transformer_layer_answers_as_the_one_of_torch() -> None:
    torch.manual_seed(0)
    known = nn.TransformerEncoderLayer(
        8, 2, 16, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    attention = Attention(8, 2, 5)
    share_weights(attention, known.self_attn)
    ours = TransformerLayer(8, [attention], [known.linear1, nn.GELU(), known.linear2])
    x_BNC = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x_BNC), known(x_BNC))


def test_vit_sees_where_a_patch_lies() -> None:
    torch.manual_seed(0)
    network = ViT(depth=1, patch=4).build((1, 8, 8), 10).eval()
    x_BCHW = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(network(x_BCHW), network(x_BCHW.roll(4, dims=3)))


def test_vit_says_which_choices_contradict_each_other() -> None:
    assert ViT(width=64, heads=3).check((1, 8, 8), 10) == (
        "vit heads 3 does not divide width 64; choose heads that do"
    )
    assert ViT(patch=5).check((1, 8, 8), 10) == (
        "vit patch 5 does not divide the picture, 8 x 8; choose another patch or resolution"
    )
    assert ViT(patch=5, resolution=10).check((1, 8, 8), 10) is None


def test_mobilenet_measures_its_kernels_on_the_resized_picture() -> None:
    family = MobileNet(kernel=7, resolution=6)
    reason = "mobilenet kernel 7 is larger than the picture, 6 x 6; choose at most 6"
    assert family.check((3, 32, 32), 10) == reason
    assert MobileNet(kernel=7).check((3, 32, 32), 10) is None
    assert kernel_too_large("a", [3], (1, 1, 1)) is None


def test_resolution_is_the_shorter_side_and_costs_what_it_says() -> None:
    assert resized((1, 20, 10), 5) == (10, 5)
    assert resized((1, 20, 10), 0) == (20, 10)
    assert MobileNet().canonical((1, 20, 10)) == MobileNet(resolution=10).canonical((1, 20, 10))
    assert resizing((1, 20, 10), 10) == []


def test_convnet_looks_at_the_size_it_is_told() -> None:
    family = ConvNet(depth=1, width=4, kernel=7, resolution=6)
    reason = "convnet kernel 7 is larger than the picture, 6 x 6; choose at most 6"
    assert family.check((1, 8, 8), 10) == reason
    assert ConvNet().canonical((1, 8, 8)) == ConvNet(resolution=8).canonical((1, 8, 8))
    small = ConvNet(depth=2, width=4, block="separable", resolution=4)
    assert small.canonical((1, 8, 8)).pool == (2, 2)
    flops = count_flops(small.build((1, 8, 8), 10), (1, 8, 8)).total
    given = ConvNet(depth=2, width=4, block="separable").build((1, 4, 4), 10)
    assert flops == count_flops(given, (1, 4, 4)).total


def test_smaller_picture_is_the_average_of_whole_windows() -> None:
    x_BCHW = torch.randn(2, 3, 8, 12)
    layers = nn.Sequential(*resizing((3, 8, 12), 4))
    windows = x_BCHW.reshape(2, 3, 4, 2, 6, 2).mean(dim=(3, 5))
    torch.testing.assert_close(layers(x_BCHW), windows)


@pytest.mark.parametrize("resolution", [3, 5, 7, 10, 21])
def test_resized_ramp_is_a_ramp_of_the_asked_size(resolution: int) -> None:
    ramp = torch.arange(10.0).expand(1, 1, 10, 10)
    out = nn.Sequential(*resizing((1, 10, 10), resolution))(ramp)
    assert out.shape == (1, 1, resolution, resolution)
    inner = out[0, 0, 0, 1:-1].diff()
    assert float(out.mean()) == pytest.approx(4.5, abs=0.51)
    assert (inner >= 0).all()


def test_squeeze_and_excitation_gates_each_channel_by_the_averages() -> None:
    torch.manual_seed(0)
    layer = SqueezeExcitation(4, 2)
    down, up = layer.gate[1], layer.gate[3]
    x_BCHW = torch.randn(3, 4, 5, 5)
    hidden = (x_BCHW.mean(dim=(2, 3)) @ down.weight.flatten(1).T + down.bias).relu()
    gate = (hidden @ up.weight.flatten(1).T + up.bias).sigmoid()
    torch.testing.assert_close(layer(x_BCHW), x_BCHW * gate[:, :, None, None])


def test_residual_adds_and_parallel_joins() -> None:
    x_BCHW = torch.randn(2, 3, 4, 4)
    doubled = Residual([nn.Identity()], [], [nn.ReLU()])(x_BCHW)
    assert torch.equal(doubled, (2 * x_BCHW).relu())
    joined: Tensor = Parallel([[], [nn.ReLU()]])(x_BCHW)
    assert torch.equal(joined, torch.cat([x_BCHW, x_BCHW.relu()], dim=1))


def test_channels_are_multiples_of_eight_and_not_much_fewer() -> None:
    assert [eighths(n) for n in (1, 8, 11, 12, 16.5, 24, 27, 33.6)] == [
        8, 8, 16, 16, 16, 24, 32, 32,
    ]  # fmt: skip


def test_small_pictures_and_maps_keep_their_size() -> None:
    assert [stem_stride((side, 200)) for side in (8, 64, 65)] == [1, 1, 2]
    assert [stage_stride((side, 200)) for side in (7, 8)] == [1, 2]
    for side in range(1, 12):
        for stride in (1, 2, 3):
            left = nn.Conv2d(1, 1, 3, stride, 1)(torch.zeros(1, 1, side, side)).shape[-1]
            assert strided(side, stride) == left
