"""Multi-objective BANANAS on a table, as Archai 1.0 had it, which is not maintained any more.

Each iteration fits an ensemble of networks to the errors, mutates the best so far, draws one error
for each mutant from its prediction (Thompson), takes the costs as they are, and trains those of
the best non-dominated ranks. Numbers are Archai's defaults (`MoBananasSearch`,
`PredictiveDNNEnsemble`), but that iterations go on until the budget is spent.

Source: White et al. 2021, arXiv:1910.11858 (BANANAS); Guerrero-Viu et al. 2021, arXiv:2105.01015
(more than one objective).
"""

import numpy as np
import torch
from torch import nn

from benchmarks.search_problems import Array, Problem
from search.strategy.rungs import Rung

FIRST = 10
PARENTS = 10
MUTATIONS = 5
PATIENCE = 30
CHOSEN = 10
MEMBERS, LAYERS, WIDTH = 5, 5, 64
STEPS, LR = 2000, 1e-4


def mobananas(problem: Problem, seed: int, trainings: int) -> list[int]:
    """Networks in the order of their training."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    found = rng.choice(len(problem.losses), FIRST, replace=False).tolist()
    while len(found) < trainings:
        ensemble = [Member(problem, found) for _ in range(MEMBERS)]
        parents = [found[i] for i in np.argsort(_ranks(problem.losses[found]), kind="stable")]
        mutants = _mutants(problem, parents[:PARENTS], set(found), rng)
        if not mutants:
            break
        guesses = np.stack([member(problem.choices[mutants]) for member in ensemble])
        drawn = guesses.mean(0) + guesses.std(0) * rng.standard_normal(len(mutants))
        losses = np.column_stack([drawn, problem.losses[mutants][:, 1:]])
        order = np.lexsort([rng.random(len(mutants)), _ranks(losses)])
        found += [mutants[i] for i in order[:CHOSEN]]
    return found[:trainings]


def _mutants(
    problem: Problem, parents: list[int], seen: set[int], rng: np.random.Generator
) -> list[int]:
    """Unseen networks that differ from a parent in one choice."""
    mutants: dict[int, None] = {}
    for parent in parents:
        own: dict[int, None] = {}
        for _ in range(PATIENCE):
            child = problem.choices[parent].tolist()
            place = int(rng.integers(len(child)))
            child[place] = (child[place] + int(rng.integers(1, len(problem.options)))) % len(
                problem.options
            )
            row = problem.row_of(child)
            if row not in seen and len(own) < MUTATIONS:
                own[row] = None
        mutants |= own
    return list(mutants)


def _ranks(losses: Array) -> Array:
    """Non-dominated rank of each, 0 for the front."""
    rung = Rung(losses.shape[1])
    for row in losses:
        rung.add(row)
    return np.array(rung.ranks)


class Member:
    """One network of the ensemble, with the scales of what it learned from."""

    def __init__(self, problem: Problem, found: list[int]) -> None:
        self.num_options = len(problem.options)
        inputs, targets = self._inputs(problem.choices[found]), problem.losses[found, 0]
        self.mean, self.std = inputs.mean(0), inputs.std(0) + 1e-7
        self.middle, self.spread = targets.mean(), targets.std() + 1e-7
        x = torch.tensor((inputs - self.mean) / self.std, dtype=torch.float32)
        y = torch.tensor((targets - self.middle) / self.spread, dtype=torch.float32)
        layers: list[nn.Module] = [nn.Linear(x.shape[1], WIDTH), nn.ReLU()]
        for _ in range(LAYERS - 2):
            layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(WIDTH, 1))
        optimizer = torch.optim.Adam(self.network.parameters(), lr=LR)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (self.network(x)[:, 0] - y).square().sum().backward()
            optimizer.step()

    def __call__(self, choices: Array) -> Array:
        """Errors of networks."""
        x = (self._inputs(choices) - self.mean) / self.std
        with torch.no_grad():
            unit = self.network(torch.tensor(x, dtype=torch.float32))[:, 0].numpy()
        return np.asarray(unit * self.spread + self.middle)

    def _inputs(self, choices: Array) -> Array:
        """(n, d options) one column for each option of each choice."""
        return np.eye(self.num_options)[choices].reshape(len(choices), -1)
