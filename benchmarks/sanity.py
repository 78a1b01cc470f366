"""Simple models on the very splits of our tasks: python -m benchmarks.sanity [CASE ...].

The README of the data states one score of a simple model for each data set, some of them on other
splits: more training data, repeated messages on both sides. The same models, trained on the
training part that our candidates see and scored on the same test part, say what these figures
are worth here. Needs scikit-learn only.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from objectives.tasks import Task, load
from objectives.tasks.movielens import MovieLens
from objectives.tasks.robot_arms import Kin8nm, Sarcos
from objectives.tasks.task import Split, Splits
from objectives.tasks.text import SST2, TREC6, SMSSpam
from objectives.tasks.wall_following import WallFollowing

WHOLE_TEXTS = {"length": 256, "vocabulary": 100_000}
"""Linear models of words need no limit."""
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse regularisation of the logistic regression."""
DAMPING = 5.0
"""Ratings by which a user's or film's bias is drawn to 0."""


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(MODELS), help=", ".join(MODELS))
    for case in parser.parse_args().cases:
        print(f"{case:16} {sanity_of(case):.4f}")


def sanity_of(case: str) -> float | None:
    """Score of the case's simple model on our test split; None where there is none."""
    if case not in MODELS:
        return None
    task, model = MODELS[case]
    return model(load(task))


def words(score: Callable[[Any, Any], float]) -> Callable[[Splits], float]:
    """TF-IDF of words and pairs of words, logistic regression; its C by the validation part."""

    def model(splits: Splits) -> float:
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\d+")
        train = vectorizer.fit_transform(_sentences(splits.train))
        linears = [
            LogisticRegression(max_iter=1000, C=c).fit(train, splits.train.targets.numpy())
            for c in STRENGTHS
        ]

        def scored(linear: LogisticRegression, split: Split) -> float:
            told = linear.predict(vectorizer.transform(_sentences(split)))
            return float(score(split.targets.numpy(), told))

        best = max(linears, key=lambda linear: scored(linear, splits.validation))
        return scored(best, splits.test)

    return model


def biases(splits: Splits) -> float:
    """RMSE of mean + bias of the user + bias of the film, by alternating damped means."""
    (user, film), stars = splits.train.inputs.numpy().T, splits.train.targets[:, 0].numpy()
    mean = stars.mean()
    of_user, of_film = (np.zeros(size) for size in splits.vocabulary)
    for _ in range(10):
        of_film = _damped(film, stars - mean - of_user[user], len(of_film))
        of_user = _damped(user, stars - mean - of_film[film], len(of_user))
    user, film = splits.test.inputs.numpy().T
    error = mean + of_user[user] + of_film[film] - splits.test.targets[:, 0].numpy()
    return float(np.sqrt(np.mean(error**2)))


def moments(splits: Splits) -> float:
    """Accuracy of one hidden layer of 64 on the newest readings."""
    scaler = StandardScaler().fit(splits.train.inputs.numpy())
    network = MLPClassifier(hidden_layer_sizes=(64,), max_iter=1000, random_state=0)
    network.fit(scaler.transform(splits.train.inputs.numpy()), splits.train.targets.numpy())
    told = network.predict(scaler.transform(splits.test.inputs.numpy()))
    return float(accuracy_score(splits.test.targets.numpy(), told))


def numbers(
    layers: tuple[int, ...], score: Callable[[Any, Any], float]
) -> Callable[[Splits], float]:
    """Hidden layers on standardised inputs and targets."""

    def model(splits: Splits) -> float:
        inputs, targets = StandardScaler(), StandardScaler()
        x = inputs.fit_transform(splits.train.inputs.numpy())
        y = targets.fit_transform(splits.train.targets.numpy())
        network = MLPRegressor(hidden_layer_sizes=layers, max_iter=500, random_state=0).fit(
            x, y.squeeze()
        )
        told = network.predict(inputs.transform(splits.test.inputs.numpy()))
        told = targets.inverse_transform(told.reshape(len(told), -1))
        return score(splits.test.targets.numpy(), told)

    return model


def nmse(targets: NDArray[np.float32], outputs: NDArray[np.float64]) -> float:
    """Mean over the columns of squared error through variance."""
    return float(np.mean(np.mean((targets - outputs) ** 2, 0) / np.var(targets, 0)))


def rmse(targets: NDArray[np.float32], outputs: NDArray[np.float64]) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((targets - outputs) ** 2)))


def macro_f1(targets: NDArray[np.int64], outputs: NDArray[np.int64]) -> float:
    """Mean F1 of the classes."""
    return float(f1_score(targets, outputs, average="macro"))


def _sentences(split: Split) -> list[str]:
    """Ids as words; 0 is padding."""
    return [" ".join(str(i) for i in row if i) for row in split.inputs.tolist()]


def _damped(group: NDArray[np.int64], rest: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    counts = np.bincount(group, minlength=size)
    return np.bincount(group, rest, minlength=size) / (counts + DAMPING)


MODELS: dict[str, tuple[Task, Callable[[Splits], float]]] = {
    "sms_spam": (SMSSpam(judged_by="macro_f1", **WHOLE_TEXTS), words(macro_f1)),
    "sst2": (SST2(**WHOLE_TEXTS), words(accuracy_score)),
    "trec6": (TREC6(**WHOLE_TEXTS), words(accuracy_score)),
    "movielens": (MovieLens(), biases),
    "wall_following": (WallFollowing(), moments),
    "sarcos": (Sarcos(), numbers((64, 64), nmse)),
    "kin8nm": (Kin8nm(), numbers((50, 50), rmse)),
}
"""Case -> task and model, as the README of the data names it."""


if __name__ == "__main__":
    main()
