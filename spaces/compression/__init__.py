"""Ways of making a network smaller: one file a step, one table."""

from spaces.compression.factorise import Factorise
from spaces.compression.finetune import Distil, Finetune
from spaces.compression.fuse import Fuse
from spaces.compression.prune import Prune
from spaces.compression.quantize import Quantize
from spaces.compression.sparsify import Sparsify
from spaces.compression.step import (
    RECOVERY_LR,
    Applied,
    Canonical,
    Learner,
    Lesson,
    Step,
    StepError,
    Trainer,
    TrainingFree,
)

__all__ = [
    "RECOVERY_LR",
    "STEPS",
    "Applied",
    "Canonical",
    "Learner",
    "Lesson",
    "Quantize",
    "Step",
    "StepError",
    "Trainer",
    "TrainingFree",
]

STEPS: dict[str, type[Step]] = {
    "prune": Prune,
    "sparsify": Sparsify,
    "factorise": Factorise,
    "fuse": Fuse,
    "finetune": Finetune,
    "distil": Distil,
    "quantize": Quantize,
}
