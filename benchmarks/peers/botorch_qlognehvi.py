"""BoTorch's qLogNEHVI, told the reference point; choices as one-hot columns.

A `ModelListGP` of exact processes, one an objective, on standardised losses. The acquisition is
taken over 2,000 random networks and all that differ from one of the front's in one choice
(`optimize_acqf_discrete`), as a space of categorical choices is no continuous one. The first 12
are random.
https://botorch.org/docs/tutorials/multi_objective_bo
"""

import warnings

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_discrete
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.mlls import SumMarginalLogLikelihood
from talk import Over, read_problem
from torch.nn.functional import one_hot

FIRST = 12
RANDOM = 2000

warnings.simplefilter("ignore", BotorchWarning)
torch.set_default_dtype(torch.double)
problem = read_problem()
torch.manual_seed(problem.seed)
rng = np.random.default_rng(problem.seed)
counts = np.array(problem.choices)


def columns(networks: np.ndarray) -> torch.Tensor:
    """(n, sum of options)."""
    parts = [one_hot(torch.as_tensor(networks[:, i]), int(n)) for i, n in enumerate(counts)]
    return torch.cat(parts, dim=1).double()


def pool(front: np.ndarray, seen: set[tuple[int, ...]]) -> np.ndarray:
    """Unseen random networks and neighbours of the front."""
    some = {tuple(row) for row in rng.integers(counts, size=(RANDOM, len(counts))).tolist()}
    for member in front.tolist():
        for place, num in enumerate(counts):
            some |= {(*member[:place], option, *member[place + 1 :]) for option in range(num)}
    return np.array(sorted(some - seen))


networks = rng.integers(counts, size=(FIRST, len(counts)))
try:
    losses = np.array([problem.losses(network.tolist()) for network in networks])
    while True:
        x, y = columns(networks), -torch.as_tensor(losses)
        model = ModelListGP(
            *(
                SingleTaskGP(x, y[:, [i]], outcome_transform=Standardize(1))
                for i in range(y.shape[1])
            )
        )
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model,
            ref_point=[-limit for limit in problem.reference],
            X_baseline=x,
            sampler=SobolQMCNormalSampler(torch.Size([128]), seed=problem.seed),
            prune_baseline=True,
        )
        front = networks[is_non_dominated(y).numpy()]
        candidates = pool(front, {tuple(row) for row in networks.tolist()})
        best, _ = optimize_acqf_discrete(
            acquisition, q=1, choices=columns(candidates), max_batch_size=512
        )
        row = int((columns(candidates) == best).all(dim=1).nonzero()[0])
        networks = np.vstack([networks, candidates[row]])
        losses = np.vstack([losses, problem.losses(candidates[row].tolist())])
except Over:
    pass
