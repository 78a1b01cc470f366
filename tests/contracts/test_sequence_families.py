"""What families of tables, texts, ratings, speech and control promise, body by body."""

import dataclasses
import itertools
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from objectives.complexity import analyze_complexity, count_flops
from objectives.layers import attention_flops
from objectives.runtimes import RUNTIMES
from objectives.runtimes.onnx_export import Exporter
from objectives.runtimes.onnxruntime import OnnxRuntime
from spaces.families import FAMILIES, Family
from spaces.families.control import Control
from spaces.families.mlp import MLP
from spaces.families.recommender import Recommender
from spaces.families.recurrent import Stack
from spaces.families.speech import Speech
from spaces.families.text import PADDING, UNKNOWN, Text
from spaces.part import read_part


@dataclass(frozen=True)
class Case:
    """A family with options, and what it is built for."""

    family: Family
    shape: tuple[int, ...]
    outputs: int
    vocabulary: tuple[int, ...] = ()

    @property
    def signature(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        return self.shape, self.outputs, self.vocabulary

    def build(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.family.build(*self.signature).eval()

    def inputs(self, count: int) -> Tensor:
        """Random numbers, or ids of which some are padding behind one word or more."""
        generator = torch.Generator().manual_seed(count)
        if not self.vocabulary:
            return torch.randn(count, *self.shape, generator=generator)
        most = torch.tensor(self.vocabulary).expand(self.shape)
        ids = (torch.rand(count, *self.shape, generator=generator) * most).long()
        if len(self.vocabulary) == 1:
            ids = ids.clamp(min=UNKNOWN)
            for row, words in zip(ids, itertools.cycle([3, self.shape[0], 1]), strict=False):
                row[words:] = PADDING
        return ids


CASES = {
    "mlp": Case(MLP(), (12,), 3),
    "mlp-linear": Case(MLP(depth=0), (12,), 3),
    "mlp-window": Case(MLP(width=(8, 8, 16), depth=3, norm="batch", residual=True), (2, 4), 3),
    "mlp-layer": Case(MLP(norm="layer", dropout=0.5, activation="silu"), (12,), 3),
    "text-mean": Case(Text(layers=0), (8,), 3, (40,)),
    "text-bag": Case(Text(layers=2, vocabulary=10, length=5, dropout=0.5), (8,), 3, (40,)),
    "text-conv": Case(Text(body="conv", layers=2, kernel=5), (8,), 3, (40,)),
    "text-gru": Case(Text(body="recurrent", layers=2, width=16), (5,), 3, (40,)),
    "text-lstm": Case(Text(body="recurrent", cell="lstm", width=16), (5,), 3, (40,)),
    "text-transformer": Case(Text(body="transformer", layers=2, width=48), (6,), 3, (40,)),
    "factorisation": Case(Recommender(), (2,), 1, (30, 50)),
    "two-towers": Case(Recommender(body="two_towers", depth=2), (2,), 1, (30, 50)),
    "wide-deep": Case(Recommender(body="wide_deep", width=(8, 4), depth=2), (2,), 5, (30, 50)),
    "speech-conv2d": Case(Speech(bands=16, width=(4, 8, 8)), (2000,), 4),
    "speech-separable": Case(Speech(bands=16, body="separable", kernel=5), (2000,), 4),
    "speech-recurrent": Case(Speech(bands=16, body="recurrent", depth=1), (1000,), 4),
    "control": Case(Control(), (24,), 4),
    "control-mlp": Case(Control(norm="batch", history=2, activation="relu"), (4, 6), 4),
    "control-gru": Case(Control(body="recurrent", width=(8, 4)), (4, 6), 4),
    "control-lstm": Case(Control(body="recurrent", cell="lstm", history=3), (4, 6), 4),
}
FAMILY_NAMES = ("mlp", "text", "recommender", "speech", "control")
QUICKLY_SHIPPED = ("text-bag", "text-transformer", "factorisation", "speech-separable")
"""One of each kind goes through the slow exporter in CI as well; seconds each, most of GRU."""

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def answer(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = network(inputs)
    return output


@every_case
def test_network_answers_each_input_alone(case: Case) -> None:
    assert case.family.check(*case.signature) is None
    network, inputs = case.build(), case.inputs(5)
    outputs = answer(network, inputs)
    assert outputs.shape == (5, case.outputs)
    assert outputs.isfinite().all()
    torch.testing.assert_close(outputs[2:3], answer(network, inputs[2:3]), rtol=1e-4, atol=1e-6)


@every_case
def test_network_learns_in_every_parameter(case: Case) -> None:
    network = case.build().train()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(case.inputs(6)).square().sum().backward()
    optimizer.step()
    still = [n for n, p in network.named_parameters() if torch.equal(before[n], p)]
    # a bias of the keys adds the same to every score of a query, which a softmax drops
    assert [name for name in still if not name.endswith("keys.bias")] == []
    assert all(p.isfinite().all() for p in network.parameters())


@every_case
def test_same_seed_builds_the_same_weights(case: Case) -> None:
    first, again, other = (case.build(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_case
def test_canonical_family_builds_the_same_network(case: Case) -> None:
    canonical = case.family.canonical(case.shape)
    assert canonical.canonical(case.shape) == canonical
    same = dataclasses.replace(case, family=canonical)
    assert same.family.check(*case.signature) is None
    inputs = case.inputs(3)
    assert torch.equal(answer(case.build(), inputs), answer(same.build(), inputs))


@every_case
def test_two_counters_agree_on_the_flops_and_nothing_with_parameters_is_left_out(
    case: Case,
) -> None:
    network, inputs = case.build(), case.inputs(1)
    counted = count_flops(network, case.shape, dtype=inputs.dtype)
    complexity = analyze_complexity(network, inputs)
    assert counted.total == complexity.forward_flops
    assert [r for r in complexity.uncounted.values() if "has parameters" in r] == []
    assert complexity.backward_flops > 0 or counted.total == 0


@every_case
def test_exported_file_answers_as_the_network_for_any_batch(case: Case) -> None:
    exported_as(case, "torchscript")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICKLY_SHIPPED else pytest.mark.slow)
        for name in CASES
    ],
)
def test_shipped_file_answers_as_the_network_for_any_batch(name: str) -> None:
    exported_as(CASES[name], "dynamo")


def exported_as(case: Case, exporter: Exporter) -> None:
    network = case.build()
    deployed = OnnxRuntime(exporter=exporter).deploy(
        network, calibration=case.inputs(4), precision="fp32", device="cpu", threads=1
    )
    for count in (1, 3, 17):
        inputs = case.inputs(count)
        torch.testing.assert_close(
            deployed.run(inputs), answer(network, inputs), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize(("runtime", "precision"), [("eager", "bf16"), ("onnxruntime", "int8")])
@every_case
def test_network_of_fewer_bits_takes_the_same_inputs(
    case: Case, runtime: str, precision: str
) -> None:
    deployed = RUNTIMES[runtime]().deploy(
        case.build(), calibration=case.inputs(8), precision=precision, device="cpu", threads=1
    )
    outputs = deployed.run(case.inputs(5))
    assert outputs.shape == (5, case.outputs)
    assert outputs.isfinite().all()
    deployed.bind(case.inputs(1))()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_choice_has_a_default_and_unknown_ones_are_refused(name: str) -> None:
    part = read_part(name, FAMILIES[name])
    assert not any(field.required for field in part.fields.values())
    assert part.make(part.defaults) == FAMILIES[name]()
    with pytest.raises(ValueError, match="no_such_option"):
        FAMILIES[name](no_such_option=1)


PICTURE, ROW, WINDOW = ((3, 32, 32), 10, ()), ((24,), 4, ()), ((6, 24), 4, ())
SENTENCE, RATING, SOUND = ((8,), 3, (40,)), ((2,), 1, (30, 50)), ((2000,), 4, ())


@pytest.mark.parametrize(
    ("family", "signature", "told"),
    [
        (MLP(), SENTENCE, "mlp takes numbers"),
        (Text(), PICTURE, "not numbers of shape (3, 32, 32)"),
        (Text(), ROW, "not numbers of shape (24,)"),
        (Text(), RATING, "not ids of shape (2,)"),
        (Text(vocabulary=50), SENTENCE, "vocabulary 50 must be 0, or from 2"),
        (Text(vocabulary=1), SENTENCE, "vocabulary 1 must be 0, or from 2"),
        (Text(length=9), SENTENCE, "length 9 is longer than the task's texts, 8"),
        (Text(body="conv", kernel=9), SENTENCE, "kernel 9 is longer than the 8 positions"),
        (Text(body="conv", kernel=7, length=5), SENTENCE, "kernel 7 is longer than the 5"),
        (Text(body="recurrent", layers=0), SENTENCE, "body recurrent needs 1 layer"),
        (Text(body="transformer", heads=5), SENTENCE, "5 heads do not divide an embedding of 32"),
        (Recommender(), SENTENCE, "recommender takes ids (user, item)"),
        (Recommender(), ROW, "recommender takes ids (user, item)"),
        (Recommender(body="two_towers"), ((2,), 5, (30, 50)), "use body wide_deep"),
        (Speech(), PICTURE, "speech takes a waveform (samples,)"),
        (Speech(), SENTENCE, "not ids of shape (8,)"),
        (Speech(window_ms=300), SOUND, "window_ms 300 is longer than the sound of 2000 samples"),
        (Speech(hop_ms=300), SOUND, "hop_ms 300 is longer than the sound of 2000 samples"),
        (Speech(window_ms=0.3), SOUND, "a window of 2 samples every 128 is too short"),
        (Speech(hop_ms=0.01), SOUND, "every 0 is too short"),
        (Speech(window_ms=240), SOUND, "leaves only one frame"),
        (Speech(window_ms=8, bands=64), SOUND, "64 bands are too many for window_ms 8"),
        (Control(), PICTURE, "control takes readings (features,) or (window, features)"),
        (Control(), SENTENCE, "not ids of shape (8,)"),
        (Control(body="recurrent"), ROW, "body recurrent reads a window"),
        (Control(history=7), WINDOW, "history 7 is longer than the window of 6"),
        (Control(history=2), ROW, "history 2 is longer than the window of 1"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_one_sentence(
    family: Family, signature: tuple[tuple[int, ...], int, tuple[int, ...]], told: str
) -> None:
    reason = family.check(*signature)
    assert reason is not None
    assert told in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    ("first", "second", "shape"),
    [
        (MLP(depth=0, width=8, norm="batch", dropout=0.5), MLP(depth=0), (12,)),
        (MLP(depth=1, width=(8, 4), residual=True), MLP(depth=1, width=8), (8,)),
        (MLP(width=(8, 4), residual=True), MLP(width=(8, 4)), (8,)),
        (Text(heads=2, kernel=7, cell="lstm"), Text(), (8,)),
        (Text(layers=0, width=8), Text(layers=0), (8,)),
        (Text(length=8), Text(), (8,)),
        (Text(body="conv", heads=2), Text(body="conv"), (8,)),
        (Recommender(depth=3, width=8, dropout=0.5, activation="tanh"), Recommender(), (2,)),
        (Speech(cell="lstm"), Speech(), (2000,)),
        (
            Speech(body="recurrent", kernel=7, activation="gelu"),
            Speech(body="recurrent"),
            (2000,),
        ),
        (Control(cell="lstm", history=6), Control(), (6, 24)),
        (
            Control(body="recurrent", norm="batch", activation="relu"),
            Control(body="recurrent"),
            (6, 24),
        ),
    ],
)
def test_choices_that_do_not_matter_are_forgotten(
    first: Family, second: Family, shape: tuple[int, ...]
) -> None:
    assert first != second
    assert first.canonical(shape) == second.canonical(shape)


BODIES = ["text-mean", "text-bag", "text-conv", "text-gru", "text-lstm", "text-transformer"]
every_text = pytest.mark.parametrize("name", BODIES)


@every_text
def test_vector_of_padding_has_no_influence(name: str) -> None:
    network, ids = CASES[name].build(), CASES[name].inputs(6)
    assert (ids == PADDING).any()
    before = answer(network, ids)
    vectors = network.get_parameter("vectors.weight")
    with torch.no_grad():
        vectors[PADDING] = 100.0
    assert torch.equal(answer(network, ids), before)
    with torch.no_grad():
        vectors[UNKNOWN:] += 1.0
    assert not torch.equal(answer(network, ids), before)


@every_text
def test_more_padding_changes_nothing(name: str) -> None:
    case, family = CASES[name], CASES[name].family
    assert isinstance(family, Text)
    short = dataclasses.replace(case, family=dataclasses.replace(family, length=0))
    more = 4
    long = dataclasses.replace(short, shape=(short.shape[0] + more,))
    ids = short.inputs(6)
    padded = nn.functional.pad(ids, (0, more), value=PADDING)
    torch.testing.assert_close(answer(long.build(), padded), answer(short.build(), ids))


@every_text
def test_text_without_any_word_has_an_answer(name: str) -> None:
    case = CASES[name]
    assert answer(case.build(), torch.zeros(2, *case.shape, dtype=torch.int64)).isfinite().all()


def test_ids_without_a_vector_are_read_as_unknown_and_cost_nothing() -> None:
    small = Case(Text(vocabulary=10, layers=0, embedding=4), (8,), 3, (40,))
    network = small.build()
    assert network.get_parameter("vectors.weight").shape == (10, 4)
    ids = torch.tensor([[5, 9, 10, 39, 2, 0, 0, 0]])
    read = torch.tensor([[5, 9, UNKNOWN, UNKNOWN, 2, 0, 0, 0]])
    assert torch.equal(answer(network, ids), answer(network, read))
    assert not torch.equal(answer(network, ids), answer(network, read.clamp(max=5)))


def test_only_leading_positions_are_read() -> None:
    case = Case(Text(length=3), (8,), 3, (40,))
    ids = case.inputs(4).clamp(min=UNKNOWN)
    changed = ids.clone()
    changed[:, 3:] = 7
    network = case.build()
    assert torch.equal(answer(network, ids), answer(network, changed))
    changed[:, 2] = 7
    assert not torch.equal(answer(network, ids), answer(network, changed))


def test_order_of_words_matters_to_all_bodies_but_the_mean() -> None:
    for name in BODIES:
        case = CASES[name]
        ids = torch.arange(2, 2 + case.shape[0]).unsqueeze(0)
        if name == "text-bag":
            ids = ids.clamp(max=6)[:, :5]
        network = case.build()
        forward, backward = answer(network, ids), answer(network, ids.flip(1))
        assert torch.allclose(forward, backward, atol=1e-6) == (name in ("text-mean", "text-bag"))


def test_factorisation_is_a_product_and_three_biases() -> None:
    network = Case(Recommender(factors=4), (2,), 1, (3, 5)).build()
    with torch.no_grad():
        network.get_parameter("mean").fill_(3.5)
        network.get_parameter("user_bias.weight")[2] = 0.25
        network.get_parameter("item_bias.weight")[4] = -0.5
    user, item = (network.get_parameter(f"{name}.weight").detach() for name in ("user", "item"))
    expected = 3.5 + 0.25 - 0.5 + float(user[2] @ item[4])
    assert float(answer(network, torch.tensor([[2, 4]]))) == pytest.approx(expected, rel=1e-6)


def test_policy_reads_the_latest_readings_only() -> None:
    for body in ("mlp", "recurrent"):
        case = Case(Control(body=body, history=2), (5, 3), 4)
        network, window = case.build(), case.inputs(2)
        older = window.clone()
        older[:, :3] += 1
        assert torch.equal(answer(network, window), answer(network, older))
        older[:, 3] += 1
        assert not torch.equal(answer(network, window), answer(network, older))


def test_recurrent_policy_answers_from_its_last_state() -> None:
    torch.manual_seed(0)
    stack = Stack("gru", 3, (4, 5), reads="last")
    x_BTF = torch.randn(2, 6, 3)
    first, _ = stack.layers[0](x_BTF)
    _, state = stack.layers[1](first)
    torch.testing.assert_close(stack(x_BTF), state[0])


def test_convolutional_text_has_the_flops_counted_by_hand() -> None:
    length, size, width, kernel = 8, 16, 24, 5
    family = Text(body="conv", embedding=size, width=width, kernel=kernel, layers=2)
    network = family.build((length,), 3, (40,))
    convolutions = length * kernel * (size * width + width * width)
    assert count_flops(network, (length,), dtype=torch.int64).total == 2 * (
        convolutions + width * 3
    )


def test_transformer_has_the_flops_counted_by_hand() -> None:
    length, size, width, layers = 6, 32, 48, 2
    case = CASES["text-transformer"]
    projections = 2 * length * 4 * size * size
    feed_forward = 2 * length * 2 * size * width
    attention = attention_flops(batch=1, heads=4, queries=length, keys=length, width=size // 4)
    block = projections + attention + feed_forward
    counted = count_flops(case.build(), (length,), dtype=torch.int64)
    assert counted.total == layers * block + 2 * size * 3


def test_recurrent_text_has_the_flops_counted_by_hand() -> None:
    for name, gates in (("text-gru", 3), ("text-lstm", 4)):
        case = CASES[name]
        assert isinstance(case.family, Text)
        size, width, (length,) = case.family.embedding, case.family.width, case.shape
        widths = [size] + [width] * (case.family.layers - 1)
        steps = sum(gates * (before + width) * width for before in widths)
        counted = count_flops(case.build(), case.shape, dtype=torch.int64)
        assert counted.total == 2 * (length * steps + width * 3)


def test_speech_has_the_flops_counted_by_hand() -> None:
    samples, window, hop, bands = 2000, 256, 128, 16
    frames, rates = (samples - window) // hop + 1, window // 2 + 1
    front = frames * 2 * rates * window + frames * rates * bands
    stages, height, width, before = 0, bands, frames, 1
    for channels in (4, 8, 8):
        stages += height * width * 9 * before * channels
        height, width, before = height // 2, width // 2, channels
    total = 2 * (front + stages + 8 * 4)
    assert count_flops(CASES["speech-conv2d"].build(), (samples,)).total == total
