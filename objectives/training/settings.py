"""The choices of the study file's `training` section."""

import dataclasses
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

NO_TEACHER = "none"
BEST_TEACHER = "best"


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Training:
    """How weights are found. Every field is a choice of the study file's `training` section."""

    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    """`sgd` has Nesterov momentum; `rmsprop` averages squares with 0.9."""
    lr: float = Field(default=3e-3, gt=0)
    """Highest learning rate."""
    schedule: Literal["cosine", "step", "constant", "onecycle"] = "cosine"
    """How the learning rate goes from its height to the last rung; see `schedules`."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps over which the learning rate rises; `onecycle` has a rise of its own."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd` and `rmsprop`."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Of weights with two or more dimensions; biases and norms are left alone. Taken off the
    weights by `adamw`, added to the gradient by the others."""
    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient of all weights together; 0 for no bound."""
    batch: int = Field(default=64, ge=2)
    """Inputs a network sees at once."""
    accumulate: int = Field(default=1, ge=1)
    """Batches to a step: the step of a larger batch in the memory of one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` computes in it where torch's autocast finds that safe; weights stay fp32. On a CPU it
    can be slower, most of all with depthwise convolutions."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread over all classes; classification only."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay a step of a moving average of the weights, which is then what is compressed, scored
    and kept; 0 for none."""
    patience: int = Field(default=0, ge=0)
    """Epochs without a smaller validation loss after which training ends; the weights of the best
    epoch are kept. 0 for never: then the newest are. Scores on the validation split gain a little
    from this choice by the same split; `confirm` scores on the test split."""
    teacher: str = NO_TEACHER
    """Another network to learn from: 'package.module:name' of a function that returns it, or the
    path of an exported model.onnx or model.pt2; `best`, the member of the front with the best
    score when this training begins (the first ones have none); `none`."""
    distil: float = Field(default=0.0, ge=0, le=1)
    """Weight of the teacher's answers; the targets have the rest."""
    temperature: float = Field(default=4.0, gt=0)
    """Divides the logits of both before they are compared; classification only."""

    @property
    def taught(self) -> bool:
        """Whether a teacher has a say."""
        return self.teacher != NO_TEACHER and self.distil > 0

    def in_use(self) -> dict[str, Any]:
        """The choices that matter, as JSON data: `Training(**data)` trains alike.

        Left out is what the optimizer or schedule does not read, and what is switched off.

        >>> sorted(Training(momentum=0.5).in_use())
        ['batch', 'label_smoothing', 'lr', 'optimizer', 'schedule', 'warmup', 'weight_decay']
        """
        without = {
            "momentum": self.optimizer not in ("sgd", "rmsprop"),
            "warmup": self.schedule == "onecycle",
            "clip_norm": self.clip_norm == 0,
            "accumulate": self.accumulate == 1,
            "precision": self.precision == "fp32",
            "ema": self.ema == 0,
            "patience": self.patience == 0,
            **dict.fromkeys(("teacher", "distil", "temperature"), not self.taught),
        }
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if not without.get(name)}
