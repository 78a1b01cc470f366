"""The processes that train one network together; alone, every method does nothing.

Each holds the whole network, prepares the same batch with the same random numbers, and computes a
share of it; gradients are summed before the step, so that all take the same one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from objectives.device import Turnstile


@dataclass(frozen=True)
class Peers:
    """How many there are, and which one this is; torch.distributed connects them."""

    rank: int = 0
    count: int = 1

    def share(self, size: int) -> tuple[slice, float]:
        """(the rows of a batch of `size` that are computed here, their weight in its mean).

        A batch with fewer inputs than there are peers is computed by all.
        """
        if size < self.count:
            return slice(None), 1 / self.count
        ends = [size * rank // self.count for rank in (self.rank, self.rank + 1)]
        return slice(*ends), (ends[1] - ends[0]) / size

    @contextmanager
    def computing(self, turnstile: Turnstile) -> Iterator[None]:
        """Hold `turnstile` while all compute.

        Only the first takes it: were another to wait there behind a measurement that waits for the
        first, which waits for its gradients, none of the three would ever go on.
        """
        if self.count == 1:
            with turnstile.computing():
                yield
        elif self.rank == 0:
            with turnstile.computing():
                distributed.barrier()
                yield
                distributed.barrier()
        else:
            distributed.barrier()
            yield
            distributed.barrier()

    def sum_gradients(self, network: nn.Module) -> None:
        """Every peer's gradients become those of the whole batch, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(together)
        parts = torch.split(together, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(self, value: Tensor) -> Tensor:
        """The sum of every peer's `value`, the same everywhere."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def agree(self, value: float, device: str) -> float:
        """The first one's `value`: what is decided by it is decided alike everywhere."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.broadcast(shared, src=0)
        return float(shared)
