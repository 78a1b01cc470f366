"""Changes to rows of features (N, F), or windows of them (N, T, F), standardised."""

import torch
from torch import Generator, Tensor

from spaces.augmentation.draws import chances


def drop_features(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Set features to 0, the mean of the data; in a window, at all of its times."""
    return inputs.masked_fill(_features(inputs, share, generator), 0)


def swap_features(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Take features from another row of the batch, one other row for each row.

    Source: Bahri et al. 2022 (SCARF), arXiv:2106.15147, section 3: a feature's replacement comes
    from its own marginal distribution; here that of the batch.
    """
    other = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    return torch.where(_features(inputs, share, generator), inputs[other], inputs)


def _features(inputs: Tensor, share: float, generator: Generator) -> Tensor:
    """Which features of which rows: (N, F), or (N, 1, F) for windows."""
    shape = (len(inputs), *(1 for _ in inputs.shape[1:-1]), inputs.shape[-1])
    return chances(inputs, shape, share, generator)
