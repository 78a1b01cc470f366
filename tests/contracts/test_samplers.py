"""What every sampler of the table must do inside a real study of Optuna."""

import math
from functools import cache

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from search.samplers import SAMPLERS, Sampler
from search.samplers.distributions import distributions, member
from search.samplers.optuna_samplers import GP, NSGA2, NSGA3, TPE
from spaces.choice import Choice, Domain, Scalar, members, read_domain

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
optuna.logging.disable_default_handler()

RAW: dict[str, object] = {
    "architecture": ["convnet", "lenet"],
    "architecture.convnet.depth": [1, 2, 3],
    "architecture.convnet.width.1": {"low": 8, "high": 64, "step": 8},
    "architecture.convnet.kernel": [3, 5, 9],
    "training.lr": {"low": 1e-3, "high": 1e-1, "log": True},
    "augmentation.shift": {"low": 0.0, "high": 0.3},
    "augmentation.flip": [False, True],
    "compression.prune.ratio": [0.0, 0.25, 0.5, 0.75],
}
CHOICES = tuple(Choice(name, read_domain(raw)) for name, raw in RAW.items())
ASKED = 12

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def make(name: str) -> Sampler:
    """A sampler that leaves its random start early, so that the model is seen to work."""
    startups = {"tpe": TPE(startup=4), "gp": GP(startup=5)}
    populations = {"nsga2": NSGA2(population=3), "nsga3": NSGA3(population=3)}
    return {**startups, **populations}.get(name) or SAMPLERS[name]()


def begin(name: str, seed: int) -> Study:
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.sampler = make(name).build(seed=seed, trials=ASKED)
    return study


def values_of(parameters: dict[str, Scalar]) -> list[float]:
    """Score and latency of a proposal, as smooth made-up functions of it."""
    depth, width = (parameters[f"architecture.convnet.{key}"] for key in ("depth", "width.1"))
    ratio, lr = parameters["compression.prune.ratio"], parameters["training.lr"]
    assert not any(isinstance(value, str) for value in (depth, width, ratio, lr))
    size = float(depth) * float(width) * (1 - float(ratio))
    return [1 - math.exp(-size / 50) - abs(math.log10(float(lr)) + 2) / 9, size / 100]


def search(study: Study, asks: int = ASKED) -> list[dict[str, Scalar]]:
    """Ask and tell as the loop does: complete, pruned by its limit, or failed."""
    found = []
    for number in range(asks):
        trial = study.ask(distributions(CHOICES))
        parameters = {c.name: member(c.domain, trial.params[c.name]) for c in CHOICES}
        found.append(parameters)
        values = values_of(parameters)
        pruned = number % 4 == 1
        study._storage.set_trial_system_attr(
            trial._trial_id, "constraints", [1.0 if pruned else -1.0]
        )
        if number % 7 == 6:
            study.tell(trial, state=TrialState.FAIL)
        elif pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, values)
    return found


@cache
def searched(name: str) -> tuple[Study, list[dict[str, Scalar]]]:
    """A finished search, which tests read and do not change."""
    study = begin(name, seed=0)
    return study, search(study)


def inside(domain: Domain, value: Scalar) -> bool:
    possible = members(domain)
    return value in possible if possible else domain.low <= value <= domain.high  # type: ignore[union-attr, operator]


def test_table_holds_samplers() -> None:
    assert all(isinstance(make(name), Sampler) for name in SAMPLERS)


@every_sampler
def test_sampler_proposes_members_of_every_domain_whatever_becomes_of_them(name: str) -> None:
    study, proposals = searched(name)
    for parameters in proposals:
        assert list(parameters) == list(RAW)
        assert all(inside(c.domain, parameters[c.name]) for c in CHOICES)
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


@every_sampler
def test_same_seed_and_results_give_the_same_proposals(name: str) -> None:
    assert search(begin(name, seed=0)) == searched(name)[1]


@every_sampler
def test_another_seed_gives_other_proposals(name: str) -> None:
    assert search(begin(name, seed=1), asks=4) != searched(name)[1][:4]


@every_sampler
def test_proposals_vary(name: str) -> None:
    distinct = {tuple(parameters.values()) for parameters in searched(name)[1]}
    assert len(distinct) > ASKED // 2


@every_sampler
def test_trial_that_still_runs_is_in_nobodys_way(name: str) -> None:
    study = begin(name, seed=2)
    search(study, asks=5)
    asked = [study.ask(distributions(CHOICES)) for _ in range(2)]
    assert [set(trial.params) for trial in asked] == [set(RAW), set(RAW)]


@every_sampler
def test_options_are_those_of_a_study_file(name: str) -> None:
    with pytest.raises(ValueError, match="colour"):
        SAMPLERS[name](colour="blue")  # type: ignore[call-arg]  # what a user might write


@pytest.mark.parametrize(("trials", "expected"), [(1, 8), (47, 8), (54, 9), (600, 100)], ids=str)
@pytest.mark.parametrize("sampler", [NSGA2, NSGA3])
def test_population_follows_the_budget_unless_given(
    sampler: type[NSGA2] | type[NSGA3], trials: int, expected: int
) -> None:
    built = sampler().build(seed=0, trials=trials)
    assert built._population_size == expected  # type: ignore[attr-defined]  # optuna shows it nowhere
    given = sampler(population=5).build(seed=0, trials=trials)
    assert given._population_size == 5  # type: ignore[attr-defined]


def test_gp_proposes_at_random_until_its_start_is_over_and_then_by_its_model() -> None:
    by_model = searched("gp")[1]
    at_random = begin("gp", seed=0)
    at_random.sampler = GP(startup=100).build(seed=0, trials=ASKED)
    others = search(at_random)
    assert by_model[:5] == others[:5]
    assert by_model != others
