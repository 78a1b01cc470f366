"""Ray Tune as an executor: several real nodes on this machine, and what goes wrong with them."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import ledger
import pytest
import yaml

from search.errors import InputError
from search.evaluation import COUNTED, Confirm, Evaluation, Job, Price, Train
from search.executors.executor import Workers
from search.executors.pieces import joined, pieces
from search.executors.ray_tune import Ray
from search.executors.ray_tune.environment import prepare
from search.places import Place, School, Survey
from spaces.candidate import Candidate

ROOT = Path(__file__).parent.parent
PATIENCE_S = 120.0


def answer(job: Job) -> Evaluation:
    """Says on which node it is; waits, or dies, if the candidate says so."""
    import ray

    orders = job.candidate.architecture
    node = ray.get_runtime_context().get_node_id()
    if "begun" in orders:
        with Path(orders["begun"]).open("a") as file:
            file.write(f"{node} {os.getpid()}\n")
    if "wait_for" in orders:
        end = time.monotonic() + PATIENCE_S
        while not Path(orders["wait_for"]).exists() and time.monotonic() < end:
            time.sleep(0.02)
    if "die_by" in orders:
        os.kill(os.getpid(), orders["die_by"])
        time.sleep(PATIENCE_S)
    return Evaluation(
        trial=job.trial,
        candidate=job.candidate,
        rung=job.rung,
        status="trained" if isinstance(job, Train) else "priced",
        reason=node,
    )


def candidate(**orders: object) -> Candidate:
    return Candidate(
        family="convnet", architecture=orders, training={}, augmentation={}, compression=()
    )


def price(trial: int, **orders: object) -> Price:
    return Price(trial=trial, candidate=candidate(**orders))


def train(trial: int, **orders: object) -> Train:
    return Train(trial=trial, candidate=candidate(**orders), until_epoch=3, checkpoint=None)


class Desk:
    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.told: dict[int | None, Evaluation] = {}

    def ask(self) -> Job | None:
        return self.jobs.pop(0) if self.jobs else None

    def tell(self, job: Job, evaluation: Evaluation) -> None:
        assert job.trial not in self.told, "told twice"
        self.told[job.trial] = evaluation


# --- a job cut into pieces ---

OWNERS = {"board": "target:board", "gpu": "target:gpu"}


def test_price_is_cut_by_the_machines_of_its_targets() -> None:
    cut = dict(pieces(price(0), ["cpu", "board", "gpu"], OWNERS))
    assert {kind: piece.on for kind, piece in cut.items()} == {  # type: ignore[union-attr]
        "train": ("cpu", COUNTED),
        "target:board": ("board",),
        "target:gpu": ("gpu",),
    }


def test_price_of_one_machine_stays_whole() -> None:
    [(kind, piece)] = pieces(price(0), ["board"], OWNERS)
    assert kind == "target:board"
    assert isinstance(piece, Price)
    assert piece.on == ("board", COUNTED)


def test_confirmation_trains_anywhere_and_is_timed_where_the_target_is() -> None:
    job = Confirm(trial=3, candidate=candidate(), seed=1, rung=9)
    (first, trained), (second, timed) = pieces(job, ["board"], OWNERS)
    assert (first, second) == ("train", "target:board")
    assert isinstance(trained, Confirm)
    assert trained.on == (COUNTED,)
    assert isinstance(timed, Price)
    assert timed.again
    assert timed.on == ("board",)


def test_training_is_one_piece() -> None:
    job = train(0)
    assert pieces(job, ["board"], OWNERS) == [("train", job)]


@pytest.mark.parametrize("status", ["lost", "failed", "away"])
def test_a_job_is_worth_what_its_worst_piece_is(status: Any) -> None:
    good = Evaluation(trial=0, candidate=candidate(), rung=0, status="priced")
    bad = Evaluation(trial=0, candidate=candidate(), rung=0, status=status, reason="why")
    assert joined([good, bad]) == bad
    assert joined([good, good]).status == "priced"


# --- nodes ---


def test_example_of_a_cluster_is_one_that_ray_takes() -> None:
    pytest.importorskip("jsonschema", reason="Ray checks a cluster's file with jsonschema")
    from ray.autoscaler._private.util import prepare_config, validate_config

    example = yaml.safe_load((ROOT / "docs" / "ray-cluster.yaml").read_text())
    validate_config(prepare_config(example))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with two CPUs, and two nodes that own the target `board`."""
    prepare()
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    made.boards = [made.add_node(num_cpus=0, resources={"target:board": 1}) for _ in range(2)]
    yield made
    made.shutdown()


class Board:
    """A target of which only its name matters here."""

    def check(self) -> None:
        return None

    def description(self) -> dict[str, str]:
        return {"device": "a board"}


@pytest.fixture(scope="module")
def workers(cluster: Any) -> Iterator[Workers]:
    survey = Survey(targets={"board": Board()})  # type: ignore[dict-item]
    with Ray(address=cluster.address, workers=1).start(answer, survey) as found:
        yield found


def test_what_is_timed_runs_on_the_targets_node_and_training_elsewhere(
    cluster: Any, workers: Workers
) -> None:
    desk = Desk([price(n) if n % 2 else train(n) for n in range(10)])
    workers.run(desk.ask, desk.tell)
    boards = {node.node_id for node in cluster.boards}
    assert workers.places["board"].device == {"device": "a board"}
    assert set(desk.told) == set(range(10))
    assert {desk.told[n].reason for n in range(1, 10, 2)} <= boards
    assert {desk.told[n].reason for n in range(0, 10, 2)} == {cluster.head_node.node_id}


def test_worker_that_dies_loses_its_own_job_alone(workers: Workers) -> None:
    desk = Desk([train(0, die_by=int(signal.SIGKILL)), train(1), train(2), price(3)])
    workers.run(desk.ask, desk.tell)
    told = {n: e.status for n, e in desk.told.items()}
    assert told == {0: "lost", 1: "trained", 2: "trained", 3: "priced"}
    assert desk.told[0].reason == "its worker died; perhaps the system ran out of memory"


def test_resource_that_no_node_has_is_told_before_anything_starts(workers: Workers) -> None:
    from search.executors.ray_tune.cluster import check_room

    with pytest.raises(
        InputError, match=r"it needs CPU: 1, a100: 1 on one node; the cluster has .*\{CPU: 2\}"
    ):
        check_room("it", {"CPU": 1.0, "a100": 1.0})


def test_job_of_a_node_that_goes_is_done_on_another(
    cluster: Any, workers: Workers, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    desk = Desk([price(0, begun=str(begun), wait_for=str(go)), train(1)])

    def disturb() -> None:
        while not begun.exists() or not begun.read_text():
            time.sleep(0.05)
        place, process = begun.read_text().split()
        [doomed] = [node for node in cluster.boards if node.node_id == place]
        cluster.remove_node(doomed, allow_graceful=False)
        with suppress(ProcessLookupError):  # a machine takes its processes with it
            os.kill(int(process), signal.SIGKILL)
        go.touch()

    thread = threading.Thread(target=disturb)
    thread.start()
    workers.run(desk.ask, desk.tell)
    thread.join()
    assert {n: e.status for n, e in desk.told.items()} == {0: "priced", 1: "trained"}
    tries = [line.split()[0] for line in begun.read_text().splitlines()]
    assert len(tries) == len(set(tries)) == 2


def test_work_that_nobody_is_left_for_is_told_once(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from search.executors.ray_tune import crew as module

    desk = SimpleNamespace(put=SimpleNamespace(remote=lambda *_: None))
    crew = module.Crew(desk, ["board"], OWNERS)
    crew.fit = {"train-0", "target:board-0"}
    crew.put(price(0))
    crew.put(train(1))
    monkeypatch.setattr(module, "MISSED_S", 0.0)
    crew.look_round()
    assert capsys.readouterr().err == ""
    crew.fit.discard("target:board-0")
    for _ in range(3):
        crew.look_round()
        time.sleep(0.001)
    sentence = "no worker for target:board for 0 s; its jobs wait until a node has room"
    assert capsys.readouterr().err == f"paretune: {sentence}\n"
    crew.fit.add("target:board-1")
    for _ in range(2):
        crew.look_round()
    assert capsys.readouterr().err == "paretune: there is a worker for target:board again\n"


def test_who_times_behind_others_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    from search.executors.ray_tune.crew import Crew

    crew = Crew(None, ["board"], OWNERS)
    for worker, niceness in (("target:board-0", 0), ("target:board-1", 15)):
        place = Place(device={}, versions={}, niceness=niceness)
        crew._welcome(worker, {"board": place})
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "paretune: worker target:board-1 times 'board' at priority 15, "
        "behind all other processes; start its node with RAY_worker_niceness=0"
    )


def test_what_a_job_of_the_cluster_settles_is_not_settled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare()
    from search.executors.ray_tune import cluster as module

    monkeypatch.setattr(module, "own_modules", lambda: [Path("/home/me/my_nets.py")])
    monkeypatch.setenv("PARETUNE_DATA", "/data")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    ours = {"AWS_ENDPOINT_URL": "http://store", "PARETUNE_DATA": "/data"}
    assert module._environment() == {"env_vars": ours, "py_modules": ["/home/me/my_nets.py"]}
    settled = {"env_vars": {"PARETUNE_DATA": "/elsewhere"}, "py_modules": ["gcs://nets.zip"]}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": settled}))
    assert module._environment() == {"env_vars": {"AWS_ENDPOINT_URL": "http://store"}}


def test_address_where_nobody_answers(folder: Path) -> None:
    program = (
        "from search.executors.ray_tune import Ray\n"
        "from search.places import Survey\n"
        "with Ray(address='127.0.0.1:1').start(print, Survey()): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S
    )
    last = done.stderr.splitlines()[-1]
    assert "InputError: executor.ray.address: no Ray cluster answers at '127.0.0.1:1'" in last


def test_artifacts_that_a_machine_does_not_see(tmp_path: Path) -> None:
    from objectives.target import Target
    from objectives.tasks.digits import Digits

    school = School(
        task=Digits(),
        device="cpu",
        num_devices=1,
        scorer=Target(),
        artifacts=str(tmp_path),
        probe="probe-1",
        token="of this run",
    )
    problem = Survey(school=school).training().problem
    assert problem is not None
    assert problem.startswith(f"artifacts: what the driver writes to {tmp_path} is not seen there")
    (tmp_path / "probe-1").write_text("of an earlier run")
    assert Survey(school=school).training().problem is not None
    (tmp_path / "probe-1").write_text("of this run")
    assert Survey(school=school).training().problem is None


# --- whole studies ---


class Driver:
    """`search.run` on the cluster, in a process group of its own."""

    def __init__(self, study: Path, address: str) -> None:
        self.database = study.parent / "small.db"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "search.run", str(study), "--quiet"),
                *(f"executor={{ray: {{address: '{address}'}}}}", "search.trials=8"),
            ],
            cwd=study.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_evaluations(self, number: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while self._num_evaluations() < number:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)

    def _num_evaluations(self) -> int:
        if not self.database.exists():
            return 0
        try:
            return len(ledger.evaluations(self.database))
        except sqlite3.OperationalError:  # its tables are not made yet
            return 0

    def finish(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        lines = [line for line in err.splitlines() if line.startswith("paretune")]
        return self.process.returncode, "\n".join(lines)


def test_study_whose_driver_is_killed_and_interrupted_goes_on(cluster: Any, small: Path) -> None:
    first = Driver(small, cluster.address)
    first.wait_for_evaluations(3)
    os.killpg(first.process.pid, signal.SIGKILL)
    first.process.communicate()
    before = ledger.evaluations(small.parent / "small.db")

    second = Driver(small, cluster.address)
    second.wait_for_evaluations(len(before) + 2)
    second.process.send_signal(signal.SIGINT)
    assert second.finish() == (130, "paretune: interrupted; the same command goes on from here")

    ended = Driver(small, cluster.address).finish()
    rows = ledger.evaluations(small.parent / "small.db")
    assert ended == (0, ""), rows
    assert rows[: len(before)] == before
    places = Counter((row.trial, row.rung) for row in rows)
    assert set(places.values()) == {1}
    probes = list((small.parent / "small.artifacts").glob("probe-*"))
    assert len(probes) <= 1  # that of the run that was killed
    assert not list((small.parent / "small.artifacts").glob("*.part"))
