"""A loopback stand-in for Kaggle's site, for the real client as a subprocess. Nothing here reaches a network."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sources.kaggle_notebooks import Notebooks

OWN = (
    "KAGGLE_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
)


class Site:
    """What the site answers: set the fields before a call, read `calls` after it."""

    def __init__(self) -> None:
        self.archive = b""  # what a download gives
        self.stall_after: int | None = None  # hold the connection open after so many bytes of it
        self.errors: dict[str, tuple[int, str]] = {}  # method (or PUT) -> status and message
        self.submissions: list[dict[str, Any]] = []  # newest first
        self.answers: list[dict[str, Any]] = []  # what changes in the newest, each time the list is asked for
        self.lose_answer = False  # take the submission, and break the connection before answering
        self.lost: set[str] = set()  # methods that are done, once each, and whose connection breaks before the answer
        self.scoring_error = ""
        self.notebooks = Notebooks()
        self.uploaded = b""
        self.file_name = ""
        self.code_submission: dict[str, Any] = {}
        self.calls: list[str] = []
        self.keys: set[str] = set()  # what callers signed in with
        self.ranges: list[str] = []
        self.stalled = threading.Event()
        self.closing = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """The calls of the client that foldline uses, as `POST /api/v1/<service>/<method>`."""

    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: Any) -> None: ...

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        method = self.path.rpartition("/")[2]
        self.site.calls.append(method)
        self.site.keys.add(self.headers.get("Authorization", ""))
        if method in self.site.errors:
            status, message = self.site.errors[method]
            self._json({"code": status, "message": message}, status)
        elif method in ("DownloadDataFiles", "DownloadDataset"):
            self._send(302, b"", Location="http://localhost/files/archive.zip")
        elif method == "GetDatasetMetadata":
            self._json({"info": {"licenses": [{"name": "CC0-1.0"}]}})
        elif method == "StartSubmissionUpload":
            self.site.file_name = asked["fileName"]
            self._json({"token": "t", "createUrl": "http://localhost/upload"})
        elif method == "CreateSubmission":
            self._create(asked)
        elif method == "CreateCodeSubmission":
            self.site.code_submission = asked
            self._create(asked)
        elif method == "GetSubmissionLimits":
            self._json({"numAllowedNow": 4})
        elif method == "GetSubmission":
            self._json({**self.site.submissions[0], "errorDescription": self.site.scoring_error})
        elif answer := self.site.notebooks.answer(method, asked):
            self._json_unless_lost(method, *answer)
        else:
            self._list()

    def _json_unless_lost(self, method: str, status: int, content: Any) -> None:
        if method in self.site.lost:
            self.site.lost.remove(method)
            self.close_connection = True
        else:
            self._json(content, status)

    def do_PUT(self) -> None:
        self.site.uploaded = self.rfile.read(int(self.headers["Content-Length"]))
        self.site.notebooks.blobs[self.path.rpartition("/")[2]] = self.site.uploaded
        status, message = self.site.errors.get("PUT", (200, "{}"))
        self._send(status, message.encode())

    def do_GET(self) -> None:
        if "/output/" in self.path:
            content = self.site.notebooks.output[self.path.rpartition("/")[2]]
            self._send(200, content, Last_Modified="Sat, 01 Jan 2022 00:00:00 GMT")
            return
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        rest, total = self.site.archive[start:], len(self.site.archive)
        headers = {"Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT", "ETag": '"1"', "Accept_Ranges": "bytes"}
        if asked:
            self.site.ranges.append(asked)
            headers["Content_Range"] = f"bytes {start}-{total - 1}/{total}"
        headers |= {"Content_Length": str(len(rest)), "Content_Type": "application/zip"}
        stop = self.site.stall_after
        self._send(206 if asked else 200, rest[:stop], **{k.replace("_", "-"): v for k, v in headers.items()})
        if stop is not None:
            self.wfile.flush()
            self.site.stalled.set()
            self.site.closing.wait(120)

    def _create(self, asked: Any) -> None:
        submission = {
            "ref": 100 + len(self.site.submissions),
            "fileName": asked.get("fileName", self.site.file_name),
            "date": "2026-11-01T00:00:00Z",
            "description": asked.get("submissionDescription", ""),
            "status": "PENDING",
            "publicScore": "",
            "privateScore": "",
        }
        self.site.submissions.insert(0, submission)
        if self.site.lose_answer:
            self.close_connection = True
            return
        self._json({"message": "Successfully submitted", "ref": submission["ref"]})

    def _list(self) -> None:
        if self.site.answers and self.site.submissions:
            self.site.submissions[0].update(self.site.answers.pop(0))
        self._json({"submissions": self.site.submissions, "nextPageToken": ""})


@contextmanager
def running_site(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site, and an environment in which the real client talks to it alone, signed in with a legacy key."""
    import os

    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"site": site}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name in [name for name in os.environ if name.startswith(OWN)]:
        monkeypatch.delenv(name)
    mine = {"HOME": str(home), "KAGGLE_CONFIG_DIR": str(home), "KAGGLE_USERNAME": "u", "KAGGLE_KEY": "k"}
    mine |= {"TMPDIR": str(home)}  # where the client notes an upload that goes on
    mine |= {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": f"http://127.0.0.1:{server.server_port}"}
    for name, value in mine.items():
        monkeypatch.setenv(name, value)
    try:
        yield site
    finally:
        site.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
