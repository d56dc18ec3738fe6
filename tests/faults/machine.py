"""Faults of the machine, each called in a process before its command begins: full disks, limits, mounts, clocks."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from faults.line import DISPOSABLE, Fault
from foldline.core.stopping import Stop

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}


def moments(root: Path, act: Callable[[int, str, str], None]) -> None:
    """Calls `act` before each change of a file or folder below `root`, with its number, what it is, and the path."""
    count = iter(range(1, 10**9))

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if (event != "open" and event not in _CHANGES) or not isinstance(given[0], str | os.PathLike):
            return
        path = str(given[0])
        if DISPOSABLE in path:
            return  # how often it is written is a matter of time
        writes = event in _CHANGES or (isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR))
        if (writes or path.endswith(".tmp")) and Path(path).absolute().is_relative_to(root):
            act(next(count), event if writes else "read", path)

    sys.addaudithook(hook)


def counted(into: Path) -> Fault:
    """Writes the number of a command's moments into a file."""

    def act(number: int, event: str, path: str) -> None:
        into.write_text(str(number))

    return lambda root: moments(root, act)


def listed(into: Path) -> Fault:
    """Writes a line for each of a command's moments into a file: what it is, and the path."""

    def act(number: int, event: str, path: str) -> None:
        with into.open("a") as handle:
            handle.write(f"{event} {path}\n")

    return lambda root: moments(root, act)


def ends_at(moment: int, number: int = signal.SIGKILL) -> Fault:
    """Sends a signal to the process at its so-manyth moment."""

    def act(now: int, event: str, path: str) -> None:
        if now == moment:
            os.kill(os.getpid(), number)

    return lambda root: moments(root, act)


def ends_before(change: str) -> Fault:
    """Kills the process before the first change that a pattern finds, written as `listed` does it."""

    def act(now: int, event: str, path: str) -> None:
        if re.search(change, f"{event} {path}"):
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda root: moments(root, act)


def ends_inside(file: str) -> Fault:
    """Kills the process while a file of this name is half-written, with `writing_in_place`."""

    def act(now: int, event: str, path: str) -> None:
        if path.endswith(f"{file}.half"):
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda root: moments(root, act)


def refused_at(moment: int, code: int) -> Fault:
    """The operating system refuses a change, and every later one but removing, with this error."""

    def act(now: int, event: str, path: str) -> None:
        if now >= moment and event not in ("os.remove", "os.rmdir", "read"):
            raise OSError(code, os.strerror(code), path)

    return lambda root: moments(root, act)


def unwritable_at(moment: int | str, code: int) -> Fault:
    """From a moment, or change, on nothing can be made or written to, as on a disk that is full; names can change."""
    begun: list[int] = []

    def act(now: int, event: str, path: str) -> None:
        if now == moment or (isinstance(moment, str) and re.search(moment, f"{event} {path}")):
            begun.append(now)
        if begun and event in ("open", "os.mkdir"):
            raise OSError(code, os.strerror(code), path)

    return lambda root: moments(root, act)


def waits_inside(file: str, marks: Path) -> Fault:
    """At its first change of such a file the process leaves a mark, and goes on when there are two: of both processes,
    or of this one and of the end of the other."""

    def act(now: int, event: str, path: str) -> None:
        mark = marks / str(os.getpid())
        if file in path and not mark.exists():
            mark.touch()
            deadline = time.monotonic() + 120
            while len(list(marks.iterdir())) < 2 and time.monotonic() < deadline:
                time.sleep(0.005)

    return lambda root: moments(root, act)


def both(*faults: Fault) -> Fault:
    """Several faults at once."""

    def fault(root: Path) -> None:
        for one in faults:
            one(root)

    return fault


def limited(what: int, most: int) -> Fault:
    """A limit of `resource`: the size of a file, or the number of open ones."""
    return lambda root: resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def without_home(root: Path) -> None:
    """No variable says where a person's own files are."""
    for name in [name for name in os.environ if "HOME" in name or name.startswith("XDG_")]:
        del os.environ[name]


def clock_set_back(root: Path) -> None:
    """The clock loses an hour with each look at it, and all files are of next year."""
    now, back = time.time(), iter(range(10**9))
    for path in root.rglob("*"):
        os.utime(path, (now + 3e7, now + 3e7), follow_symlinks=False)
    time.time = lambda: now - 3600 * next(back)


def can_mount() -> bool:
    """Whether this process may mount file systems (root, and no container that forbids it)."""
    process = os.fork()
    if process == 0:
        os._exit(0 if _own_mounts() and _mount("-t", "tmpfs", "tmpfs", "/dev/shm") else 1)
    return os.waitpid(process, 0)[1] == 0


def _own_mounts() -> bool:
    """Gives the process mounts of its own, which end with it."""
    new_namespace = 0x00020000
    return ctypes.CDLL(None).unshare(new_namespace) == 0 and _mount("--make-rprivate", "/")


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0


def tiny_shared_memory(root: Path) -> None:
    """/dev/shm of 16 kB, a third of what two workers need for these pictures."""
    assert _own_mounts()
    assert _mount("-t", "tmpfs", "-o", "size=16k", "tmpfs", "/dev/shm")


def read_only(*rooms: str) -> Fault:
    """Folders of the project that cannot be written to."""

    def fault(root: Path) -> None:
        assert _own_mounts()
        for room in rooms:
            (root / room).mkdir(exist_ok=True)
            assert _mount("--bind", str(root / room), str(root / room))
            assert _mount("-o", "remount,ro,bind", str(root / room))
        os.chdir(root)

    return fault


class SmallDisk:
    """A folder on a disk of its own, of so many bytes; needs the right to mount."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        assert _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))

    def grow(self) -> None:
        """Space enough."""
        assert _mount("-o", "remount,size=1g", str(self.folder))

    def remove(self) -> None:
        """Takes the disk away."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
        self.folder.rmdir()


# ---- what the negative controls switch off


def _everywhere(name: str, value: object) -> None:
    """Replaces a function in each of foldline's modules that knows it by this name."""
    for module in [module for key, module in sys.modules.items() if key.startswith("foldline")]:
        if hasattr(module, name):
            setattr(module, name, value)


def writing_in_place(root: Path) -> None:
    """Files are written where they are read, in two parts with a moment between."""

    @contextmanager
    def atomic_path(path: Path, *, former: Path | None = None) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            yield Path(folder) / path.name
            content = (Path(folder) / path.name).read_bytes()
        with path.open("wb") as handle:
            handle.write(content[: len(content) // 2])
            handle.flush()
            path.with_name(f"{path.name}.half").mkdir()
            path.with_name(f"{path.name}.half").rmdir()
            handle.write(content[len(content) // 2 :])

    _everywhere("atomic_path", atomic_path)


class _Equal(str):
    """Equal to any text."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True


def without_hashes(root: Path) -> None:
    """Resume points are taken whatever their hash says."""
    _everywhere("_sha256", lambda *_: _Equal("x"))


def without_locks(root: Path) -> None:
    """Two processes may train one fold."""
    _everywhere("lock", lambda *_: nullcontext())


def without_handlers(root: Path) -> None:
    """A signal ends a process as the system does it."""
    _everywhere("signals", lambda: nullcontext(Stop()))
