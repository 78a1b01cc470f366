"""Our own sampler as a part of the study file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.samplers.knowledge import Knowledge

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from search.samplers.ehvi import EHVISampler


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class EHVI:
    """Expected hypervolume improvement where costs are known and only scores are uncertain.

    A Gaussian process reads the choices and the live graph of the network. Source: see
    `search.samplers.ehvi`.
    """

    startup: int = Field(default=6, ge=1)
    """Random candidates that must be done before the model is used."""
    pool: int = Field(default=1000, ge=10)
    """Random candidates considered for each proposal, besides relatives of good ones."""
    features: bool = True
    """Whether the model reads the networks, not their choices alone."""
    known_costs: bool = True
    """Whether costs of priced networks are taken as known; else they are modelled from what is
    done, as scores are."""

    curves: bool = True
    """Whether the model reads scores at lower rungs, also of candidates that were stopped."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> EHVISampler:
        """With what the study knows, or from Optuna's trials alone."""
        from search.samplers.ehvi import Box, EHVISampler

        if known is None:
            return EHVISampler(seed=seed, startup=self.startup, pool=self.pool)
        ideal, reference, log = known.box()
        box = Box(tuple(ideal), tuple(reference), tuple(log))
        return EHVISampler(
            seed=seed,
            startup=self.startup,
            pool=self.pool,
            space=known.space(),
            box=lambda: box,
            active=known.active,
            costs=known.costs if self.known_costs else None,
            priced=known.priced() if self.known_costs else (),
            curves=known.curve if self.curves else None,
            curve_of=known.scored(),
            features=known.features if self.features else None,
        )


def adviser(sampler: BaseSampler, seed: int, trials: int, known: Knowledge | None) -> EHVISampler:
    """Who says what a candidate is worth beside any sampler; `sampler` itself, if it can."""
    from search.samplers.ehvi import EHVISampler

    if isinstance(sampler, EHVISampler):
        return sampler
    return EHVI().build(seed=seed, trials=trials, known=known)
