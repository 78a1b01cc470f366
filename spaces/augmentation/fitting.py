"""Which augmentation is for which kind of data."""

from typing import Literal

Needs = Literal["numbers", "pictures", "colour pictures", "waveforms", "rows of features", "texts"]

NEEDS: dict[str, Needs] = {
    "noise": "numbers",
    "mixup": "numbers",
    "rotate_deg": "pictures",
    "shift": "pictures",
    "flip": "pictures",
    "scale": "pictures",
    "crop": "pictures",
    "light": "pictures",
    "colour": "colour pictures",
    "erase": "pictures",
    "cutmix": "pictures",
    "policy": "pictures",
    "policy_strength": "pictures",
    "time_shift": "waveforms",
    "time_mask": "waveforms",
    "frequency_mask": "waveforms",
    "feature_dropout": "rows of features",
    "feature_swap": "rows of features",
    "token_dropout": "texts",
}
"""Field of `Augmentation` -> the data it is for."""

SHORTEST_WAVE = 256
"""Samples below which a row of numbers is a table's, not a waveform (16 ms at 16 kHz)."""


def unfit(field: str, input_shape: tuple[int, ...], vocabulary: tuple[int, ...]) -> str | None:
    """The reason why `field` cannot change inputs of this kind, or None.

    `vocabulary`: empty where inputs are float32; how many ids there are, for all columns (texts)
    or for each.
    """
    needed = NEEDS[field]
    if needed in _kinds(input_shape, vocabulary):
        return None
    told = f"ids of shape {input_shape}" if vocabulary else f"numbers of shape {input_shape}"
    return f"{field} is for {needed}, and this task's inputs are {told}; remove it"


def _kinds(input_shape: tuple[int, ...], vocabulary: tuple[int, ...]) -> tuple[Needs, ...]:
    """What inputs of this shape can be."""
    if vocabulary:
        return ("texts",) if len(vocabulary) == 1 and len(input_shape) == 1 else ()
    if len(input_shape) == 3:
        coloured = input_shape[0] == len("RGB")
        return ("numbers", "pictures", *(("colour pictures",) if coloured else ()))
    if len(input_shape) == 1 and input_shape[0] >= SHORTEST_WAVE:
        return ("numbers", "rows of features", "waveforms")
    return ("numbers", "rows of features") if len(input_shape) < 3 else ("numbers",)
