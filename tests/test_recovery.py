"""Compression inside a candidate's life: training in steps, distillation, what is stored."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from objectives.device import MACHINE, Turnstile
from objectives.tasks import load
from objectives.tasks.digits import Digits
from search.applying import real_inputs, rebuild
from search.bench import Bench
from search.compressing import compress
from search.errors import InputError
from search.evaluate import evaluate, price
from search.evaluation import Evaluation, Price, Train
from search.recovery import Recovery, Taught, taught
from search.spec import read_study
from search.study import StudySpec
from spaces.augmentation import Augmentation
from spaces.candidate import Candidate
from spaces.compression import Lesson
from spaces.compression.sparsify import sparse_weights

PIPELINES = {
    "iterative": "[{prune: {ratio: 0.5, schedule: iterative, rounds: 2, importance: taylor}}]",
    "parts": "[{prune: {parts: 2, ratio: {per_stage: [0.5, 0.0]}, finetune_epochs: 0}}, "
    "{distil: {epochs: 1}}]",
    "sparse": "[{sparsify: {pattern: unstructured, share: 0.75}}, {finetune: {epochs: 1}}, "
    "{quantize: {scheme: int8_aware}}]",
    "low rank": "[{factorise: {rank: 0.25}}, {fuse: {batch_norm: true}}, "
    "{quantize: {scheme: int8_dynamic}}]",
    "half": "[{prune: {ratio: 0.5}}, {quantize: {scheme: fp16}}]",
    "four bits": "[{quantize: {scheme: int4}}]",
}

STUDY = """
name: small
task: digits
space:
  architecture: {{convnet: {{depth: 2, width: 16}}}}
  training: {{lr: 0.03}}
  compression: {compression}
targets:
  cpu: {{runtime: {runtime}}}
objectives: [accuracy, flops, size]
search: {{sampler: random, trials: 2, rungs: [3], plan: 8}}
executor: inline
storage: sqlite:///small.db
"""


def study_of(folder: Path, compression: str, runtime: str = "onnxruntime") -> StudySpec:
    path = folder / "small.yaml"
    path.write_text(STUDY.format(compression=compression, runtime=runtime))
    return read_study(path)


def first_candidate(study: StudySpec) -> Candidate:
    """Every choice at the first value of its domain."""
    values = {choice.name: choice.domain.values[0] for choice in study.space.open_choices}
    return study.space.decode(values, load(study.task).input_shape)


def _to_the_end(candidate: Candidate) -> Train:
    return Train(trial=0, candidate=candidate, until_epoch=3, checkpoint=None)


def bench() -> Bench:
    return Bench("cpu", 1, Turnstile(MACHINE))


@pytest.mark.parametrize("name", PIPELINES)
def test_pipeline_is_priced_trained_scored_and_rebuilt(name: str, folder: Path) -> None:
    study = study_of(folder, PIPELINES[name])
    candidate = first_candidate(study)
    priced = evaluate(Price(trial=0, candidate=candidate), study, "cpu", 1)
    assert priced.status == "priced", priced.reason
    trained = evaluate(_to_the_end(candidate), study, "cpu", 1)
    assert trained.status == "done", trained.reason
    assert trained.measurements["accuracy"].value > 0.2
    stored = torch.load(Path(study.artifacts) / trained.artifacts[1].id, weights_only=True)
    network, precision = rebuild(candidate, study, stored)
    assert precision == {"low rank": "int8_dynamic", "half": "fp16", "four bits": "int4"}.get(
        name, "int8" if name == "sparse" else "fp32"
    )
    with torch.no_grad():
        assert network(real_inputs(study, 4)).isfinite().all()


def test_zeros_outlive_every_later_step_of_the_pipeline(folder: Path) -> None:
    study = study_of(folder, PIPELINES["sparse"])
    candidate = first_candidate(study)
    torch.manual_seed(0)
    network = study.space.build(candidate, *load(study.task).signature)
    compress(network, candidate, study, bench())
    for _, weight in sparse_weights(network):
        assert int((weight == 0).sum()) >= int(0.75 * weight.numel())


def test_candidate_comes_back_from_its_parameters_with_a_ratio_for_each_part(
    folder: Path,
) -> None:
    study = study_of(
        folder, "[{prune: {parts: 3, ratio: {per_stage: [0.25, 0.0, 0.5]}}}, quantize]"
    )
    names = [choice.name for choice in study.space.open_choices]
    assert names == [f"compression.prune.ratio.{part}" for part in (1, 2, 3)]
    for values in study.space.assignments(100) or []:
        candidate = study.space.decode(values, (1, 8, 8))
        assert study.space.decode(study.space.encode(candidate), (1, 8, 8)) == candidate
        assert bool(candidate.compression) == any(values.values())


def test_scheme_without_a_kernel_is_refused_when_the_study_is_read(folder: Path) -> None:
    for scheme in ("int4", "int8_dynamic", "int8_aware"):
        with pytest.raises(InputError, match=f"target 'cpu' cannot run '{scheme}'"):
            study_of(folder, f"[{{quantize: {{scheme: [none, {scheme}]}}}}]", "eager")


def test_network_that_a_step_refuses_costs_no_training(folder: Path) -> None:
    path = folder / "small.yaml"
    text = STUDY.format(
        compression="[{prune: {ratio: 0.5, importance: bn_scale}}]", runtime="onnxruntime"
    )
    path.write_text(text.replace("convnet: {depth: 2, width: 16}", "lenet: {width: 2.0}"))
    study = read_study(path)
    priced = evaluate(Price(trial=0, candidate=first_candidate(study)), study, "cpu", 1)
    assert priced.status == "failed"
    assert priced.reason.startswith("prune: importance bn_scale needs a batch norm")


def test_compressed_size_falls_with_the_share_of_zeros(folder: Path) -> None:
    sizes = []
    for share in (0.5, 0.9):
        pipeline = f"[{{sparsify: {{pattern: unstructured, share: {share}}}}}]"
        study = study_of(folder, pipeline)
        zipped = read_study(folder / "small.yaml", ("objectives.2={size: {compressed: true}}",))
        job = Price(trial=0, candidate=first_candidate(study), again=True)
        sizes.append(
            [price(job, each, bench()).measurements["size"].value for each in (study, zipped)]
        )
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][0] > sizes[0][1] > 1.5 * sizes[1][1]


# --- rungs ---


def test_rungs_on_the_way_score_the_network_before_compression(folder: Path) -> None:
    """Of two candidates of one training the scores differ at the last rung only."""
    study_of(folder, "[{prune: {ratio: [0.0, 0.75]}}, {quantize: {scheme: [none, int8]}}]")
    study = read_study(folder / "small.yaml", ("search.rungs=[1, 3]",))
    plain, _, _, strong = (
        study.space.decode(values, (1, 8, 8)) for values in study.space.assignments(10) or []
    )
    assert not plain.compression
    assert [name for name, _ in strong.compression] == ["prune", "quantize"]

    def scored(candidate: Candidate, epochs: int) -> Evaluation:
        job = Train(trial=0, candidate=candidate, until_epoch=epochs, checkpoint=None)
        return evaluate(job, study, "cpu", 1)

    first, last = scored(strong, 1), scored(strong, 3)
    first_of_plain, last_of_plain = scored(plain, 1), scored(plain, 3)
    assert (first.status, last.status) == ("trained", "done")
    assert first.measurements == first_of_plain.measurements
    assert last.measurements != last_of_plain.measurements
    assert set(first.seconds) & {"compress", "deploy"} == set()
    assert last.seconds["compress"] > 0
    assert [file.kind for file in first.artifacts] == ["checkpoint"]
    assert [file.kind for file in last.artifacts] == ["checkpoint", "weights"]


# --- distillation ---


def test_distance_is_the_divergence_of_the_softened_distributions() -> None:
    student, teacher = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    t = 4.0
    p, q = (teacher / t).softmax(1), (student / t).softmax(1)
    expected = t**2 * (p * (p / q).log()).sum()
    task = Taught(Digits(), t)
    torch.testing.assert_close(task.loss(student, teacher), expected)
    assert task.loss(student, student).abs() < 1e-6
    hard = torch.tensor([1])
    torch.testing.assert_close(task.loss(student, hard), functional.cross_entropy(student, hard))


def test_lesson_weighs_teacher_and_targets_and_shows_the_teacher_what_the_student_sees() -> None:
    seen: list[Tensor] = []

    class Teacher(torch.nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs)
            return torch.ones(len(inputs), 3)

    lesson = Lesson(teacher=Teacher(), weight=0.75, temperature=2.0)
    augment = taught(Augmentation(noise=0.5, mixup=0.4), lesson, "cpu")
    inputs, targets = torch.randn(4, 1, 8, 8), torch.arange(4)
    changed, weighted = augment(inputs, targets, torch.Generator().manual_seed(0))
    assert torch.equal(seen[0], changed)
    assert not torch.equal(changed, inputs)
    assert sum(weight for _, weight in weighted) == pytest.approx(1.0)
    assert weighted[-1][1] == 0.75
    assert torch.equal(weighted[-1][0], torch.ones(4, 3))


def test_student_moves_towards_its_teacher(folder: Path) -> None:
    """With all weight on the teacher, the student agrees with it more than with the targets."""
    study = study_of(folder, "[{distil: {epochs: 3, weight: 1.0, lr: 1.0}}]")
    candidate = first_candidate(study)
    splits = load(study.task)
    torch.manual_seed(1)
    teacher = study.space.build(candidate, *splits.signature)  # never trained
    student = study.space.build(candidate, *splits.signature)
    inputs = splits.prepare(splits.validation.inputs)
    with torch.no_grad():
        wanted = teacher.eval()(inputs)
        before = functional.mse_loss(student.eval()(inputs), wanted)
    recovery = Recovery(teacher, study.task, _finetune_of(candidate, study))
    step = study.space.pipeline(candidate)[0][1]
    step.learn(student, inputs, recovery)
    with torch.no_grad():
        after = functional.mse_loss(student(inputs), wanted)
    assert after < 0.5 * before


def _finetune_of(candidate: Candidate, study: StudySpec) -> object:
    import functools

    from search.learning import finetune

    return functools.partial(finetune, candidate, study, bench(), None)


def test_losses_come_from_one_batch_of_the_training_split_after_the_other() -> None:
    seen = []

    class Identity(torch.nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs)
            return inputs.flatten(1)[:, :10]

    recovery = Recovery(Identity(), Digits(), lambda *_: None)
    splits = load(Digits())
    for _ in range(2):
        assert recovery.loss(Identity()).isfinite()
    assert torch.equal(torch.cat(seen), splits.prepare(splits.train.inputs[:128]))
