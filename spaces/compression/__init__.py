"""Ways of making a network smaller: one file a step, one table."""

from spaces.compression.prune import Prune
from spaces.compression.quantize import Quantize
from spaces.compression.step import Applied, Step, StepError

__all__ = ["STEPS", "Applied", "Quantize", "Step", "StepError"]

STEPS: dict[str, type[Step]] = {
    "prune": Prune,
    "quantize": Quantize,
}
