"""Stage app: a page that asks a finished run about pictures. Reads run and pictures; writes a cache of features.

The page is served to this machine alone, loads nothing from elsewhere, and nothing is sent anywhere; pictures that are
dropped are kept in a temporary folder until the app ends.
"""

import os
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.progress import say, waiting

PACKAGES = {"gradio": "gradio"}
HOSTS = ["127.0.0.1", "localhost"]
# Gradio's HTML component builds functions from text, so that must be allowed; they reach this server alone.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Served:
    """A page that can be served: `run` serves it until `stop` is called."""

    address: str
    server: Any
    listener: socket.socket

    def run(self) -> None:
        """Serves; returns after `stop`, and after Ctrl-C raises it."""
        self.server.run(sockets=[self.listener])

    def stop(self) -> None:
        """Ends `run`."""
        self.server.should_exit = True


def app(
    layout: Layout, comp: str, run: str, *, device: str = "auto", port: int = 8765, test: bool = False,
    browser: bool = True,
) -> None:  # fmt: skip
    """Serves the page of a run or an ensemble until Ctrl-C.

    Args:
        device: on which its networks predict.
        port: where on this machine; 0 takes a free one.
        test: shows the held-out labels of test rows.
        browser: opens the page.

    Raises:
        FoldlineError: the extra `app` is missing, the port is taken, the run is not predicted, or reads metadata.
    """
    say(f"opening {comp}/{run}")
    with serve(layout, comp, run, device=device, port=port, test=test) as served:
        say(f"{served.address} is the page of {comp}/{run}; Ctrl-C ends it")
        if test:
            say("it shows held-out labels: do not choose runs by them")
        if browser:
            threading.Thread(target=webbrowser.open, args=(served.address,), daemon=True).start()
        with waiting():
            served.run()


@contextmanager
def serve(
    layout: Layout, comp: str, run: str, *, device: str = "auto", port: int = 0, test: bool = False
) -> Iterator[Served]:
    """The page, not yet served; the comparison of the training pictures has begun."""
    _require_extra()
    with _listener(port) as listener, TemporaryDirectory(prefix="foldline-app-") as kept:
        os.environ |= {**QUIET, "GRADIO_TEMP_DIR": kept}  # before gradio is imported
        from foldline.app.desk import Desk
        from foldline.app.neighbours import Neighbours
        from foldline.app.opened import open_run

        opened = open_run(layout, comp, run, device=device, test=test)
        near = Neighbours(opened)
        server = _server(Desk(opened, near))
        near.start()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}/", server, listener)
        finally:
            near.stop()


def _require_extra() -> None:
    missing = [name for name, module in PACKAGES.items() if not find_spec(module)]
    if missing:
        raise FoldlineError(
            f"the app needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            next="pip install 'foldline[app]' (in this project: .venv/bin/python -m pip install -e '.[app]')",
        )


@contextmanager
def _listener(port: int) -> Iterator[socket.socket]:
    """A socket of this machine that no other can reach."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOSTS[0], port))
            listener.listen()  # a browser that comes before the server waits
        except OSError as error:
            raise FoldlineError(
                f"the port {port} cannot be used: {error.strerror}", where="--port", next="give another one, or 0"
            ) from error
        yield listener


def _server(desk: Any) -> Any:
    """The web server of the page: it answers to this machine's names alone, and lets nothing else be loaded."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from foldline.app.page import build, css, theme

    site = FastAPI(
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(_Policy)],
        openapi_url=None,
    )
    gr.mount_gradio_app(
        site, build(desk).queue(api_open=False), path="/", footer_links=[], run_history=False, ssr_mode=False,
        pwa=False, enable_monitoring=False, mcp_server=False, show_error=True, theme=theme(), css=css(),
    )  # fmt: skip
    return uvicorn.Server(uvicorn.Config(site, log_level="warning", timeout_graceful_shutdown=1))


class _Policy:
    """Says with every answer what a page may load."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Any ASGI application's."""

        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                further = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
                pairs = [(name.encode(), value.encode()) for name, value in further.items()]
                message = {**message, "headers": [*message.get("headers", []), *pairs]}
            await send(message)

        await self.app(scope, receive, with_policy)
