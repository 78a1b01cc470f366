"""Ax's client as its documentation shows it: unordered choices, several objectives, thresholds.

https://ax.dev/docs/recipes/multi-objective-optimization; the generation strategy is Ax's own.
"""

import logging
import warnings

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig
from talk import Over, read_problem

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
problem = read_problem()
names = [f"choice{i}" for i in range(len(problem.choices))]
metrics = [f"loss{i}" for i in range(len(problem.reference))]
client = Client(random_seed=problem.seed)
client.configure_experiment(
    parameters=[
        ChoiceParameterConfig(
            name=name,
            values=[f"option{i}" for i in range(num)],
            parameter_type="str",
            is_ordered=False,
        )
        for name, num in zip(names, problem.choices, strict=True)
    ]
)
client.configure_optimization(
    objective=", ".join(f"-{metric}" for metric in metrics),
    outcome_constraints=[
        f"{metric} <= {limit}" for metric, limit in zip(metrics, problem.reference, strict=True)
    ],
)
try:
    while True:
        for index, parameters in client.get_next_trials(max_trials=1).items():
            options = [int(parameters[name].removeprefix("option")) for name in names]
            losses = problem.losses(options)
            client.complete_trial(index, raw_data=dict(zip(metrics, losses, strict=True)))
except Over:
    pass
