"""Signs of life of lock files: their owner touches them at times, and other machines, which cannot ask for a process
there, see when it does so no more. No two machines' clocks are compared: a file's age is told by its own disk's.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from foldline.core.stopping import undisturbed

BEAT_SECONDS = 10.0  # between two touches
SILENT_SECONDS = 60.0  # untouched for so long, six beats, its owner is dead


class Beats:
    """Touches the lock files that this process holds, from one thread."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Nothing is held: of a process that was just forked."""
        self._held: dict[Path, tuple[str, Callable[[Path], None]]] = {}
        self._thread: threading.Thread | None = None

    def begin(self, path: Path, content: str, lost: Callable[[Path], None]) -> None:
        """A lock file is held.

        Args:
            content: the file's, as long as it is this process's.
            lost: called, from the thread, where another process's name stands there.
        """
        self._held[path] = content, lost
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="foldline-beats", daemon=True)
            with undisturbed():
                self._thread.start()

    def end(self, path: Path) -> None:
        """It is held no more."""
        self._held.pop(path, None)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            for path, (content, lost) in list(self._held.items()):
                with suppress(OSError):  # the network may be away for a moment; a file that somebody deleted
                    if path.read_text(encoding="utf-8") == content:
                        os.utime(path)  # the server's own time
                    elif self._held.pop(path, None) is not None:
                        lost(path)


def silent(path: Path, clock: Path, *, patient: bool = True) -> bool:
    """Whether a file's owner is dead: nobody touched it for `SILENT_SECONDS`, nor does while this waits for it.

    Args:
        clock: a file that can be made on the same disk, for its time.
        patient: waits for the end of these seconds; else an owner that was there within them lives.
    """
    seen = _touched(path)
    if seen is None:
        return True
    left = SILENT_SECONDS - (_now(clock) - seen / 1e9)
    if left > 0 and not patient:
        return False
    until = time.monotonic() + min(max(left, 2 * BEAT_SECONDS), SILENT_SECONDS)
    while time.monotonic() < until:
        time.sleep(min(BEAT_SECONDS / 5, max(until - time.monotonic(), 0.0)))
        if _touched(path) != seen:
            return False
    return True


def _touched(path: Path) -> int | None:
    """When, in nanoseconds; None: it is gone. Opened, since a network disk may remember what it said of a name."""
    try:
        with path.open("rb") as handle:
            return os.fstat(handle.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _now(clock: Path) -> float:
    """The time of a disk, which may be a server's."""
    clock.touch()
    try:
        return clock.stat().st_mtime
    finally:
        clock.unlink(missing_ok=True)
