"""Fewer bits: the precision in which the target's runtime is asked to run the network."""

from typing import ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.compression.learned import clip_inputs, start_learning, stop_learning
from spaces.compression.step import RECOVERY_LR, Applied, StepError, Trainer


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Quantize:
    """Post-training quantization by the runtime that deploys the network, or training for it.

    `int8`: static, activations unsigned, weights signed per channel, ranges from real inputs.
    `int8_aware`: the same, after training with 8-bit rounding whose steps are learned.
    `int8_dynamic`: weights of linear layers and LSTM in 8 bits, activations rounded at each call.
    `int4`: weights of linear layers in 4 bits, computed in more. `bf16`, `fp16`: weights and
    activations in 16 bits. Speed depends on the runtime and the network: int8 is slower with
    Hardswish and on tiny networks, fp16 and int4 save bytes only on a CPU; so it is a choice to be
    searched.
    """

    scheme: Literal["none", "int8", "int8_aware", "int8_dynamic", "int4", "bf16", "fp16"] = "none"
    finetune_epochs: int = Field(default=1, ge=1)
    """Epochs of training with rounding; of no effect but with `int8_aware`."""
    lr: float = Field(default=RECOVERY_LR, gt=0)
    """Factor on the candidate's learning rate in these epochs."""

    PRECISIONS: ClassVar[dict[str, str]] = {
        "none": "fp32",
        "int8": "int8",
        "int8_aware": "int8",
        "int8_dynamic": "int8_dynamic",
        "int4": "int4",
        "bf16": "bf16",
        "fp16": "fp16",
    }
    """Scheme -> precision that the runtime must offer."""

    def idle(self) -> bool:
        """`none` leaves fp32."""
        return self.scheme == "none"

    def training_free(self) -> bool:
        """All but `int8_aware` are."""
        return self.scheme != "int8_aware"

    def canonical(self) -> "Quantize":
        """Only `int8_aware` trains."""
        return self if self.scheme == "int8_aware" else Quantize(scheme=self.scheme)

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Leave the module as it is, but for clipped inputs with `int8_aware`."""
        if self.scheme == "int8_aware" and not clip_inputs(network, example):
            raise _no_layers()
        return self._applied()

    def learn(self, network: nn.Module, example: Tensor, trainer: Trainer) -> Applied:
        """Train with rounding where that is the scheme."""
        if self.scheme != "int8_aware":
            return self.apply(network, example)
        if not start_learning(network, example):
            raise _no_layers()
        trainer.train(network, self.finetune_epochs, lr=self.lr)
        stop_learning(network)
        return self._applied()

    def _applied(self) -> Applied:
        record = {"scheme": self.scheme}
        epochs = {"finetune_epochs": self.finetune_epochs} if self.scheme == "int8_aware" else {}
        return Applied(record={**record, **epochs}, precision=self.PRECISIONS[self.scheme])


def _no_layers() -> StepError:
    return StepError(
        "quantize: scheme int8_aware needs a convolution or linear layer that is called, which "
        "this network lacks; use int8"
    )
