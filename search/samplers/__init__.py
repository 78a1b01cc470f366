"""Who proposes candidates: ours and Optuna's, under one table. Nowhere else imports them.

Each is a frozen dataclass whose fields are the YAML keys; Optuna itself is imported when a study
starts, not when a study file is read.
"""

from search.samplers.informed import EHVI, adviser
from search.samplers.knowledge import Knowledge
from search.samplers.optuna_samplers import GP, NSGA2, NSGA3, QMC, TPE, Random, Sampler

__all__ = ["SAMPLERS", "Knowledge", "Sampler", "adviser"]

SAMPLERS: dict[str, type[Sampler]] = {
    "ehvi": EHVI,
    "tpe": TPE,
    "nsga2": NSGA2,
    "nsga3": NSGA3,
    "gp": GP,
    "random": Random,
    "qmc": QMC,
}
