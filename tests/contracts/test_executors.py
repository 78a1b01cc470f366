"""What every executor of the table promises; then workers that die, and drivers that do."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from search.evaluation import Evaluation, Job, Price, Train
from search.executors.executor import Executor, Run, Workers
from search.executors.process import Process
from search.executors.table import EXECUTORS
from search.places import Survey
from spaces.candidate import Candidate

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120.0
"""Seconds until something that must happen is given up; never reached on a sound machine."""


def answer(job: Job) -> Evaluation:
    """What workers do here: tell who they are; wait, or die, if the candidate says so."""
    orders = job.candidate.architecture
    if "wait_for" in orders:
        wait_until(Path(orders["wait_for"]).exists)
    if "die_by" in orders:
        Path(orders["epitaph"]).touch()
        os._exit(3) if orders["die_by"] == 0 else os.kill(os.getpid(), orders["die_by"])
        time.sleep(PATIENCE_S)
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status="priced" if isinstance(job, Price) else "trained",
        seconds={"pid": os.getpid(), "server": os.getppid()},
    )


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def price(trial: int, **orders: object) -> Price:
    return Price(trial=trial, candidate=candidate(**orders))


def train(trial: int, **orders: object) -> Train:
    return Train(trial=trial, candidate=candidate(**orders), until_epoch=3, checkpoint=None)


def candidate(**orders: object) -> Candidate:
    return Candidate(
        family="convnet", architecture=orders, training={}, augmentation={}, compression=()
    )


class Desk:
    """Gives jobs away and takes evaluations, with an eye on how many are out."""

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = list(jobs)
        self.asked = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.told: list[tuple[Job, Evaluation]] = []

    def ask(self) -> Job | None:
        self.asked += 1
        if not self.jobs:
            return None
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return self.jobs.pop(0)

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        self.in_flight -= 1
        self.told.append((job, evaluation))

    @property
    def trials(self) -> list[int | None]:
        return sorted(evaluation.trial or 0 for _, evaluation in self.told)


def executor_of(name: str) -> Executor:
    options: dict[str, dict[str, object]] = {
        "process": {"workers": 2},
        "ray": {"workers": 2},
        "replay": {"answers": "test_executors:answer"},
    }
    return EXECUTORS[name](**options.get(name, {}))


@pytest.fixture(params=EXECUTORS, scope="class")
def executor(request: pytest.FixtureRequest) -> Executor:
    return executor_of(request.param)


@pytest.fixture(scope="class")
def workers(executor: Executor) -> Iterator[Workers]:
    with executor.start(answer, Survey()) as workers:
        yield workers


@pytest.fixture(scope="class")
def run(workers: Workers) -> Run:
    return workers.run


class TestEveryExecutor:
    def test_it_satisfies_the_protocol(self, executor: Executor) -> None:
        assert isinstance(executor, Executor)
        assert isinstance(executor.local, bool)
        assert executor.num_threads >= 1
        assert executor.train_device == "cpu"

    def test_every_job_is_told_once_with_its_own_evaluation(self, run: Run) -> None:
        jobs = [price(n) if n % 2 else train(n) for n in range(20)]
        desk = Desk(jobs)
        run(desk.ask, desk.tell)
        assert desk.trials == list(range(20))
        assert sorted(job.trial or 0 for job, _ in desk.told) == list(range(20))
        for job, evaluation in desk.told:
            assert evaluation.trial == job.trial
            assert evaluation.candidate == job.candidate
            assert evaluation.rung == (0 if isinstance(job, Price) else 3)
        assert desk.in_flight == 0

    def test_at_most_twice_as_many_jobs_as_workers_are_in_flight(self, workers: Workers) -> None:
        desk = Desk([price(n) for n in range(12)])
        workers.run(desk.ask, desk.tell)
        assert 1 <= desk.most_in_flight <= 2 * workers.num

    def test_it_can_run_again_after_it_had_no_more_jobs(self, run: Run) -> None:
        for count in (3, 0, 2):
            desk = Desk([price(n) for n in range(count)])
            run(desk.ask, desk.tell)
            assert desk.trials == list(range(count))

    def test_job_that_a_result_made_possible_is_asked_for(self, run: Run) -> None:
        """`ask` had nothing while jobs were in flight: that was not the end."""
        desk = Desk([price(0)])

        def tell(job: Job, evaluation: Evaluation) -> None:
            desk.tell(job, evaluation)
            if len(desk.told) < 5:
                desk.jobs.append(price(len(desk.told)))

        run(desk.ask, tell)
        assert desk.trials == [0, 1, 2, 3, 4]
        assert desk.asked > 5

    def test_jobs_without_a_trial_are_done_too(self, run: Run) -> None:
        desk = Desk([Price(trial=None, candidate=candidate())])
        run(desk.ask, desk.tell)
        ((job, evaluation),) = desk.told
        assert job.trial is evaluation.trial is None


@pytest.mark.parametrize("name", EXECUTORS)
def test_exception_in_the_loop_ends_the_run(name: str) -> None:
    desk = Desk([price(n) for n in range(4)])

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with executor_of(name).start(answer, Survey()) as workers:
        for ask, tell in ((broken, desk.tell), (desk.ask, broken)):
            with pytest.raises(ZeroDivisionError):
                workers.run(ask, tell)


# --- workers that die ---


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Run]:
    with Process(workers=2).start(answer, Survey()) as workers:
        yield workers.run


@pytest.mark.parametrize(
    ("death", "cause"),
    [
        (0, "its worker ended with exit code 3"),
        (signal.SIGKILL, "its worker was killed by SIGKILL; perhaps the system ran out of memory"),
        (signal.SIGSEGV, "its worker was killed by SIGSEGV"),
    ],
    ids=["exit", "SIGKILL", "SIGSEGV"],
)
@pytest.mark.parametrize("dying", [price, train])
def test_worker_that_dies_loses_its_own_job_alone(
    two_workers: Run, tmp_path: Path, death: int, cause: str, dying: Callable[..., Job]
) -> None:
    epitaph = str(tmp_path / "died")
    neighbour = train(1, wait_for=epitaph)
    desk = Desk([dying(0, die_by=int(death), epitaph=epitaph), neighbour, price(2), price(3)])
    two_workers(desk.ask, desk.tell)
    told = {evaluation.trial: evaluation for _, evaluation in desk.told}
    assert Counter(e.status for _, e in desk.told) == {"lost": 1, "trained": 1, "priced": 2}
    assert told[0].reason == cause
    assert told[0].rung == (0 if dying is price else 3)
    assert told[1].status == "trained"


def test_every_worker_may_die_and_be_replaced(two_workers: Run, tmp_path: Path) -> None:
    dying = [
        price(n, die_by=int(signal.SIGKILL), epitaph=str(tmp_path / str(n))) for n in range(5)
    ]
    desk = Desk([*dying, *(price(n) for n in range(5, 8))])
    two_workers(desk.ask, desk.tell)
    told = {evaluation.trial: evaluation.status for _, evaluation in desk.told}
    assert told == {**dict.fromkeys(range(5), "lost"), **dict.fromkeys(range(5, 8), "priced")}


def test_workers_stay_for_many_jobs_and_take_torch_from_one_server(two_workers: Run) -> None:
    found: list[Evaluation] = []
    for _ in range(2):
        desk = Desk([price(n) for n in range(15)])
        two_workers(desk.ask, desk.tell)
        found += [evaluation for _, evaluation in desk.told]
    workers = {int(e.seconds["pid"]) for e in found}
    servers = {int(e.seconds["server"]) for e in found}
    assert 1 <= len(workers) <= 2
    assert len(servers) == 1
    assert os.getpid() not in workers | servers
    (server,) = servers
    assert "libtorch_cpu" in Path(f"/proc/{server}/maps").read_text()


def test_workers_end_with_the_context(tmp_path: Path) -> None:
    with Process(workers=2).start(answer, Survey()) as found:
        desk = Desk([price(n) for n in range(6)])
        found.run(desk.ask, desk.tell)
        workers = {int(evaluation.seconds["pid"]) for _, evaluation in desk.told}
        assert all(alive(pid) for pid in workers)
    wait_until(lambda: not any(alive(pid) for pid in workers))


def test_threads_and_workers_default_to_the_usable_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert Process().num_workers == cores
    assert Process(threads=cores).num_workers == 1
    assert Process(threads=2 * cores).num_workers == 1
    assert Process(workers=7, threads=3).num_workers == 7


# --- a driver that dies ---

DRIVER = """
import os, sys, time
from pathlib import Path
from search.evaluation import Price
from search.executors.process import Process
from search.places import Survey
from spaces.candidate import Candidate

def never_ending(job):
    Path(f"worker-{os.getpid()}").touch()
    time.sleep(600)

def ask():
    return Price(
        trial=0,
        candidate=Candidate(
            family="", architecture={}, training={}, augmentation={}, compression=()
        ),
    )

if __name__ == "__main__":
    with Process(workers=2).start(never_ending, Survey()) as workers:
        workers.run(ask, lambda job, evaluation: None)
"""


def test_workers_die_with_their_driver(tmp_path: Path) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    driver = subprocess.Popen(
        [sys.executable, "driver.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        wait_until(lambda: len(list(tmp_path.glob("worker-*"))) == 2)
        family = {child.pid for child in psutil.Process(driver.pid).children(recursive=True)}
        assert {int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")} <= family
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not any(alive(pid) for pid in family))


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
