"""Stage watch: a page that follows a run while it trains. Reads the run's logs and pictures; its one button pauses it.

The page is served to this machine alone, and loads nothing from elsewhere. Its button needs the server's own token,
which no other site can read.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
import webbrowser
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import say, waiting
from foldline.report.live.standing import set_pause
from foldline.report.live.state import LiveRun, newest_predictions, open_live, state
from foldline.report.look.templates import environment

ROWS = 24  # pictures at a time
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; script-src 'sha256-{}'"
)


def watch(layout: Layout, comp: str, run: str, *, port: int = 8765, test: bool = False, browser: bool = True) -> None:
    """Serves the live page of a run until Ctrl-C.

    Args:
        port: where on this machine; 0 takes a free one.
        test: shows test pictures and their held-out labels, once they are predicted.
        browser: opens the page.

    Raises:
        FoldlineError: the folds are not made yet, or the port is taken.
    """
    with serve(layout, comp, run, port=port, test=test) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        say(f"{address} follows {comp}/{run}; Ctrl-C ends it")
        if test:
            say("it shows held-out labels: do not choose runs by them")
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        with waiting():
            server.serve_forever()


def serve(layout: Layout, comp: str, run: str, *, port: int, test: bool) -> ThreadingHTTPServer:
    """The server of the page, which does not answer yet."""
    live = open_live(layout, comp, run, test=test)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), _handler(live))
    except OSError as error:
        raise FoldlineError(
            f"the port {port} cannot be used: {error.strerror}", where="--port", next="give another one, or 0"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    """Answers the page, its two lists of facts, and its button.

    Attributes:
        token: what the button sends, and the page alone has; policy: what a browser may run and load.
    """

    live: ClassVar[LiveRun]
    page: ClassVar[str]
    policy: ClassVar[str]
    token: ClassVar[str]

    def handle(self) -> None:
        """Answers a browser; one that has left while it was answered is no error."""
        with suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if not self._is_ours():
            self.send_error(403)
        elif address.path == "/":
            self._answer("text/html; charset=utf-8", self.page)
        elif address.path in ("/state.json", "/predictions.json"):
            try:
                self._answer("application/json", json.dumps(self._facts(address.path, address.query)))
            except (FoldlineError, OSError) as error:  # a damaged file, or one that training replaces just now
                self.send_error(500, " ".join(str(error).split())[:300])
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """The button. A form of another site can send neither this header nor, unasked, our own origin."""
        origin, host = self.headers.get("Origin"), self.headers.get("Host", "")
        known = secrets.compare_digest(self.headers.get("X-Foldline-Token", "").encode(), self.token.encode())
        if not (self._is_ours() and known and origin in (None, f"http://{host}")):
            self.send_error(403)
        elif self.path in ("/pause", "/resume"):
            try:
                set_pause(self.live.layout, self.live.comp, self.live.run, paused=self.path == "/pause")
                self._answer("application/json", "{}")
            except OSError as error:
                self.send_error(500, " ".join(str(error).split())[:300])
        else:
            self.send_error(404)

    def _is_ours(self) -> bool:
        """Not another site's name that was made to point here; a tunnel may have another port."""
        return bool(re.fullmatch(r"(127\.0\.0\.1|localhost):\d{1,5}", self.headers.get("Host", "")))

    def _facts(self, path: str, query: str) -> Any:
        if path == "/state.json":
            return state(self.live)
        seed = parse_qs(query).get("seed", ["0"])[0]
        return newest_predictions(self.live, ROWS, int(seed[:9]) if seed.isdecimal() else 0)

    def _answer(self, kind: str, content: str) -> None:
        body = content.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the page asks every two seconds."""


def _handler(live: LiveRun) -> type[_Handler]:
    """The handler of one run's page, with a token of its own."""
    token = secrets.token_urlsafe(24)
    page = environment().get_template("live.html").render(run=live.run, comp=live.comp, test=live.test, token=token)
    script = page.partition("<script>")[2].partition("</script>")[0]
    policy = POLICY.format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())
    return type("Handler", (_Handler,), {"live": live, "page": page, "policy": policy, "token": token})
