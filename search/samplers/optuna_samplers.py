"""Optuna's samplers with the settings that suit us, and why.

`build(seed, trials, known)`: `seed` differs after every resume (else a resumed sampler repeats its
first proposals exactly); `trials` is the budget of the study; Optuna's samplers have no use for
what is `known` besides its trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import Field
from pydantic.dataclasses import dataclass

from search.samplers.knowledge import Knowledge

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@runtime_checkable
class Sampler(Protocol):
    """A way to propose candidates."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """The Optuna sampler."""


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class TPE:
    """Tree-structured Parzen estimator, multivariate; learns from limits of pruned trials too.

    Source: Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127.
    """

    startup: int = Field(default=10, ge=1)
    """Random candidates before the model is used."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """Multivariate: with several objectives Optuna leaves that off."""
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, n_startup_trials=self.startup)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class NSGA2:
    """Non-dominated sorting genetic algorithm II.

    Source: Deb et al. 2002, doi:10.1109/4235.996017.
    """

    population: int | None = Field(default=None, ge=2)
    """Complete trials a generation; default max(8, trials // 6): pruned ones do not count."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """Optuna's default of 50 would keep short studies random."""
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.population or max(8, trials // 6))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class NSGA3:
    """NSGA with reference points, for many objectives. Source: Deb and Jain 2014."""

    population: int | None = Field(default=None, ge=2)
    """Complete trials a generation; default max(8, trials // 6)."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """As for NSGA-II."""
        from optuna.samplers import NSGAIIISampler

        return NSGAIIISampler(seed=seed, population_size=self.population or max(8, trials // 6))


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class GP:
    """Gaussian process with expected hypervolume improvement.

    Takes 7 to 48 s a proposal beyond 30 trials.
    """

    startup: int = Field(default=10, ge=1)
    """Random candidates before the model is used."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """Slow beside short trainings; learns only from complete trials."""
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=self.startup)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class Random:
    """Independent uniform draws: the yardstick."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """Nothing to set."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed=seed)


@dataclass(frozen=True, kw_only=True, config={"extra": "forbid"})
class QMC:
    """Quasi-random (Sobol) draws that spread evenly."""

    def build(self, seed: int, trials: int, known: Knowledge | None = None) -> BaseSampler:
        """Scrambled, so that seeds differ."""
        from optuna.samplers import QMCSampler

        return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
