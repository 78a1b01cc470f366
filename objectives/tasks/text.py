"""Sentences with a class each: spam, opinions, kinds of questions. Words become ids here."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import find_file
from objectives.tasks.metrics import ACCURACY, MACRO_F1
from objectives.tasks.splitting import SHARES, by_group
from objectives.tasks.task import Metric, Split, Splits, TaskError, cross_entropy, stratified

PADDING, UNKNOWN = 0, 1
"""Ids of what fills a short sentence, and of every word that the vocabulary lacks."""

METRICS = {"accuracy": ACCURACY, "macro_f1": MACRO_F1}
MetricName = Literal["accuracy", "macro_f1"]

Labelled = tuple[list[str], list[str]]
"""(labels, texts) of equal length."""

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*|\S")


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SMSSpam:
    """Is a text message spam? 5,574 messages, 747 of them spam; 70 / 15 / 15% of each class.

    Messages of the same words are on one side of the split. Source: Almeida et al. 2011,
    doi:10.1145/2034691.2034742.
    """

    root: str | None = None
    """Folder of `sms_spam/SMSSpamCollection.tsv`; default `$PARETUNE_DATA/data` or `data`."""
    length: int = Field(default=32, ge=1, le=4096)
    """Words read of a message; the rest is cut off."""
    vocabulary: int = Field(default=4000, ge=1)
    """Most frequent words of the training part that have an id of their own."""
    judged_by: MetricName = "macro_f1"
    """The metric. Of 100 messages 13 are spam: silence has an accuracy of 87%."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Macro F1, or accuracy."""
        return METRICS[self.judged_by]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read the file; its lines are LABEL, tab, message."""
        path = find_file(
            "sms_spam",
            self.root,
            "sms_spam/SMSSpamCollection.tsv",
            "the UCI data set 228's file SMSSpamCollection",
        )
        labels, texts = _read(path, "\t", "utf-8")
        words = np.array([" ".join(tokens(text)) for text in texts])
        _, first = np.unique(words, return_index=True)
        targets = np.array([labels[row] == "spam" for row in first], dtype=np.int64)
        distinct = stratified(targets, SHARES, self.split_seed)
        parts = [
            ([labels[row] for row in rows], [texts[row] for row in rows])
            for rows in by_group(words, distinct)
        ]
        return _splits(path, parts, ("ham", "spam"), self.length, self.vocabulary)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class SST2:
    """Is a sentence about a film positive? Official 6,920 train, 872 dev, 1,821 test sentences.

    The training part holds whole sentences, not the phrases they consist of. Source: Socher et
    al. 2013, Recursive Deep Models, EMNLP, as split by Kim 2014, arXiv:1408.5882.
    """

    root: str | None = None
    """Folder of `sst2/{train,dev,test}.txt`; default `$PARETUNE_DATA/data` or `data`."""
    length: int = Field(default=32, ge=1, le=4096)
    """Words read of a sentence; the rest is cut off."""
    vocabulary: int = Field(default=8000, ge=1)
    """Most frequent words of the training part that have an id of their own."""
    judged_by: MetricName = "accuracy"
    """The metric."""

    @property
    def metric(self) -> Metric:
        """Accuracy, or macro F1."""
        return METRICS[self.judged_by]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read the official parts; their lines are 0 or 1, space, sentence."""
        paths = [
            find_file(
                "sst2",
                self.root,
                f"sst2/{part}.txt",
                f"stsa.binary.{part} of Kim's sentence classification data",
            )
            for part in ("train", "dev", "test")
        ]
        names = {"0": "negative", "1": "positive"}
        parts = []
        for path in paths:
            labels, texts = _read(path, " ", "utf-8")
            parts.append(([names.get(label, label) for label in labels], texts))
        return _splits(paths[0], parts, ("negative", "positive"), self.length, self.vocabulary)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class TREC6:
    """What kind of answer does a question ask for? Official 500 test of 5,952 questions.

    A sixth of the official training part validates. Source: Li and Roth 2002, Learning Question
    Classifiers, COLING.
    """

    root: str | None = None
    """Folder of `trec6/{train,test}.txt`; default `$PARETUNE_DATA/data` or `data`."""
    length: int = Field(default=16, ge=1, le=4096)
    """Words read of a question; the rest is cut off."""
    vocabulary: int = Field(default=4000, ge=1)
    """Most frequent words of the training part that have an id of their own."""
    judged_by: MetricName = "accuracy"
    """The metric."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Accuracy, or macro F1."""
        return METRICS[self.judged_by]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(outputs, targets)

    def splits(self) -> Splits:
        """Read the official parts; their lines are KIND:FINER_KIND, space, question."""
        found: list[Labelled] = []
        for part in ("train", "test"):
            source = "train_5500.label" if part == "train" else "TREC_10.label"
            path = find_file("trec6", self.root, f"trec6/{part}.txt", f"{source} of the authors")
            labels, texts = _read(path, " ", "latin-1")
            found.append(([label.partition(":")[0] for label in labels], texts))
        classes = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
        labels, texts = found[0]
        targets = np.array([_number(path, label, classes) for label in labels])
        own = [
            ([labels[row] for row in rows], [texts[row] for row in rows])
            for rows in stratified(targets, (5 / 6, 1 / 6), self.split_seed)
        ]
        return _splits(path, [*own, found[1]], classes, self.length, self.vocabulary)


def tokens(text: str) -> list[str]:
    """Words in lower case: runs of letters and digits, apostrophes within; other signs alone.

    >>> tokens("Don't call 0800-123!")
    ["don't", 'call', '0800', '-', '123', '!']
    """
    return _TOKEN.findall(text.lower())


def most_frequent(texts: Sequence[str], count: int) -> dict[str, int]:
    """Word -> id, from 2 by falling frequency in `texts`, equals by alphabet; `count` words."""
    counts = Counter(word for text in texts for word in tokens(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:count]
    return {word: number for number, word in enumerate(ranked, UNKNOWN + 1)}


def encode(texts: Sequence[str], ids: dict[str, int], length: int) -> NDArray[np.int64]:
    """(N, length) ids; short texts end in padding, an empty one is a single unknown word."""
    encoded = np.full((len(texts), length), PADDING, dtype=np.int64)
    for row, text in enumerate(texts):
        found = [ids.get(word, UNKNOWN) for word in tokens(text)[:length]] or [UNKNOWN]
        encoded[row, : len(found)] = found
    return encoded


def _splits(
    path: Path, parts: Sequence[Labelled], classes: tuple[str, ...], length: int, vocabulary: int
) -> Splits:
    """Train, validation and test as ids; the vocabulary is that of train alone."""
    ids = most_frequent(parts[0][1], vocabulary)
    train, validation, test = (
        Split(
            inputs=torch.from_numpy(encode(texts, ids, length)),
            targets=torch.tensor([_number(path, label, classes) for label in labels]),
        )
        for labels, texts in parts
    )
    return Splits(
        train=train,
        validation=validation,
        test=test,
        outputs=len(classes),
        classes=classes,
        vocabulary=(UNKNOWN + 1 + len(ids),),
    )


def _read(path: Path, separator: str, encoding: str) -> Labelled:
    """Lines of LABEL, separator, text."""
    labels, texts = [], []
    for number, line in enumerate(path.read_text(encoding=encoding).split("\n"), 1):
        label, found, text = line.partition(separator)
        if found:
            labels.append(label)
            texts.append(text)
        elif line:
            raise TaskError(f"{path} line {number}: {line[:40]!r} is not a label and a text")
    return labels, texts


def _number(path: Path, label: str, classes: tuple[str, ...]) -> int:
    if label not in classes:
        raise TaskError(f"{path}: {label!r} is none of the labels {', '.join(classes)}")
    return classes.index(label)
