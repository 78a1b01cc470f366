"""How long one waits for an answer: python -m benchmarks.desk [--large FOLDER] [--report FILE].

Commands on a database of 10,000 candidates, as whole processes; a report, from the start of
loading until the figures that are looked at first are drawn, in headless Chromium that imitates a
graphics card; and the time left that a run tells after a quarter of its candidates, beside the
time that it took from there. What is not named is not measured. FOLDER and FILE come from
`python -m benchmarks.scale --samplers random --workers 256 --candidates 10000 --folder FOLDER`
and the same with `--samplers ehvi --workers 64 --candidates 2000`, which writes report.html.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.conditions import keep, spread
from benchmarks.demo import ROOT, seconds

FRAME = b"""<!doctype html><body style="margin:0">
<iframe src="/report" style="width:100%;height:900px;border:0"></iframe>
<script>setInterval(() => {
  const { open } = document.querySelector("iframe").contentDocument.documentElement.dataset;
  if (open) fetch(`/opened/${open}`);
}, 100);</script>"""
"""A page around the report that says when it is open."""
WAIT_S = 60.0


def main() -> None:
    """Measure, print, keep; what the file holds of other parts stays."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", type=Path, help="folder with scale.db")
    parser.add_argument("--report", type=Path, help="report.html")
    parser.add_argument("--runs", nargs="*", default=[], help="studies, such as digits")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    kept = options.to is not None and options.to.exists()
    result = json.loads(options.to.read_text()) if kept else {"left": []}
    if options.large:
        result["commands_s"] = commands(options.large.resolve(), options.times)
        for name, times in result["commands_s"].items():
            print(f"{name:40} {spread(times)} s")
    if options.report:
        result["opened_ms"] = [opened_ms(options.report.resolve()) for _ in range(options.times)]
        print(f"{'report opened':40} {spread(result['opened_ms'], 4)} ms")
    for study in options.runs:
        row = time_left(study)
        result["left"].append(row)
        print(f"{study:40} told {row['told_s']:.0f} s, took {row['took_s']:.0f} s", flush=True)
    keep(
        options.to, "desk", {k: result[k] for k in result if k not in ("benchmark", "conditions")}
    )


def commands(folder: Path, times: int) -> dict[str, list[float]]:
    """Wall seconds of each command, as whole processes."""
    url = f"sqlite:///{folder / 'scale.db'}"
    asked = {
        "front --help": ["search.front", "--help"],
        "front": ["search.front", "digits", "--storage", url],
        "front --knee": ["search.front", "digits", "--storage", url, "--knee"],
        "front --csv": ["search.front", "digits", "--storage", url, "--csv"],
        "studies": ["search.studies", url],
    }
    return {
        name: [round(seconds(module, folder), 3) for _ in range(times)]
        for name, module in asked.items()
    }


def opened_ms(report: Path) -> int:
    """Milliseconds until the page shows what is looked at first, by its own clock."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    class Frame(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/opened/"):
                told.put(int(self.path.removeprefix("/opened/")))
            body = report.read_bytes() if self.path == "/report" else FRAME
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are nobody's news."""

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        ThreadingHTTPServer(("127.0.0.1", 0), Frame) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [
                "chromium",
                *("--headless", "--no-sandbox", "--no-first-run", f"--user-data-dir={profile}"),
                *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
                *("--window-size=1440,900", "--remote-debugging-port=0"),
                f"http://127.0.0.1:{server.server_port}/",
            ],
            stderr=subprocess.DEVNULL,
        )
        try:
            return told.get(timeout=WAIT_S)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()


def time_left(study: str) -> dict[str, Any]:
    """What a run tells after a quarter of its candidates, and what it took from there."""
    file = ROOT / "studies" / f"{study}.yaml"
    start, told_at, told_s = time.monotonic(), None, 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "search.run", str(file), "--json-lines"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        ) as run,
    ):
        assert run.stdout is not None
        for line in run.stdout:
            state = json.loads(line)
            quarter = 4 * state["finished"] >= state["total"]
            if told_at is None and quarter and state["left_s"] is not None:
                told_at, told_s = time.monotonic(), state["left_s"]
            if state["state"] != "running":
                ended = time.monotonic()  # what follows (the report) is not of the candidates
    if run.returncode or told_at is None:
        raise RuntimeError(f"{study} ended with {run.returncode} before it told a time")
    return {
        "study": study,
        "told_s": told_s,
        "took_s": round(ended - told_at, 1),
        "whole_s": round(ended - start, 1),
    }


if __name__ == "__main__":
    main()
