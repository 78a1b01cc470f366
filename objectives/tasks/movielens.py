"""Which films will a user like? Ratings by users of films."""

from typing import Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from objectives.tasks.files import find_file
from objectives.tasks.metrics import RMSE, in_unit
from objectives.tasks.ranking import NDCG
from objectives.tasks.splitting import shuffled
from objectives.tasks.task import Metric, Split, Splits, TaskError, load, squared_error


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class MovieLens:
    """Ratings of 0.5 to 5 stars: 100,836 by 610 users of 9,724 films; 80 / 10 / 10% at random.

    Inputs are (N, 2) ids: user, film, each counted from 0 in the order of their numbers in the
    file. Source: Harper and Konstan 2015, doi:10.1145/2827872 (ml-latest-small).
    """

    root: str | None = None
    """Folder of `movielens_small/ratings.csv`; default `$PARETUNE_DATA/data` or `data`."""
    judged_by: Literal["rmse", "ndcg@10"] = "rmse"
    """The metric: error in stars, or how well each user's judged films are ordered."""
    split_seed: int = 0

    @property
    def metric(self) -> Metric:
        """Root mean squared error in stars, or NDCG@10."""
        return NDCG if self.judged_by == "ndcg@10" else in_unit(RMSE, "stars", lambda: load(self))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Squared error of the standardised rating."""
        return squared_error(load(self), outputs, targets[:, :1])

    def splits(self) -> Splits:
        """Read the ratings; their times are not used."""
        source = "ratings.csv of GroupLens's ml-latest-small"
        path = find_file("movielens", self.root, "movielens_small/ratings.csv", source)
        try:
            table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=(0, 1, 2), ndmin=2)
        except ValueError as error:
            told = str(error).splitlines()[0]
            raise TaskError(f"{path}: {told}; lines are userId,movieId,rating,...") from error
        users, user = np.unique(table[:, 0], return_inverse=True)
        films, film = np.unique(table[:, 1], return_inverse=True)
        inputs = np.stack([user, film], axis=1).astype(np.int64)
        columns = [table[:, 2], user] if self.judged_by == "ndcg@10" else [table[:, 2]]
        targets = np.stack(columns, axis=1).astype(np.float32)
        train, validation, test = (
            Split(inputs=torch.from_numpy(inputs[rows]), targets=torch.from_numpy(targets[rows]))
            for rows in shuffled(len(table), (0.8, 0.1, 0.1), self.split_seed)
        )
        ratings = train.targets[:, 0].double()
        return Splits(
            train=train,
            validation=validation,
            test=test,
            outputs=1,
            vocabulary=(len(users), len(films)),
            target_mean=(float(ratings.mean()),),
            target_std=(float(ratings.std()),),
        )
