"""pymoo's NSGA-II on categorical choices, by its own mixed-variable operators.

https://pymoo.org/customization/mixed.html; population 20, as Optuna's NSGA-II in this benchmark.
"""

import numpy as np
from pymoo.algorithms.moo.nsga2 import RankAndCrowdingSurvival
from pymoo.core.evaluator import Evaluator
from pymoo.core.mixed import MixedVariableGA
from pymoo.core.problem import Problem as Space
from pymoo.core.variable import Choice
from pymoo.problems.static import StaticProblem
from talk import Over, read_problem

problem = read_problem()
names = [f"choice{i}" for i in range(len(problem.choices))]
variables = {
    name: Choice(options=list(range(num)))
    for name, num in zip(names, problem.choices, strict=True)
}
space = Space(vars=variables, n_obj=len(problem.reference))
algorithm = MixedVariableGA(pop_size=20, survival=RankAndCrowdingSurvival())
algorithm.setup(space, termination=("n_gen", 10**6), seed=problem.seed, verbose=False)
try:
    while True:
        asked = algorithm.ask()
        losses = [problem.losses([each.X[name] for name in names]) for each in asked]
        Evaluator().eval(StaticProblem(space, F=np.array(losses)), asked)
        algorithm.tell(infills=asked)
except Over:
    pass
