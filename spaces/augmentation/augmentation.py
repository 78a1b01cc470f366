"""The `augmentation` section of a study: every field, and the order in which they act."""

from dataclasses import asdict
from typing import Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Generator, Tensor

from spaces.augmentation import pictures, tables, texts, waves
from spaces.augmentation.mixing import Targets, mix
from spaces.augmentation.policy import Policy, apply_policy


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Augmentation:
    """Each field is a choice; 0, false or none, the defaults, switch it off.

    It acts on a standardised batch on the device that trains. Random numbers come from the CPU
    generator of the training, so a seed fixes them on every device.
    """

    noise: float = Field(default=0.0, ge=0)
    """Any numbers: deviation of Gaussian noise, in standard deviations of the data."""
    mixup: float = Field(default=0.0, ge=0)
    """Any numbers: alpha of mixup's Beta(alpha, alpha)."""

    rotate_deg: float = Field(default=0.0, ge=0, le=180)
    """Pictures are turned by an angle drawn evenly from [-rotate_deg, rotate_deg]."""
    shift: float = Field(default=0.0, ge=0, lt=1)
    """Pictures are moved by up to this share of their sides; border pixels repeat."""
    flip: bool = False
    """Pictures are mirrored left to right, one in two."""
    scale: float = Field(default=0.0, ge=0, le=4)
    """Pictures are enlarged or reduced by up to the factor 1 + scale; border pixels repeat."""
    crop: float = Field(default=0.0, ge=0, le=1)
    """Pictures are padded by this share of their sides and cut back at random; 0.125 is usual."""
    light: float = Field(default=0.0, ge=0, le=1)
    """Brightness of pictures by up to so many standard deviations, contrast by this share."""
    colour: float = Field(default=0.0, ge=0, le=1)
    """Saturation of pictures of three channels, red, green, blue, by up to this share."""
    erase: float = Field(default=0.0, ge=0, lt=1)
    """A rectangle of up to this share of a picture is set to the mean of the data."""
    policy: Policy = "none"
    """Pictures: operations drawn for each: two, RandAugment, or one, TrivialAugment."""
    policy_strength: float = Field(default=0.3, gt=0, le=1)
    """Share of the policy's largest changes; RandAugment's 9 of 30, TrivialAugment has 1."""
    cutmix: float = Field(default=0.0, ge=0)
    """Pictures: alpha of CutMix's Beta(alpha, alpha); beside mixup, each batch draws one."""

    time_shift: float = Field(default=0.0, ge=0, lt=1)
    """Waveforms are moved by up to this share of their length; silence comes in."""
    time_mask: float = Field(default=0.0, ge=0, lt=1)
    """Waveforms: a stretch of up to this share of the length is silenced."""
    frequency_mask: float = Field(default=0.0, ge=0, lt=1)
    """Waveforms: a band of up to this share of all frequencies is stopped."""

    feature_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Rows: probability that a feature is set to the mean of the data."""
    feature_swap: float = Field(default=0.0, ge=0, lt=1)
    """Rows: probability that a feature comes from another row of the batch."""

    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Texts: probability that a word becomes the unknown word."""

    AIDS: ClassVar[dict[str, str]] = {"policy_strength": "policy"}
    """Fields that change nothing by themselves -> the field that they belong to."""

    def in_use(self) -> dict[str, Any]:
        """The fields that change something, with their values; empty where all are off."""
        values, off = asdict(self), asdict(Augmentation())
        on = {k for k, v in values.items() if k not in self.AIDS and v != off[k]}
        return {k: v for k, v in values.items() if k in on or self.AIDS.get(k) in on}

    def __call__(
        self, inputs: Tensor, targets: Tensor, generator: Generator
    ) -> tuple[Tensor, Targets]:
        """(inputs (N, ...), targets (N, ...)) -> changed inputs and weighted targets.

        Fields for another kind of data do nothing; a study that names them is refused (`unfit`).
        """
        are_pictures = inputs.dim() == 4
        if are_pictures:
            inputs = self._change_pictures(inputs, generator)
        elif inputs.is_floating_point():
            inputs = self._change_rows(inputs, generator)
        elif self.token_dropout:
            inputs = texts.drop_tokens(inputs, self.token_dropout, generator)
        if self.noise:
            noise = torch.randn(inputs.shape, generator=generator).to(inputs)
            inputs = inputs + self.noise * noise
        cutmix = self.cutmix if are_pictures else 0.0
        if self.mixup or cutmix:
            return mix(inputs, targets, self.mixup, cutmix, generator)
        return inputs, ((targets, 1.0),)

    def _change_pictures(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Place first, then light, then what is missing."""
        if self.rotate_deg or self.shift or self.flip or self.scale:
            inputs = pictures.move(
                inputs,
                generator,
                rotate_deg=self.rotate_deg,
                shift=self.shift,
                flip=self.flip,
                scale=self.scale,
            )
        if self.crop:
            inputs = pictures.crop(inputs, self.crop, generator)
        if self.policy != "none":
            inputs = apply_policy(inputs, self.policy, self.policy_strength, generator)
        if self.light:
            inputs = pictures.light(inputs, self.light, generator)
        if self.colour:
            inputs = pictures.colour(inputs, self.colour, generator)
        if self.erase:
            inputs = pictures.erase(inputs, self.erase, generator)
        return inputs

    def _change_rows(self, inputs: Tensor, generator: Generator) -> Tensor:
        """Waveforms (N, samples), features (N, F) or windows of features (N, T, F)."""
        if inputs.dim() == 2:
            if self.time_shift:
                inputs = waves.shift_time(inputs, self.time_shift, generator)
            if self.frequency_mask:
                inputs = waves.mask_frequency(inputs, self.frequency_mask, generator)
            if self.time_mask:
                inputs = waves.mask_time(inputs, self.time_mask, generator)
        if self.feature_swap:
            inputs = tables.swap_features(inputs, self.feature_swap, generator)
        if self.feature_dropout:
            inputs = tables.drop_features(inputs, self.feature_dropout, generator)
        return inputs
