"""Changes to texts (N, L) of int64 ids."""

from torch import Generator, Tensor

from spaces.augmentation.draws import chances

PADDING, UNKNOWN = 0, 1
"""Ids that every text task shares."""


def drop_tokens(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Replace ids by that of an unknown word, each with probability `share`; padding stays.

    Source: Iyyer et al. 2015 (word dropout), ACL P15-1162; there the word is removed.
    """
    dropped = chances(inputs, tuple(inputs.shape), share, generator) & (inputs != PADDING)
    return inputs.masked_fill(dropped, UNKNOWN)
