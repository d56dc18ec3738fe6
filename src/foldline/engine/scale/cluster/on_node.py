"""What runs on a machine of the cluster: one command in a process of its own, watched, and told what is told.

Reads and writes the project folder of that machine: the one that all machines share, or its own, into which the driver
sends what is small and from which every file that changes goes back to the driver.
"""

import os
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from foldline import __version__
from foldline.core.cores import SHARE
from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout
from foldline.core.processes import BusyError, lock
from foldline.core.records.manifest import Manifest
from foldline.core.tables import remove, sha256_json
from foldline.engine.scale.board import event_of
from foldline.engine.scale.cluster.desk import Answer, Letter, Place
from foldline.engine.scale.cluster.parcel import Piece, packed, stamp, unpack
from foldline.engine.scale.cluster.tied import tied_command
from foldline.engine.scale.unit import Work

ROOT = "FOLDLINE_ROOT"  # a machine's project folder, where it is not the driver's path
LOOK_SECONDS = 0.5
LAST_LINES = 20
BUSY_SECONDS = 180.0  # that a lock may take to be free
GRACE_SECONDS = 900.0  # for a validation to end and a resume point to be written


@dataclass(frozen=True)
class Order:
    """What a task is to do.

    Attributes:
        unit: whose command it runs.
        key: of this task, for its letters.
        root: the driver's project folder.
        marker: a file below it that holds `word`: whoever reads that has the driver's files.
        inputs: the sha256 of the raw files' manifest.
        brings: folders, and files, below the project folder that the command writes and that go back.
        lock: the lock that the command holds while it works; empty: none.
        further: arguments of the command besides; cores: that it may use.
    """

    unit: Work
    key: str
    root: str
    marker: str
    word: str
    inputs: str
    brings: tuple[str, ...]
    lock: str = ""
    further: tuple[str, ...] = ()
    cores: int = 1
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        state: `failed`: by a mistake that a person mends, or a bug; `stopped`: as it was asked to.
        what, where, next: of an error.
        pieces: on a machine with a disk of its own, all files of `Order.brings`.
    """

    state: Literal["done", "failed", "stopped"]
    what: str = ""
    where: str = ""
    next: str = ""
    pieces: list[Piece] = field(default_factory=list)


Say = Callable[[list[Letter]], Answer]


def work(order: Order, say: Say, put: Callable[[Any], Any], get: Callable[[Any], Any]) -> Outcome:
    """Runs the order's command to its end.

    Args:
        say: leaves letters at the desk.
        put, get: into the object store, and out of it.
    """
    machine = socket.gethostname()
    if order.version != __version__:
        return Outcome(
            "failed", f"{machine} has foldline {__version__}, and the command was given to {order.version}",
            next="install the same version on every machine",
        )  # fmt: skip
    root = Path(os.environ.get(ROOT) or order.root)
    shared = _holds(root / order.marker, order.word)
    line = _Line(order, say)
    line.ask([Letter(order.key, "began", Place(machine, str(root), shared))])
    try:
        with ExitStack() as held:
            if not line.until(_Turn(order, root, held, line).has_come):
                return Outcome("stopped")
            if not shared:
                _require_inputs(order, root, machine)
                if not line.until(lambda: line.pieces is not None):
                    return Outcome("stopped")
                _lay_out(order, root, line.pieces or [], get)
        return _Task(order, line, put, root, shared).run()
    except FoldlineError as error:
        return Outcome("failed", error.what, error.where, error.next)


class _Line:
    """A task's line to its driver.

    Attributes:
        stop: the driver wants it to end; pieces: the files that it starts with, once they are there.
    """

    def __init__(self, order: Order, say: Say) -> None:
        self.order, self.say = order, say
        self.stop = False
        self.pieces: list[Piece] | None = None

    def ask(self, letters: list[Letter]) -> None:
        """Leaves letters, and takes what the driver left."""
        answer = self.say(letters)
        self.stop |= answer.stop
        self.pieces = self.pieces if answer.pieces is None else answer.pieces

    def until(self, ready: Callable[[], bool]) -> bool:
        """Waits; False where the driver wants it to end before that."""
        while not self.stop:
            if ready():
                return True
            time.sleep(LOOK_SECONDS)
            self.ask([])
        return False


class _Turn:
    """The lock that the command will hold: free, once the training of a worker that was killed a moment ago, or of a
    driver that died, has ended."""

    def __init__(self, order: Order, root: Path, held: ExitStack, line: _Line) -> None:
        self.order, self.root, self.held, self.line = order, root, held, line
        self.since = time.monotonic()
        self.told = False

    def has_come(self) -> bool:
        """Takes it; raises BusyError where somebody else has it for long."""
        if not self.order.lock:
            return True
        try:
            self.held.enter_context(lock(self.root / self.order.lock, f"{self.order.unit.title} is being trained"))
        except BusyError as error:
            if time.monotonic() - self.since > BUSY_SECONDS:
                raise
            if not self.told:
                said = {"event": "line", "text": f"waits: {error.what}"}
                self.line.ask([Letter(self.order.key, "line", said)])
                self.told = True
            return False
        return True


def _holds(path: Path, word: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == word
    except OSError:
        return False


def _require_inputs(order: Order, root: Path, machine: str) -> None:
    """Raises FoldlineError unless the raw files of this machine are those of the driver."""
    comp = order.unit.comp
    path = Layout(root).manifest(comp)
    says = f"{machine} does not see the driver's project folder, and its own, {root},"
    ways = (
        f"mount the driver's folder there; or, before `ray start`, export {ROOT}=<folder> and run "
        f"make download COMP={comp} in that folder"
    )
    if not path.is_file():
        raise FoldlineError(f"{says} has no raw files", where=f"{machine}: {path}", next=ways)
    if inputs_key(Layout(root), comp) != order.inputs:
        raise FoldlineError(f"{says} has other raw files", where=f"{machine}: {path}", next=ways)


def inputs_key(layout: Layout, comp: str) -> str:
    """The hash of all raw files, as the manifest says."""
    return sha256_json(Manifest.read(layout.manifest(comp)).hashes)


def _lay_out(order: Order, root: Path, pieces: list[Piece], get: Callable[[Any], Any]) -> None:
    """Makes this machine's files those of the driver: what an earlier task left here and the driver never got is as if
    it had not been."""
    known = {piece.path for piece in pieces}
    for path in _brought(root, order.brings):
        if path.relative_to(root).as_posix() not in known:
            remove(path)
    unpack(root, pieces, get)


def _brought(root: Path, names: tuple[str, ...]) -> list[Path]:
    """The files that go back: no locks, nothing that is being written, and no clock, which the driver's display has."""
    paths = [root / name for name in names]
    inside = [one for path in paths for one in (sorted(path.glob("*")) if path.is_dir() else [path])]
    return [path for path in inside if path.is_file() and path.name[0] != "." and path.name != "progress.json"]


class _Task:
    """One command at work."""

    def __init__(self, order: Order, line: _Line, put: Callable[[Any], Any], root: Path, shared: bool) -> None:
        self.order, self.line, self.put, self.root, self.shared = order, line, put, root, shared
        self.seen = {} if shared else self.stamps()
        self.said: list[dict[str, Any]] = []
        self.last: deque[str] = deque(maxlen=LAST_LINES)  # what is no JSON: a traceback, a crash's words
        self.error: dict[str, Any] = {}
        self.stopping = False

    def run(self) -> Outcome:
        """Until the command ends; asked to stop, or without a driver, it is ended politely."""
        command = tied_command(self.order.unit.command(self.root, "--log", "json", *self.order.further))
        with subprocess.Popen(  # noqa: S603 - ourselves
            command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", env={**os.environ, SHARE: str(self.order.cores)},
        ) as child:  # fmt: skip
            reader = threading.Thread(target=self._read, args=(child,), daemon=True)
            reader.start()
            try:
                self._watch(child)
            except BaseException:  # cancelled, or the driver is gone with its desk
                self._end(child)
                raise
            reader.join(5.0)
        self._tell()
        return self._outcome(child.returncode)

    def _read(self, child: "subprocess.Popen[str]") -> None:
        assert child.stdout is not None
        for text in child.stdout:
            event = event_of(text)
            if not event:
                self.last.append(text.rstrip("\n"))
            elif event["event"] == "error":
                self.error = event
            else:
                self.said.append(event)

    def _watch(self, child: "subprocess.Popen[str]") -> None:
        until = float("inf")
        while True:
            try:
                child.wait(LOOK_SECONDS)
                return
            except subprocess.TimeoutExpired:
                self._tell()
            if self.line.stop and not self.stopping:
                self.stopping, until = True, time.monotonic() + GRACE_SECONDS
                child.terminate()
            if time.monotonic() > until:
                child.kill()

    def _end(self, child: "subprocess.Popen[str]") -> None:
        child.terminate()
        try:
            child.wait(GRACE_SECONDS)
        finally:
            child.kill()

    def _tell(self) -> None:
        """What the command said, and on a disk of its own the files that changed, since it was told last."""
        count = len(self.said)
        said, self.said[:count] = self.said[:count], []
        letters = [Letter(self.order.key, "line", event) for event in said]
        if not self.shared:
            now = self.stamps()
            changed = [path for path, when in now.items() if self.seen.get(path) != when]
            self.seen = now
            if changed:
                letters.append(Letter(self.order.key, "files", packed(self.root, changed, self.put)))
        self.line.ask(letters)

    def stamps(self) -> dict[Path, tuple[int, ...]]:
        """What tells that a file that goes back has changed, of each."""
        found = {path: stamp(path) for path in _brought(self.root, self.order.brings)}
        return {path: when for path, when in found.items() if when is not None}

    def _outcome(self, code: int) -> Outcome:
        pieces = [] if self.shared else packed(self.root, _brought(self.root, self.order.brings))
        if code == 0:
            return Outcome("done", pieces=pieces)
        if self.stopping:
            return Outcome("stopped", pieces=pieces)
        told = {key: str(self.error.get(key, "")) for key in ("what", "where", "next")}
        if not self.error:
            told["what"] = "; ".join([f"its command ended with {code}", *self.last])
        return Outcome("failed", **told, pieces=pieces)
