"""The spectrogram inside a network against torch's own, and in fewer bits."""

import math

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from objectives.runtimes import RUNTIMES
from objectives.runtimes.onnx_precision import feeding_logarithms
from spaces.families.log_mel import FLOOR, LogMel, fourier, frames, mel_bands
from spaces.families.speech import Speech

RATE_HZ, WINDOW, HOP, BANDS = 8000, 256, 100, 20


def spectrogram() -> LogMel:
    return LogMel(rate_hz=RATE_HZ, window=WINDOW, hop=HOP, bands=BANDS).eval()


def test_convolution_is_the_short_time_fourier_transform() -> None:
    sound = torch.randn(3, 2000)
    hann = torch.hann_window(WINDOW)
    expected = (
        torch.stft(sound, WINDOW, HOP, window=hann, center=False, return_complex=True)
        .abs()
        .square()
        / hann.square().sum()
    )
    bands = mel_bands(RATE_HZ, WINDOW, BANDS)
    scale = math.sqrt(1 + 1e-5)  # a fresh batch norm divides by this
    with torch.no_grad():
        made = spectrogram()(sound)
    torch.testing.assert_close(
        made, (bands @ expected + FLOOR).log() / scale, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("samples", [WINDOW, WINDOW + HOP - 1, WINDOW + HOP, 2000])
def test_frames_are_those_that_fit(samples: int) -> None:
    assert spectrogram()(torch.randn(2, samples)).shape == (2, BANDS, frames(samples, WINDOW, HOP))


def test_noise_of_variance_one_has_power_one_in_every_band() -> None:
    torch.manual_seed(0)
    waves, bands = fourier(WINDOW), mel_bands(RATE_HZ, WINDOW, BANDS)
    squares = (torch.randn(20_000, WINDOW) @ waves.T).square()
    power = squares[:, : WINDOW // 2 + 1] + squares[:, WINDOW // 2 + 1 :]
    torch.testing.assert_close((power @ bands.T).mean(0), torch.ones(BANDS), rtol=0.05, atol=0)


def test_tone_is_loudest_in_the_band_that_holds_it() -> None:
    bands = mel_bands(RATE_HZ, WINDOW, BANDS)
    time_s = torch.arange(2000) / RATE_HZ
    for band in range(2, BANDS, 3):
        tone_hz = float(bands[band].argmax()) * RATE_HZ / WINDOW
        heard = spectrogram()((2 * math.pi * tone_hz * time_s).sin().unsqueeze(0))
        assert int(heard[0, :, 5].argmax()) == band


def test_bands_rise_and_each_sums_to_one() -> None:
    bands = mel_bands(RATE_HZ, WINDOW, BANDS)
    torch.testing.assert_close(bands.sum(1), torch.ones(BANDS))
    centres = bands @ torch.arange(WINDOW // 2 + 1).float()
    assert bool((centres.diff() > 0).all())
    assert bool((centres.diff().diff() > -0.5).all())  # wider and wider, but for the grid of rates


def test_tables_are_buffers_and_only_the_norm_learns() -> None:
    front = spectrogram()
    assert {name for name, _ in front.named_parameters()} == {"norm.weight", "norm.bias"}
    assert {"waves_F1W", "bands_MF1"} < {name for name, _ in front.named_buffers()}


def test_quiet_sounds_keep_their_spectrum_in_int8() -> None:
    torch.manual_seed(0)
    network = Speech(bands=16, body="recurrent", depth=1).build((2000,), 4).eval()
    loudness = 10 ** torch.linspace(-2, 1, 16).unsqueeze(1)
    sounds = loudness * torch.randn(16, 2000)
    deployed = RUNTIMES["onnxruntime"]().deploy(
        network, calibration=sounds, precision="int8", device="cpu", threads=1
    )
    kinds = [node.op_type for node in onnx.load_from_string(deployed.artefact).graph.node]
    assert kinds.index("Log") < kinds.index("QuantizeLinear")
    with torch.no_grad():
        expected = network(sounds)
    difference = (deployed.run(sounds) - expected).abs().max() / expected.abs().max()
    assert float(difference) < 0.1


def test_only_what_leads_to_a_logarithm_is_named() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Abs", ["x"], ["b"], "beside"),
        helper.make_node("Add", ["a", "one"], ["c"], "sum"),
        helper.make_node("Log", ["c"], ["d"], "log"),
        helper.make_node("Add", ["b", "d"], ["y"], "last"),
    ]
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "one", "y")]
    model = helper.make_model(helper.make_graph(nodes, "graph", value[:2], value[2:]))
    assert feeding_logarithms(model) == ["log", "sum", "first"]
