"""Whose a file is: names of temporary files, and locks, say which process made them and whether it is still there."""

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.stopping import undivided

OLD_SECONDS = 7 * 86400  # untouched for so long, a file of a machine that nobody can ask is no one's


class BusyError(FoldlineError):
    """Another process does it."""


def owner() -> str:
    """This process as a name: machine and process namespace (a container has its own), number, and when it started.

    Numbers are given to other processes again, and two containers may share a machine's name and a disk.
    """
    return f"{_place()}.{os.getpid()}.{_started(os.getpid())}"


def is_gone(path: Path, name: str) -> bool:
    """Whether the process that `owner` called `name` is gone; of another machine the age of its file `path` tells."""
    place, number, started = _parts(name)
    if place != _place() or os.name != "posix":
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > OLD_SECONDS
        return False
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's
        return False
    return started != _started(number)


def _parts(name: str) -> tuple[str, int, str]:
    """Place, number and start of an owner; a place that is none, where it is no owner's name."""
    place, number, started = name.split(".") if name.count(".") == 2 else ("", "", "")
    return (place, int(number), started) if number.isdecimal() else ("", 0, "")


@cache
def _place() -> str:
    """8 hex digits for the machine and the process namespace."""
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _started(number: int) -> str:
    """When a process was started, in ticks since the machine was; 0 where nobody can tell."""
    try:
        return Path(f"/proc/{number}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


@contextmanager
def lock(path: Path, busy: str) -> Iterator[None]:
    """Holds the lock file `path` while the block runs; the system takes it from a process that dies.

    Where the operating system or the file system has no locks, nothing is held.

    Args:
        busy: what another process is doing, for the message, such as "fold 0 is being trained".

    Raises:
        BusyError: another process holds it; the message says which.
    """
    if os.name != "posix":
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with undivided():
            handle = _open(path, held)
            while not _taken(handle):
                _require_dead(path, busy, _owner_in(handle))
                handle = _open(path, held)
            os.truncate(handle, 0)
            os.pwrite(handle, f"{owner()} {socket.gethostname()}".encode(), 0)
            held.callback(_remove, path)
        yield


@contextmanager
def in_turn(path: Path, busy: str, *, patience: float = 1800.0) -> Iterator[None]:
    """`lock` that waits for its turn, for a piece of work that every process needs and one does first.

    Args:
        patience: seconds.

    Raises:
        BusyError: another process holds it for longer.
    """
    until = time.monotonic() + patience
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock(path, busy))
                break
            except BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield


def drop_dead_lock(path: Path) -> None:
    """Removes a lock file whose process is gone, where there is nothing left to lock."""
    with suppress(OSError):
        if (name := path.read_text(encoding="utf-8").partition(" ")[0]) and is_gone(path, name):
            path.unlink()


def _remove(path: Path) -> None:
    with undivided():
        path.unlink(missing_ok=True)


def _open(path: Path, held: ExitStack) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    held.callback(os.close, handle)
    return handle


def _taken(handle: int) -> bool:
    """Takes the lock of an open file; False where another process has it, or has just removed the file."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return os.fstat(handle).st_nlink > 0


def _owner_in(handle: int) -> str:
    """What stands in a lock file; the process that took it writes its name a moment later."""
    for _ in range(20):
        if content := os.pread(handle, 1000, 0).decode(errors="replace"):
            return content
        time.sleep(0.05)
    return ""


def _require_dead(path: Path, busy: str, content: str) -> None:
    """Removes a lock that only the children of a process that was killed still hold; raises where that one lives."""
    name, _, machine = content.partition(" ")
    if not path.exists():
        return
    if name and is_gone(path, name):
        path.unlink(missing_ok=True)
        return
    who = f", number {_parts(name)[1]} on {machine}" if name else ""
    raise BusyError(
        f"{busy} by another process{who}", where=str(path), next="wait for it or end it, then the same command goes on"
    )
