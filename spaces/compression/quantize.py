"""Fewer bits: the precision in which the target's runtime is asked to run the network."""

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from spaces.compression.step import Applied


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Quantize:
    """Post-training quantization by the runtime that deploys the network.

    `int8`: static, activations unsigned, weights signed per channel, ranges from real inputs.
    `bf16`: weights and activations in bfloat16. Speed depends on the runtime and the network: int8
    is slower with Hardswish and on tiny networks, so it is a choice to be searched.
    """

    scheme: Literal["none", "int8", "bf16"] = "none"

    PRECISIONS: ClassVar[dict[str, str]] = {"none": "fp32", "int8": "int8", "bf16": "bf16"}
    """Scheme -> precision that the runtime must offer."""

    def idle(self) -> bool:
        """`none` leaves fp32."""
        return self.scheme == "none"

    def apply(self, network: nn.Module, example: Tensor) -> Applied:
        """Leave the module as it is; the runtime quantizes what it deploys."""
        return Applied(record={"scheme": self.scheme}, precision=self.PRECISIONS[self.scheme])
