"""A real headless browser for tests, driven over a pipe by Chromium's own protocol; no further package is needed."""

import base64
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--no-first-run", "--disable-sync", "--remote-debugging-pipe",
]  # fmt: skip
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine: no page is looked at")


class Browser:
    """One page of a browser: what it shows, what it asked for, and what went wrong in it.

    Attributes:
        asked: the addresses of all requests, in order.
        errors: what the page's scripts threw, and what its console calls an error.
    """

    def __init__(self, folder: Path, width: int = 1200, height: int = 1000) -> None:
        self.asked: list[str] = []
        self.errors: list[str] = []
        self._count = 0
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}", "about:blank"]
        command = f"exec {shlex.join([CHROMIUM, *flags])} 3<&{theirs_in} 4>&{theirs_out}"
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command], pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._answers = os.fdopen(self._in, "rb")
        self._session = ""
        target = self._call("Target.getTargets")["targetInfos"][0]["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self._call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._out)
        self._answers.close()

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _read(self) -> dict[str, Any]:
        content = bytearray()
        while (letter := self._answers.read(1)) != b"\0":
            assert letter, "the browser is gone"
            content += letter
        message: dict[str, Any] = json.loads(content)
        return message

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"])[:500])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.errors.append(json.dumps(told["args"])[:500])

    def open(self, address: str) -> None:
        """Loads a page."""
        self._call("Page.navigate", url=address)

    def js(self, expression: str) -> Any:
        """The value of an expression of the page's scripts, awaited."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Until an expression is true; fails where it is not in time."""
        end = time.monotonic() + seconds
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() < end, (
                f"{expression} did not come true; errors: {self.errors}; {self.text()[:2000]}"
            )
            time.sleep(0.1)

    def text(self) -> str:
        """What is to be read on the page."""
        return str(self.js("document.body.innerText"))

    def choose_files(self, selector: str, files: Sequence[Path]) -> None:
        """Chooses files in an `<input type=file>`."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def resize(self, width: int, height: int) -> None:
        """Shows the page as a device of this size, in px, would."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def dark(self) -> None:
        """The reader prefers a dark page."""
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def screenshot(self, path: Path) -> None:
        """Keeps what is shown, as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
