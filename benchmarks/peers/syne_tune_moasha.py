"""Syne Tune's MO-ASHA: random networks, stopped at rungs by non-dominated rank."""

from datetime import datetime

import numpy as np
from ranks import Ranks
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
from talk import Over, read_problem

problem = read_problem()
np.random.seed(problem.seed)
names = [f"choice{i}" for i in range(len(problem.choices))]
metrics = [f"loss{i}" for i in range(len(problem.reference))]
scheduler = MOASHA(
    {name: choice(list(range(n))) for name, n in zip(names, problem.choices, strict=True)},
    metrics=metrics,
    time_attr="epoch",
    max_t=problem.rungs[-1],
    grace_period=problem.rungs[0],
    reduction_factor=problem.rungs[-1] / problem.rungs[-2],
    multiobjective_priority=Ranks(),
    random_seed=problem.seed,
)
try:
    for number in range(10**6):
        config = scheduler.suggest().config
        trial = Trial(trial_id=number, config=config, creation_time=datetime.now())
        scheduler.on_trial_add(trial)
        for epoch in problem.rungs:
            losses = problem.losses([config[name] for name in names], epoch)
            result = {"epoch": epoch, **dict(zip(metrics, losses, strict=True))}
            if scheduler.on_trial_result(trial, result) == SchedulerDecision.STOP:
                break
except Over:
    pass
