"""NePS's Bayesian optimization, told the reference point: qLogNEHVI for several objectives."""

import logging
import random
import warnings

import neps
import numpy as np
import torch
from neps.optimizers import algorithms
from talk import Over, read_problem

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
problem = read_problem()
random.seed(problem.seed)
np.random.seed(problem.seed)
torch.manual_seed(problem.seed)
names = [f"choice{i}" for i in range(len(problem.choices))]
space = neps.SearchSpace(
    {
        name: neps.HPOCategorical([f"option{i}" for i in range(num)])
        for name, num in zip(names, problem.choices, strict=True)
    }
)
optimizer = neps.AskAndTell(
    algorithms.bayesian_optimization(space, reference_point=tuple(problem.reference))
)
try:
    while True:
        trial = optimizer.ask()
        options = [int(str(trial.config[name]).removeprefix("option")) for name in names]
        optimizer.tell(trial.metadata.id, {"objective_to_minimize": problem.losses(options)})
except Over:
    pass
