"""Learning from another network: the loss by hand, every way to name one, every mistake."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from blobs import Blobs, linear, ready, unchanged
from conftest import SMALL, Command
from torch import Generator, Tensor, nn
from torch.nn import functional

from objectives.device import Turnstile
from objectives.distil import check_teacher, teacher_outputs
from objectives.runtimes.module import export_program
from objectives.runtimes.onnx_export import export_onnx
from objectives.tasks import Split, load
from objectives.training import Targets, Training, train
from objectives.training.loss import distilled, loss_of
from search.applying import rebuild
from search.checkpoints import weights_id
from search.errors import InputError
from search.evaluate import evaluate
from search.evaluation import Confirm, Evaluation, Job, Train
from search.keys import keys_of
from search.lessons import check_training
from search.session import Session
from search.spec import read_study
from search.study import StudySpec
from search.teachers import lesson_of
from spaces.candidate import digest

TEACHERS = """
import torch
from torch import nn


def teacher():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5))


def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


def narrow():
    torch.manual_seed(0)
    return nn.Linear(63, 10)


def random():
    torch.seed()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def needy(width):
    return nn.Linear(width, 10)


def text():
    return "a network"


number = 3
"""


# --- the loss ---


def test_distilled_loss_is_cross_entropy_with_soft_targets_less_their_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, generator=generator)
    soft = (teacher / 3).softmax(1)
    entropy = -(soft * soft.log()).sum(1).mean()
    expected = 9 * (functional.cross_entropy(student / 3, soft) - entropy)
    torch.testing.assert_close(distilled(student, teacher, 3.0), expected)
    assert float(distilled(teacher, teacher, 3.0)) == pytest.approx(0, abs=1e-6)


def test_gradient_of_a_hot_teacher_keeps_its_size() -> None:
    """At a high temperature it is the difference of centred logits over K (source, eq. 4)."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 1, 4, generator=generator, dtype=torch.float64)
    student.requires_grad_(True)
    distilled(student, teacher, 1e4).backward()
    centred = [logits - logits.mean() for logits in (student.detach(), teacher)]
    assert student.grad is not None
    torch.testing.assert_close(student.grad, (centred[0] - centred[1]) / 4, rtol=1e-3, atol=1e-5)


def test_teacher_of_numbers_is_matched_by_squares() -> None:
    @dataclasses.dataclass(frozen=True)
    class Numbers(Blobs):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return functional.l1_loss(outputs, targets)

    outputs, targets, teacher = torch.zeros(2, 2), torch.ones(2, 2), torch.full((2, 2), 3.0)
    settings = Training(teacher="given", distil=0.25)
    loss = loss_of(Numbers(), settings, outputs, targets, teacher)
    assert float(loss) == pytest.approx(0.75 * 1 + 0.25 * 9)


@pytest.mark.parametrize("distil", [0.3, 1.0])
def test_step_learns_from_targets_and_teacher_in_the_mixture_of_the_batch(
    distil: float, turnstile: Turnstile
) -> None:
    """One step on all inputs, mixed two ways; the teacher's rows go with the targets'."""
    order = torch.arange(64, -1, -1)
    rows: list[Tensor] = []

    def mix(inputs: Tensor, targets: Tensor, _: Generator) -> tuple[Tensor, Targets]:
        rows.append(inputs[:, 0, 0, 0].long())
        return inputs, ((targets, 0.7), (targets[order], 0.3))

    settings = Training(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1e-3, batch=65,
        teacher="given", distil=distil, temperature=2.0,
    )  # fmt: skip
    part = load(Blobs()).train
    teacher = torch.randn(65, 3, generator=torch.Generator().manual_seed(1))
    progress = ready(Blobs(), settings, epochs=1, net=linear())
    train(
        progress,
        Blobs(),
        settings,
        mix,
        until_epoch=1,
        device="cpu",
        turnstile=turnstile,
        teacher=teacher,
    )
    net = linear()
    outputs = net(part.inputs[rows[0]])
    loss = torch.zeros(())
    for chosen, share in ((rows[0], 0.7), (rows[0][order], 0.3)):
        hard = functional.cross_entropy(outputs, part.targets[chosen])
        soft = distilled(outputs, teacher[chosen], 2.0)
        loss = loss + share * ((1 - distil) * hard + distil * soft)
    loss.backward()
    weight = net.get_parameter("1.weight")
    assert weight.grad is not None
    expected = (weight - 1e-3 * weight.grad).detach()
    torch.testing.assert_close(progress.network.state_dict()["1.weight"], expected)


def test_teacher_without_weight_changes_nothing(turnstile: Turnstile) -> None:
    weights = []
    for teacher in (None, torch.randn(65, 3)):
        settings = Training(batch=16)
        progress = ready(Blobs(), settings, epochs=1)
        train(
            progress,
            Blobs(),
            settings,
            unchanged,
            until_epoch=1,
            device="cpu",
            turnstile=turnstile,
            teacher=teacher,
        )
        weights.append(progress.network.state_dict()["0.weight"])
    assert torch.equal(*weights)


# --- naming one ---


@pytest.fixture
def named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Kind -> name of the same linear network for `Blobs`, named in three ways."""
    monkeypatch.syspath_prepend(str(folder))
    source = "import blobs\n\n\ndef teacher():\n    return blobs.linear()\n"
    (folder / "blob_teacher.py").write_text(source)
    example = torch.randn(2, 1, 4, 4)
    (folder / "model.pt2").write_bytes(export_program(linear().eval(), example))
    (folder / "model.onnx").write_bytes(export_onnx(linear().eval(), example, "torchscript"))
    return {"module": "blob_teacher:teacher", "pt2": "model.pt2", "onnx": "./model.onnx"}


@pytest.mark.parametrize("kind", ["module", "pt2", "onnx"])
def test_teacher_answers_the_training_inputs_in_order(kind: str, named: dict[str, str]) -> None:
    task = Blobs(count=600 + len(kind))
    splits = load(task)
    outputs = teacher_outputs(named[kind], task, "cpu")
    with torch.no_grad():
        expected = linear()(splits.prepare(splits.train.inputs))
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
    assert not outputs.is_inference()
    assert teacher_outputs(named[kind], task, "cpu") is outputs
    assert len(check_teacher(named[kind], splits)) == 16


def test_teacher_is_known_by_its_content_not_its_name(named: dict[str, str]) -> None:
    splits, file = load(Blobs()), Path("model.onnx")
    first = check_teacher("model.onnx", splits)
    Path("copy.onnx").write_bytes(file.read_bytes())
    assert check_teacher("copy.onnx", splits) == first
    other = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    file.write_bytes(export_onnx(other, torch.randn(2, 1, 4, 4), "torchscript"))
    assert check_teacher("model.onnx", splits) != first


# --- in a study ---


@pytest.fixture
def teachers(folder: Path) -> Path:
    """A study with own teachers beside it."""
    (folder / "my_teachers.py").write_text(TEACHERS)
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "taught.yaml").write_text(SMALL)
    return folder / "taught.yaml"


TAUGHT = "space.training={teacher: 'my_teachers:teacher', distil: [0.0, 0.5]}"


def study_of(file: Path, training: str) -> StudySpec:
    return read_study(file, (f"space.training={training}",))


@pytest.mark.parametrize(
    ("training", "place", "told"),
    [
        ("{teacher: 'my_teachers:teacher'}", "teacher", "has no weight; add distil: 0.5"),
        ("{distil: [0.0, 0.5]}", "distil", "there is none; add teacher"),
        ("{teacher: gone.onnx, distil: 0.5}", "teacher", "'gone.onnx' does not exist"),
        ("{teacher: empty.onnx, distil: 0.5}", "teacher", "'empty.onnx' does not load"),
        ("{teacher: resnet, distil: 0.5}", "teacher", "neither 'package.module:name' nor a path"),
        ("{teacher: 'no_such:t', distil: 0.5}", "teacher", "module 'no_such' does not import"),
        ("{teacher: 'my_teachers:nobody', distil: 0.5}", "teacher", "has no function 'nobody'"),
        ("{teacher: 'my_teachers:number', distil: 0.5}", "teacher", "has no function 'number'"),
        ("{teacher: 'my_teachers:needy', distil: 0.5}", "teacher", "called without arguments"),
        ("{teacher: 'my_teachers:text', distil: 0.5}", "teacher", "returned str; return a torch"),
        ("{teacher: 'my_teachers:random', distil: 0.5}", "teacher", "other weights at each call"),
        (
            "{teacher: ['my_teachers:teacher', 'my_teachers:wide'], distil: 0.5}",
            "teacher",
            "'my_teachers:wide' answers two inputs with shape (2, 7), the task needs (2, 10)",
        ),
        (
            "{teacher: 'my_teachers:narrow', distil: 0.5}",
            "teacher",
            "'my_teachers:narrow' fails on inputs of shape (1, 8, 8)",
        ),
    ],
)
def test_mistake_is_told_in_one_line_before_anything_starts(
    training: str, place: str, told: str, teachers: Path
) -> None:
    with pytest.raises(InputError) as caught:
        study_of(teachers, training)
    message = str(caught.value)
    assert told in message
    assert f"space.training.{place}" in message
    assert "\n" not in message


def test_label_smoothing_is_refused_where_targets_are_numbers(teachers: Path) -> None:
    from search.document import read_document

    document = read_document(teachers, ("space.training={label_smoothing: [0.0, 0.1]}",))
    study = study_of(teachers, "{label_smoothing: [0.0, 0.1]}")
    splits = load(study.task)

    def numbers(split: Split) -> Split:
        return dataclasses.replace(split, targets=split.targets.float().unsqueeze(1))

    regression = dataclasses.replace(splits, train=numbers(splits.train))
    with pytest.raises(InputError, match="label_smoothing spreads a target over classes"):
        check_training(document, study.space, regression)
    assert check_training(document, study.space, splits) == {}


def test_changed_teacher_makes_other_candidates(teachers: Path) -> None:
    keys, definitions = [], []
    for width in (8, 9):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, 10)).eval()
        example = torch.randn(2, 1, 8, 8)
        Path("model.onnx").write_bytes(export_onnx(model, example, "torchscript"))
        study = study_of(teachers, "{teacher: model.onnx, distil: 0.5}")
        candidate = study.space.decode(
            {choice.name: 1 for choice in study.space.open_choices}
            | {
                "architecture.convnet.depth": 1,
                "architecture.convnet.width": 4,
                "architecture.convnet.pool": 2,
                "compression.prune.ratio": 0.0,
                "compression.quantize.scheme": "none",
            },
            (1, 8, 8),
        )
        keys.append(keys_of(candidate, study))
        definitions.append(study.definition())
    assert keys[0].train_key != keys[1].train_key
    assert keys[0].recipe_key == keys[1].recipe_key
    assert definitions[0]["space"] != definitions[1]["space"]


def test_study_with_every_training_choice_runs_to_its_front(
    teachers: Path, command: Command
) -> None:
    """Averages, early stop, a teacher, bf16 and pruning with its fine-tuning, in workers."""
    training = (
        "space.training={optimizer: [sgd, rmsprop], schedule: [onecycle, step], momentum: 0.8, "
        "lr: 0.01, clip_norm: 1.0, batch: 32, accumulate: 2, precision: bf16, ema: 0.9, "
        "patience: 1, teacher: 'my_teachers:teacher', distil: [0.0, 0.5], temperature: 2}"
    )
    more = ("space.compression=[prune: {ratio: 0.5}]", "executor={process: {workers: 2}}")
    done = command("run", teachers, "--quiet", training, *more)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    told = command("front", teachers)
    assert "best score" in told.stdout
    again = command("export", teachers, "best", training, *more)
    assert (again.returncode, again.stderr) == (0, "")


# --- the best member so far ---

LEARN_FROM_BEST = (
    "space.training={lr: {low: 0.001, high: 0.01, log: true}, teacher: best, distil: 0.5}"
)


def test_best_member_teaches_whoever_begins_after_it(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by what the jobs carry, in a real study whose candidates train in this process."""
    jobs: list[Train | Confirm] = []

    def noted(job: Job, *args: Any, **kwargs: Any) -> Evaluation:
        if isinstance(job, (Train, Confirm)):
            jobs.append(job)
        return evaluate(job, *args, **kwargs)

    monkeypatch.setattr("search.session.evaluate", noted)
    overrides = ("executor=inline", "search.trials=5", "search.reduction=1", LEARN_FROM_BEST)
    overrides += ("search.fanout=0",)  # a child has the teacher of its parent
    with Session.open(str(small), overrides) as session:
        session.plan()
        session.search("nothing")
        view = session.confirm(1, show=False)
    assert session.state.counts["done"] == 5
    first, *later = {job.trial: job for job in jobs if isinstance(job, Train)}.values()
    assert first.taught_by is None
    number_of = {digest(trial.candidate.as_dict()): trial.number for trial in view.trials}
    scores = {t.number: t.measurements["accuracy"].value for t in view.trials}
    for job in later:
        assert job.taught_by is not None
        teacher = number_of[digest(job.taught_by.as_dict())]
        assert scores[teacher] == max(scores[n] for n in scores if n < job.trial)
    for job in jobs:
        if isinstance(job, Confirm):
            assert job.taught_by != job.candidate


def test_answers_of_the_best_member_are_those_of_its_compressed_network(small: Path) -> None:
    with Session.open(str(small), ("executor=inline", "search.trials=1")) as session:
        session.plan()
        session.search("nothing")
        [member] = session.publish().members
        study = session.study
        settings = Training(teacher="best", distil=0.5)
        told = lesson_of(settings, study, "cpu", member.candidate)
        weights = torch.load(
            Path(study.artifacts) / weights_id(member.candidate, study), weights_only=True
        )
    network, _ = rebuild(member.candidate, study, weights)
    splits = load(study.task)
    with torch.no_grad():
        expected = network(splits.prepare(splits.train.inputs[:20]))
    assert told is not None
    assert told.shape == (len(splits.train), splits.outputs)
    torch.testing.assert_close(told[:20], expected)
    assert lesson_of(settings, study, "cpu", None) is None


def test_best_as_a_teacher_needs_a_weight(small: Path) -> None:
    with pytest.raises(InputError, match="teacher 'best' has no weight; add distil"):
        read_study(str(small), ("space.training={lr: 0.01, teacher: best}",))
