"""The report of a study that is running: a server on this machine alone, and its page."""

from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from search.errors import InputError

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
"""By which a browser may ask: another name is a page of somebody else's."""


def serve(
    port: int, page: Callable[[str], str], state: Callable[[], str], ready: Callable[[str], None]
) -> None:
    """Answer `/` with the page as the study stands, `/state` with what changes when it does.

    Until Ctrl-C. `ready` is told the address; port 0 takes a free one.

    Raises:
        InputError: the port is taken.
    """

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").rsplit(":", 1)[0] not in NAMES:
                self._say(403, "text/plain", "ask for localhost")
            elif self.path == "/state":
                self._answer("text/plain", state)
            elif self.path == "/":
                self._answer("text/html", lambda: page(state()))
            else:
                self._say(404, "text/plain", "there is only /")

        def _answer(self, kind: str, make: Callable[[], str]) -> None:
            try:
                self._say(200, kind, make())
            except InputError as error:
                self._say(503, "text/plain", str(error))

        def _say(self, code: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # a page that is loaded anew breaks off
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests are nobody's news."""

    try:
        server = ThreadingHTTPServer((HOST, port), Desk)
    except (OSError, OverflowError) as error:
        told = getattr(error, "strerror", None) or error
        raise InputError(f"--port: {port} cannot be used ({told}); name another") from error
    with server:
        ready(f"http://{HOST}:{server.server_port}/")
        server.serve_forever(poll_interval=0.2)
