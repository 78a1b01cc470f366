"""Where files lie: what a folder and a bucket both promise, and studies that keep theirs in S3."""

import http.client
import io
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Command

from search.artifacts import Artifacts, ArtifactsAwayError, Folder, store_at


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server that speaks S3, with a bucket `shelf`."""
    import boto3

    log = tmp_path_factory.mktemp("s3") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", "0"],
            stderr=file,
            stdout=subprocess.DEVNULL,
        )
    end = time.monotonic() + 60
    while not (ports := re.findall(r"Running on http\S+:(\d+)", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    url = f"http://127.0.0.1:{ports[0]}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="shelf")
    yield url
    process.kill()
    process.wait()


@pytest.fixture
def environment(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(params=["folder", "bucket", "bucket and prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "folder":
        return store_at(str(tmp_path / "new"))
    request.getfixturevalue("environment")
    prefix = f"/some/{tmp_path.name}/" if "prefix" in request.param else ""
    return store_at(f"s3://shelf{prefix}")


@contextmanager
def cutting(server: str) -> Iterator[tuple[str, list[str]]]:
    """A way to `server` that breaks off in the first body it hands on; (address, what it cut)."""
    cuts: list[str] = []

    class Way(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            host = server.removeprefix("http://")
            upstream = http.client.HTTPConnection(host)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            upstream.request(self.command, self.path, headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET" and not cuts:
                cuts.append(self.path)
                body = body[:1000]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Way) as way:
        threading.Thread(target=way.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{way.server_port}", cuts
        way.shutdown()


class TestEveryStore:
    def test_what_was_written_is_read_and_written_over(self, store: Artifacts) -> None:
        for content in (b"first", b"second, longer"):
            store.write("weights-1.pt", io.BytesIO(content))
            with store.open_reader("weights-1.pt") as file:
                assert file.seekable()
                assert file.read() == content

    def test_what_is_not_there_is_not_found(self, store: Artifacts) -> None:
        with pytest.raises(FileNotFoundError):
            store.open_reader("nothing")

    def test_what_is_removed_is_gone_and_may_be_removed_again(self, store: Artifacts) -> None:
        store.write("x", io.BytesIO(b"x"))
        store.remove("x")
        store.remove("x")
        with pytest.raises(FileNotFoundError):
            store.open_reader("x")

    def test_old_files_are_found_by_the_begin_of_their_names(self, store: Artifacts) -> None:
        for name in ("checkpoint-a", "weights-b", "report"):
            store.write(name, io.BytesIO(b"x"))
        found = sorted(store.older_than(-5, ("checkpoint-", "weights-")))
        assert {"checkpoint-a", "weights-b"} <= set(found)
        assert "report" not in found
        assert list(store.older_than(3600, ("checkpoint-", "weights-"))) == []
        for name in ("checkpoint-a", "weights-b", "report"):
            store.remove(name)

    def test_a_sound_one_has_no_problem(self, store: Artifacts) -> None:
        assert store.problem() is None


@pytest.mark.usefixtures("environment")
class TestBucket:
    def test_more_files_than_fit_on_a_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("search.bucket.PAGE", 2)
        store = store_at("s3://shelf/many")
        names = [f"weights-{number}" for number in range(5)]
        for name in names:
            store.write(name, io.BytesIO(b""))
        assert sorted(store.older_than(-5, ("weights-",))) == names

    def test_bucket_that_is_not_there(self) -> None:
        problem = store_at("s3://nowhere/x").problem()
        assert problem == "there is no bucket 'nowhere'; create it or name another"

    def test_address_without_a_bucket(self) -> None:
        assert "names no bucket" in (store_at("s3:///x").problem() or "")

    def test_server_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("search.bucket.ATTEMPTS", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        store = store_at("s3://shelf")
        assert "cannot be reached" in (store.problem() or "")
        with pytest.raises(ArtifactsAwayError, match="s3://shelf cannot be reached"):
            store.write("x", io.BytesIO(b"x"))

    def test_body_that_is_cut_off_is_fetched_again(
        self, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store_at("s3://shelf").write("cut", io.BytesIO(bytes(range(256)) * 1000))
        with cutting(s3) as (url, cuts):
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            with store_at("s3://shelf").open_reader("cut") as file:
                assert file.read() == bytes(range(256)) * 1000
        assert cuts == ["/shelf/cut"]

    def test_without_boto3(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "boto3.exceptions", None)
        remedy = r"s3://shelf needs boto3; pip install 'paretune\[s3\]'"
        assert re.fullmatch(remedy, store_at("s3://shelf").problem() or "")
        with pytest.raises(ArtifactsAwayError, match=remedy):
            store_at("s3://shelf").open_reader("x")

    def test_study_keeps_its_files_there_and_exports_from_another_folder(
        self, small: Path, command: Command, tmp_path: Path
    ) -> None:
        done = command("run", str(small), "artifacts=s3://shelf/study", "search.trials=2")
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.glob("*.artifacts"))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        keys = ("artifacts=s3://shelf/study", f"storage=sqlite:///{tmp_path}/small.db")
        exported = command("export", str(small), "best", "--to", str(elsewhere), *keys)
        assert exported.returncode == 0, exported.stderr
        assert (elsewhere / "model.onnx").exists()

    def test_study_of_a_bucket_that_is_not_there_writes_nothing(
        self, small: Path, command: Command
    ) -> None:
        done = command("run", str(small), "artifacts=s3://nowhere")
        assert done.returncode == 2
        assert done.stderr == (
            "paretune: artifacts: there is no bucket 'nowhere'; create it or name another\n"
        )
        assert not Path("small.db").exists()


# --- a folder's own faults ---


def test_write_that_is_cut_off_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stops a write half-way, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(ArtifactsAwayError, match=r"folder .* cannot be written \(File too"):
            Folder(str(tmp_path)).write("weights-x", io.BytesIO(bytes(1 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_became_a_file(tmp_path: Path) -> None:
    (tmp_path / "place").touch()
    with pytest.raises(ArtifactsAwayError, match="cannot be written"):
        Folder(str(tmp_path / "place")).write("x", io.BytesIO(b"x"))
