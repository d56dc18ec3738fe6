"""Whose a file is: names of temporary files, and locks, say which process made them and whether it is still there.

A lock is a file with its owner's name that the system locks (`flock`), too, where it can. On one machine the system
knows whether an owner lives; where the disk is shared, and its locks may be each machine's own or none at all, the
name counts, and that its owner touches the file (`core.beats`).
"""

import errno
import hashlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

from foldline.core.beats import SILENT_SECONDS, Beats, silent
from foldline.core.clock import in_day
from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.stopping import undivided

OLD_SECONDS = 7 * 86400  # untouched for so long, a file of a machine that nobody can ask is no one's
SETTLE_SECONDS = 1.0  # after which the last one of several that take over a dead owner's lock has written its name
LONGEST_PAUSE = 1.0  # between two looks at a lock that is waited for
_beats = Beats()


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
    """Holds the lock file `path` while the block runs; that of an owner who died is taken over.

    Where the operating system has no `flock`, nothing is held.

    Args:
        busy: what is being done, for the message of another process, such as "fold 0 is being trained".

    Raises:
        BusyError: another process holds it; the message says which, since when, and what it does.
    """
    if os.name != "posix":
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = f"{owner()} {socket.gethostname()} {datetime.now(UTC).isoformat()} {busy}"
    dead: set[str] = set()
    with ExitStack() as held:
        while True:
            with undivided():
                found = _attempt(path, content, dead)
                if found.handle is not None:
                    held.callback(_release, path, content, found.handle)
                    _beats.begin(path, content, _robbed)
                    break
            if not found.is_dead(path):
                raise _busy(path, busy, found.content)
            dead.add(found.content)
        yield


@contextmanager
def in_turn(path: Path, busy: str, *, patience: float = math.inf) -> Iterator[None]:
    """`lock` that waits for its turn, and says so: for work that every process needs and one does first.

    Args:
        patience: seconds.

    Raises:
        BusyError: another process holds it for longer.
    """
    begin, pause = time.monotonic(), 0.05
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lock(path, busy))
                break
            except BusyError as error:
                if time.monotonic() - begin > patience:
                    raise
                if pause > 0.5:  # it takes longer than a moment
                    if pause < LONGEST_PAUSE:
                        say(f"{error.what}: this process waits for it")
                    pause = LONGEST_PAUSE
                time.sleep(pause)
                pause *= 1.0 if pause >= LONGEST_PAUSE else 1.5
        yield


def drop_dead_lock(path: Path) -> None:
    """Removes a lock file whose process is gone, where there is nothing left to lock."""
    with suppress(OSError):
        if (name := path.read_text(encoding="utf-8").partition(" ")[0]) and is_gone(path, name):
            path.unlink()


def is_held(path: Path) -> bool:
    """Whether a lock file is there and its owner, too, as far as that can be seen at once."""
    try:
        content = path.read_text(encoding="utf-8")
        name, _, rest = content.partition(" ")
        if rest.count(" ") < 2 or _parts(name)[0] == _place():
            return not is_gone(path, name)
        return time.time() - path.stat().st_mtime < 10 * SILENT_SECONDS  # clocks of two machines differ
    except OSError:
        return False


def holder(path: Path) -> str:
    """Who holds a lock file, such as `process 4711 on gpu07`; empty: nobody, as far as that can be seen at once."""
    with suppress(OSError):
        name, _, rest = path.read_text(encoding="utf-8").partition(" ")
        if is_held(path):
            return f"process {_parts(name)[1]} on {rest.partition(' ')[0]}"
    return ""


@dataclass(frozen=True)
class _Found:
    """What an attempt to take a lock found.

    Attributes:
        content: of the lock file: its owner's name, machine, since when, and what it does.
        handle: of the lock file, where it was taken.
        locked: whether the system says that another process has it.
    """

    content: str
    handle: int | None = None
    locked: bool = False

    def is_dead(self, path: Path) -> bool:
        """Whether its owner is; of another machine only its silence tells, which is waited for."""
        name, _, rest = self.content.partition(" ")
        place, number, _ = _parts(name)
        if place == _place() or rest.count(" ") < 2:  # versions before this one touched nothing
            return bool(name) and is_gone(path, name)
        if not self.locked:
            say(
                f"{path} is of process {number} on {rest.partition(' ')[0]}: a sign of life of it is waited for, at "
                f"most {SILENT_SECONDS:.0f} s"
            )
        return silent(path, path.with_name(f".clock{threading.get_ident()}.{owner()}.tmp"), patient=not self.locked)


def _attempt(path: Path, content: str, dead: set[str]) -> _Found:
    """Takes the lock where nobody has it, or one of these who are dead.

    The system's lock decides between the processes of one machine. Between machines it may mean nothing, so there a
    file that is made counts, and of several that write their name into a dead one's file the last.
    """
    while True:
        handle, is_new = _open(path)
        kept = False
        try:
            system, now = _system_lock(handle), ""
            if os.fstat(handle).st_nlink == 0:  # somebody has just removed it
                continue
            if is_new and system == "refused":  # somebody opened and locked it since it was made: it is theirs
                continue
            if not is_new:
                now = _owner_in(handle)
                name = now.partition(" ")[0]
                own = _parts(name)[0] == _place()
                nobody = system != "refused" and not _parts(name)[0]  # no owner's name: a cut write, another program's
                is_dead = now in dead or nobody or (own and is_gone(path, name))
                if system == "refused" and now and is_dead:  # the children of a process that was killed
                    _unlink(path, handle)
                    continue
                if system == "refused" or (now and not is_dead and not (own and system == "held")):
                    return _Found(now, locked=system == "refused")
            os.truncate(handle, 0)
            os.pwrite(handle, content.encode(), 0)
            os.fsync(handle)
            sure = is_new or (system == "held" and bool(now) and own)
            if sure or _settled(path, content):
                kept = True
                return _Found(content, handle)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            continue  # somebody has removed it meanwhile
        finally:
            if not kept:
                os.close(handle)


def _open(path: Path) -> tuple[int, bool]:
    """A handle of the lock file, and whether it was made now, which is one process's alone on any disk."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR), False


def _system_lock(handle: int) -> Literal["held", "refused", "none"]:
    """Takes the system's lock of an open file; none: a file system without locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "refused"
    except OSError:
        return "none"
    return "held"


def _settled(path: Path, content: str) -> bool:
    """Whether this process's name still stands there when all who write theirs have."""
    time.sleep(SETTLE_SECONDS)
    return path.read_text(encoding="utf-8") == content


def _owner_in(handle: int) -> str:
    """What stands in a lock file; the process that took it writes its name a moment later."""
    for _ in range(20):
        if content := os.pread(handle, 4000, 0).decode(errors="replace"):
            return content
        time.sleep(0.05)
    return ""


def _unlink(path: Path, handle: int) -> None:
    """Removes the lock file unless another one has its name already."""
    with suppress(FileNotFoundError):
        if os.path.samestat(path.stat(), os.fstat(handle)):
            path.unlink()


def _release(path: Path, content: str, handle: int) -> None:
    """Removes the lock file, unless another process took it over, then lets go of the system's lock."""
    with undivided():
        _beats.end(path)
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == content:
                path.unlink()
        os.close(handle)


def _robbed(path: Path) -> None:
    """Another machine held this process for dead, which it seemed to be: it ends, as by a signal."""
    say(f"warning: {path} is another process's now, since this one gave no sign of life for long: it ends")
    if signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, signal.SIG_IGN):
        os.kill(os.getpid(), signal.SIGTERM)


def _busy(path: Path, busy: str, content: str) -> BusyError:
    name, _, rest = content.partition(" ")
    machine, _, rest = rest.partition(" ")
    since, _, what = rest.partition(" ")
    who = f", number {_parts(name)[1]} on {machine}" if name else ""
    with suppress(ValueError):
        who += f", since {in_day(datetime.fromisoformat(since).astimezone(), datetime.now().astimezone())}"
    return BusyError(
        f"{what or busy} by another process{who}", where=str(path),
        next="wait for it or end it, then the same command goes on",
    )  # fmt: skip
