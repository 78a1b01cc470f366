"""Sentences, ratings, speech, control: each task against a second reading of its files."""

import hashlib
import pickle
import struct
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from objectives.tasks import TaskError, load
from objectives.tasks.cifar10 import CIFAR10
from objectives.tasks.movielens import MovieLens
from objectives.tasks.robot_arms import Kin8nm, Sarcos
from objectives.tasks.spoken_digits import SpokenDigits
from objectives.tasks.text import SST2, TREC6, SMSSpam, encode, most_frequent, tokens
from objectives.tasks.wall_following import CLASSES, WallFollowing


def test_words_have_ids_by_falling_frequency_then_alphabet() -> None:
    ids = most_frequent(["b a b", "c b, a"], 3)
    assert ids == {"b": 2, "a": 3, ",": 4}
    encoded = encode(["a b zebra a a", "b", ""], ids, 4)
    assert encoded.tolist() == [[3, 2, 1, 3], [2, 0, 0, 0], [1, 0, 0, 0]]


def test_tokens_are_words_in_lower_case_and_single_signs() -> None:
    assert tokens("It's £5_now!!") == ["it's", "£", "5", "_", "now", "!", "!"]
    assert tokens(" \t ") == []


def write_messages(folder: Path, lines: list[str]) -> Path:
    (folder / "sms_spam").mkdir()
    path = folder / "sms_spam" / "SMSSpamCollection.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_words_of_validation_and_test_alone_are_unknown(tmp_path: Path) -> None:
    write_messages(tmp_path, [f"{'spam' if n % 2 else 'ham'}\tcommon own{n}" for n in range(40)])
    splits = SMSSpam(root=str(tmp_path), length=2).splits()
    assert splits.vocabulary == (2 + 1 + len(splits.train),)
    assert set(splits.train.inputs[:, 1].tolist()) == set(range(3, 3 + len(splits.train)))
    for part in (splits.validation, splits.test):
        assert part.inputs.tolist() == [[2, 1]] * len(part)


def test_repeated_message_is_on_one_side_with_all_its_copies(tmp_path: Path) -> None:
    lines = [f"{'spam' if n % 2 else 'ham'}\tword{n % 30} x" for n in range(90)]
    write_messages(tmp_path, lines)
    splits = SMSSpam(root=str(tmp_path), vocabulary=100).splits()
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 90
    assert {len(part) % 3 for part in (splits.train, splits.validation, splits.test)} == {0}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "no tab here",
            r"\.tsv line 41: 'no tab here' is not a label and a text",
        ),
        ("eggs\ttext", r"'eggs' is none of the labels ham, spam"),
    ],
)
def test_line_without_a_known_label_is_told(tmp_path: Path, line: str, problem: str) -> None:
    right = [f"{'spam' if n % 2 else 'ham'}\ttext {n}" for n in range(40)]
    write_messages(tmp_path, [*right, line])
    with pytest.raises(TaskError, match=problem):
        SMSSpam(root=str(tmp_path)).splits()


def test_sentences_keep_their_official_parts(data: Path) -> None:
    splits = load(SST2())
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        6920,
        872,
        1821,
    ]
    lines = (data / "data" / "sst2" / "test.txt").read_text(encoding="utf-8").splitlines()
    assert splits.test.targets.tolist() == [int(line[0]) for line in lines]
    words = Counter(
        word
        for line in (data / "data" / "sst2" / "train.txt").read_text("utf-8").splitlines()
        for word in tokens(line[2:])
    )
    long = load(SST2(length=200))
    ranked = sorted(words, key=lambda word: (-words[word], word))
    for number, word in ((2, ranked[0]), (1000, ranked[998])):
        assert int((long.train.inputs == number).sum()) == words[word]


def test_questions_have_their_official_test_part_and_six_classes(data: Path) -> None:
    splits = load(TREC6())
    lines = (data / "data" / "trec6" / "test.txt").read_text(encoding="latin-1").splitlines()
    names = [splits.classes[label] for label in splits.test.targets]
    assert names == [line.partition(":")[0] for line in lines]
    assert len(splits.train) + len(splits.validation) == 5452


def test_ratings_are_those_of_the_file(data: Path) -> None:
    splits = load(MovieLens())
    table = np.loadtxt(
        data / "data" / "movielens_small" / "ratings.csv", delimiter=",", skiprows=1
    )
    users, films = np.unique(table[:, 0]), np.unique(table[:, 1])
    assert splits.vocabulary == (len(users), len(films)) == (610, 9724)
    known = {(row[0], row[1]): row[2] for row in table}
    for part, share in ((splits.train, 0.8), (splits.validation, 0.1), (splits.test, 0.1)):
        assert len(part) == pytest.approx(share * len(table), abs=1)
        pairs = zip(part.inputs[:200].tolist(), part.targets[:200, 0].tolist(), strict=True)
        assert all(known[users[user], films[film]] == stars for (user, film), stars in pairs)


def test_ranking_is_perfect_by_the_ratings_and_poor_against_them(data: Path) -> None:
    task = MovieLens(judged_by="ndcg@10")
    splits = load(task)
    targets = splits.validation.targets
    assert targets.shape == (len(splits.validation), 2)
    assert torch.equal(targets[:, 1].long(), splits.validation.inputs[:, 0])
    assert task.metric.score(targets[:, :1], targets).value == 1.0
    constant = task.metric.constant(splits.train.targets, targets)
    assert task.metric.score(-targets[:, :1], targets).value < constant < 1
    loss = task.loss(splits.standardise(targets[:, :1]), targets)
    assert float(loss) == pytest.approx(0, abs=1e-10)


def write_recordings(folder: Path, length: int = 400) -> Path:
    """Two voices say two digits twelve times; sample i of a file is i."""
    files = folder / "fsdd" / "recordings"
    files.mkdir(parents=True)
    for name in [f"{d}_{who}_{n}.wav" for d in (0, 9) for who in "ab" for n in range(12)]:
        with wave.open(str(files / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(struct.pack(f"<{length}h", *range(length)))
    return files


def test_recordings_are_cut_or_padded_with_silence(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    short = SpokenDigits(root=str(tmp_path), seconds=0.025).splits()
    assert short.train.inputs[0].tolist() == list(range(200))
    long = SpokenDigits(root=str(tmp_path), seconds=0.1).splits()
    assert long.train.inputs[0].tolist() == [*range(400), *[0] * 400]
    assert [len(part) for part in (long.train, long.validation, long.test)] == [8, 20, 20]


def test_voice_that_is_left_out_is_all_of_the_test(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    splits = SpokenDigits(root=str(tmp_path), leave_out="b").splits()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 10, 24]
    with pytest.raises(TaskError, match=r"nobody is called 'zoe'; leave_out is one of a, b"):
        SpokenDigits(root=str(tmp_path), leave_out="zoe").splits()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("0_a_0.wav", None, r"0_a_0\.wav holds no sound"),
        ("0_a_0.wav", b"noise", r"0_a_0\.wav cannot be read .*; repair or remove it"),
        ("zero_a_0.wav", None, r"zero_a_0\.wav is not named DIGIT_SPEAKER_TAKE\.wav"),
    ],
)
def test_unusable_recording_is_named(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    files = write_recordings(tmp_path)
    if content is not None:
        (files / name).write_bytes(content)
    else:
        with wave.open(str(files / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
    with pytest.raises(TaskError, match=problem):
        SpokenDigits(root=str(tmp_path)).splits()


def test_recording_of_another_rate_is_not_read_as_if_it_were_slower(tmp_path: Path) -> None:
    files = write_recordings(tmp_path)
    with wave.open(str(files / "0_a_0.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(b"\0" * 400)
    with pytest.raises(TaskError, match=r"0_a_0\.wav is not mono, 16 bit, 8 kHz"):
        SpokenDigits(root=str(tmp_path)).splits()


def test_spoken_digits_have_the_official_test_takes(data: Path) -> None:
    splits = load(SpokenDigits())
    with np.load(data / "data" / "fsdd" / "fsdd_8khz_int16.npz") as arrays:
        labels, takes = arrays["labels"], arrays["take"]
        start, end = arrays["offsets"][:2]
        first = arrays["waveforms"][start:end]
    assert sorted(splits.test.targets.tolist()) == sorted(labels[takes < 5].tolist())
    assert splits.test.inputs[0, : len(first)].tolist() == first.tolist()
    assert not splits.test.inputs[0, len(first) :].any()


def test_readings_are_split_in_time_and_windows_end_at_what_is_decided(data: Path) -> None:
    path = data / "data" / "wall_following" / "sensor_readings_24.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    single, windows = load(WallFollowing()), load(WallFollowing(window=4))
    together = torch.cat([single.train.inputs, single.validation.inputs, single.test.inputs])
    assert together.shape == (len(rows), 24)
    assert together[1000].tolist() == pytest.approx([float(cell) for cell in rows[1000][:24]])
    assert windows.input_shape == (4, 24)
    for part, whole in ((windows.train, single.train), (windows.test, single.test)):
        assert len(part) == len(whole) - 3
        assert torch.equal(part.targets, whole.targets[3:])
        assert torch.equal(part.inputs[7], whole.inputs[7:11])
    last = [CLASSES[label] for label in single.test.targets]
    assert last == [row[24] for row in rows[-len(last) :]]


def test_reading_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "wall_following").mkdir()
    path = tmp_path / "wall_following" / "sensor_readings_24.csv"
    row = ",".join(["1.0"] * 24)
    path.write_text(f"{row},Move-Forward\n{row},Fly\n")
    with pytest.raises(TaskError, match=r"reading 1 is not 24 numbers and one of Move-Forward"):
        WallFollowing(root=str(tmp_path)).splits()


def test_arms_keep_every_row_once(data: Path) -> None:
    torques = np.load(data / "data" / "sarcos_test" / "sarcos_inv_test.npy").astype(np.float32)
    hands = np.loadtxt(data / "data" / "kin8nm" / "kin8nm.txt").astype(np.float32)
    for task, table, inputs in ((Sarcos(), torques, 21), (Kin8nm(), hands, 8)):
        splits = load(task)
        parts = (splits.train, splits.validation, splits.test)
        ours = np.concatenate([np.hstack([part.inputs, part.targets]) for part in parts])
        assert splits.input_shape == (inputs,)
        assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, table.tolist()))


def test_photographs_are_those_of_the_files_with_their_labels(data: Path) -> None:
    from PIL import Image

    splits = load(CIFAR10(images="subset"))
    folder = data / "data" / "cifar10_subset"
    with Image.open(folder / "test.png") as picture:
        first = np.asarray(picture)[:32]
    assert splits.test.inputs[0].permute(1, 2, 0).tolist() == first.tolist()
    with np.load(folder / "labels.npz") as arrays:
        assert splits.test.targets.tolist() == arrays["y_test"].tolist()
        assert splits.classes == tuple(arrays["classes"])
    assert [len(part) for part in (splits.train, splits.validation)] == [12_500, 2500]


def test_official_photographs_are_read_by_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10 as Official

    folder = tmp_path / Official.base_folder
    folder.mkdir()

    def write(name: str, content: dict[str, object]) -> tuple[str, str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    pixels = np.arange(60 * 3072, dtype=np.int64).reshape(60, 3072).astype(np.uint8)
    labels = [row % 10 for row in range(60)]
    train = write("data_batch_1", {"data": pixels, "labels": labels})
    test = write("test_batch", {"data": pixels[:10], "labels": labels[:10]})
    name, digest = write("batches.meta", {"label_names": [f"kind{n}" for n in range(10)]})
    monkeypatch.setattr(Official, "train_list", [train])
    monkeypatch.setattr(Official, "test_list", [test])
    monkeypatch.setattr(Official, "meta", {"filename": name, "key": "label_names", "md5": digest})
    splits = CIFAR10(root=str(tmp_path)).splits()
    assert splits.classes[3] == "kind3"
    assert splits.test.inputs.flatten(1).tolist() == pixels[:10].tolist()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [50, 10, 10]
