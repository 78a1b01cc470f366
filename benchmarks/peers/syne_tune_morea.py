"""Syne Tune's multi-objective regularised evolution, population 20, sample 10 (its default)."""

from ranks import Ranks
from syne_tune.config_space import choice
from syne_tune.optimizer.schedulers.multiobjective.multi_objective_regularized_evolution import (
    MultiObjectiveRegularizedEvolution,
)
from talk import Over, read_problem

problem = read_problem()
names = [f"choice{i}" for i in range(len(problem.choices))]
searcher = MultiObjectiveRegularizedEvolution(
    {name: choice(list(range(n))) for name, n in zip(names, problem.choices, strict=True)},
    population_size=20,
    multiobjective_priority=Ranks(),
    random_seed=problem.seed,
)
try:
    for trial in range(10**6):
        config = searcher.suggest()
        losses = problem.losses([config[name] for name in names])
        searcher.on_trial_complete(trial, config, losses)
except Over:
    pass
