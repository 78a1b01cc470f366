"""Expected hypervolume improvement where costs are known: an Optuna sampler, usable alone.

Imports optuna, numpy, scipy and moocore, nothing of the rest of this repository.
"""

from search.samplers.ehvi.box import Box
from search.samplers.ehvi.curves import Seen
from search.samplers.ehvi.sampler import EHVISampler

__all__ = ["Box", "EHVISampler", "Seen"]
