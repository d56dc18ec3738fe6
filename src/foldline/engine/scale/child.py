"""One fold as a child process: how it is started, what it says, how it is ended. Writes `fold_<k>/train.out`."""

import os
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

from foldline.core.clock import in_minutes
from foldline.core.cores import SHARE
from foldline.core.records.progress import AT_WORK, RunProgress
from foldline.core.stopping import TIED
from foldline.core.tables import temporary_name
from foldline.engine.scale.devices import VISIBLE
from foldline.engine.scale.unit import Unit

THREADS = "OMP_NUM_THREADS"
OUT = "train.out"
LAST_LINES = 12
ERROR = "error: "


def environment(gpu: str, share: int, cores: int) -> dict[str, str]:
    """What a child is told: its GPU, and its part of the cores.

    Args:
        gpu: as `CUDA_VISIBLE_DEVICES` names it; empty: none is handed out.
        share: how many children there are at once.
        cores: that this process may use.
    """
    own = max(cores // share, 1)
    told = {TIED: "1", SHARE: str(own)}
    if share > 1 and THREADS not in os.environ:
        told[THREADS] = str(own)
    return {**os.environ, **told, **({VISIBLE: gpu} if gpu else {})}


class Child:
    """A process that trains one fold.

    It is in a session of its own, so that Ctrl-C comes to its parent alone, and it ends politely where its parent does
    in any way: it reads a pipe of which the parent has the other end.

    Args:
        gpu: that it was given, or empty.
    """

    def __init__(self, unit: Unit, root: Path, folder: Path, told: dict[str, str], gpu: str = "") -> None:
        self.unit, self.folder, self.gpu = unit, folder, gpu
        self.started, self.ended = time.monotonic(), 0.0
        self.out = folder / OUT
        folder.mkdir(parents=True, exist_ok=True)
        new = temporary_name(self.out)  # a file of its own: a child of another command may still write to the old one
        with new.open("wb") as out:
            self._said = new.open("rb", buffering=0)
            new.replace(self.out)
            self._process = subprocess.Popen(  # noqa: S603
                unit.command(root), stdin=subprocess.PIPE, stdout=out, stderr=out, env=told, start_new_session=True
            )
        self._rest = b""
        self._unheard: list[str] = []
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._error = ""
        self.has_trained = False

    @property
    def seconds(self) -> float:
        """From its start to its end, or until now."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def why(self) -> str:
        """How it failed: its own words, where it said some."""
        code = self.code or 0
        how = f"exit code {code}" if code < 128 else f"ended by signal {code - 128}"
        how += f" after {in_minutes(self.seconds)}"
        return f"{self._error} ({how})" if self._error else how

    @property
    def code(self) -> int | None:
        """Its exit code, as a shell has it; None: it runs."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def stands(self) -> RunProgress | None:
        """Where its fold stands; None: it has not said so yet."""
        found = RunProgress.now(self.folder / "progress.json")
        if found is None or found.state not in AT_WORK:
            return None
        self.has_trained |= found.state in ("training", "validating", "paused") and found.steps > 0
        return found

    def news(self) -> list[str]:
        """The whole lines that it has said since this was asked before."""
        if not self._said.closed:
            self._hear()
        found, self._unheard = self._unheard, []
        return found

    def _hear(self) -> None:
        """Takes in what it has said, up to the last whole line; all of it, where it has ended."""
        text = self._rest + self._said.read()
        whole, _, self._rest = (text, b"", b"") if self.ended else text.rpartition(b"\n")
        lines = whole.decode(errors="replace").splitlines()
        for line in lines:
            self._error = line.removeprefix(ERROR) if line.startswith(ERROR) else self._error
        self._unheard += lines
        self._last += lines

    def last_lines(self) -> str:
        """What it said last."""
        return "\n".join(f"      {line}" for line in self._last)

    def stop(self) -> None:
        """Asks it to end: it writes a resume point first."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits for its end, takes in its last words, and closes the pipe."""
        self._process.wait()
        self.ended = self.ended or time.monotonic()
        if not self._said.closed:
            self._hear()
            self._said.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
