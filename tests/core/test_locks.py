"""A lock between two machines: the system's locks are each one's own or none, so only names and signs of life count."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foldline.core import beats, processes
from foldline.core.processes import BusyError, in_turn, is_held, lock
from foldline.core.stopping import signals

# Another process, on this machine or as if on another one, which holds a lock until a line comes.
OTHER = """
import os, sys, fcntl, socket
from pathlib import Path
from foldline.core import beats, processes
path, place, system, beat = sys.argv[1:5]
beats.BEAT_SECONDS, processes.SETTLE_SECONDS = float(beat), 0.1
if place:
    processes._place = lambda: place
    socket.gethostname = lambda: place
def none(handle, how):
    if system == "none":
        raise OSError(95, "no locks here")
if system != "flock":
    fcntl.flock = none  # none, or on each machine its own
with processes.lock(Path(path), "fold 0 is being trained"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def other(
    path: Path, *, place: str = "aaaaaaaa", system: str = "local", beat: float = 0.05
) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", OTHER, str(path), place, system, str(beat)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in (
        (beats, "BEAT_SECONDS", 0.05),
        (beats, "SILENT_SECONDS", 0.6),
        (processes, "SETTLE_SECONDS", 0.1),
    ):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture(params=["local", "none"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the disk's locks are: each machine's own, or none."""
    if request.param == "none":

        def refuses(*_: object) -> None:
            raise OSError(errno.ENOTSUP, "no locks here")

        monkeypatch.setattr(fcntl, "flock", refuses)
    return str(request.param)


def test_another_machine_that_beats_is_not_robbed(
    tmp_path: Path, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ".lock"
    with other(path, system=system):
        os.utime(path, (0, 0))  # as if its clock stood in another year
        with pytest.raises(
            BusyError, match=r"^fold 0 is being trained by another process, number \d+ on aaaaaaaa, since "
        ):
            lock(path, "it is made").__enter__()
        assert is_held(path)
    assert "a sign of life of it is waited for" in capsys.readouterr().out
    assert path.read_text().startswith("aaaaaaaa.")


def test_another_machine_that_died_is_taken_over(tmp_path: Path, system: str) -> None:
    path = tmp_path / ".lock"
    with other(path, system=system) as process:
        process.kill()
        process.wait()
        begin = time.monotonic()
        with lock(path, "it is made"):
            assert time.monotonic() - begin > 0.3
            assert path.read_text().startswith(processes.owner())
            assert is_held(path)
    assert not path.exists()
    assert not is_held(path)


def test_of_two_that_take_over_a_dead_ones_lock_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, got = tmp_path / ".lock", []
    with other(path, system="none") as process:
        process.kill()
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOTSUP, "no locks here")))
    both, over, works = threading.Barrier(2), threading.Event(), os.truncate

    def at_once(handle: int, size: int) -> None:
        both.wait(10)  # both have seen that the owner is dead
        works(handle, size)

    monkeypatch.setattr(os, "truncate", at_once)

    def take(number: int) -> None:
        try:
            with lock(path, f"{number}"):
                got.append(number)
                over.wait(5)
        except BusyError:
            over.set()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert not path.exists()


@pytest.mark.parametrize("rubbish", [b"rubbish", b"\0" * 100, b"a.b.c d e f"])
def test_what_is_no_owners_name_holds_nothing(tmp_path: Path, rubbish: bytes, system: str) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(rubbish)
    with lock(path, "it is made"):
        assert path.read_bytes() != rubbish
    assert not path.exists()


def test_without_locks_of_the_system_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".lock"
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks here")))
    with other(path, place="", system="none") as process:  # of this machine
        with pytest.raises(BusyError, match=f"number {process.pid} on "):
            lock(path, "it is made").__enter__()
        process.kill()
        process.wait()
        monkeypatch.setattr(beats, "SILENT_SECONDS", 60.0)
        begin = time.monotonic()
        with lock(path, "it is made"):
            assert time.monotonic() - begin < 30, "the system knows at once that the owner is dead"
    assert not path.exists()


def test_a_process_that_was_held_for_dead_ends_and_leaves_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"

    def robbed() -> None:
        with lock(path, "it is made"):
            path.write_text("aaaaaaaa.1.1 aaaaaaaa 2026-01-01 fold 0 is being trained")
            time.sleep(20)

    with signals() as stop, pytest.raises(KeyboardInterrupt):
        robbed()
    assert stop.number == signal.SIGTERM
    assert path.read_text().startswith("aaaaaaaa.")


def test_one_waits_and_says_for_whom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".lock"
    with other(path, place="", system="flock") as process:
        ends = threading.Timer(1.2, process.kill)
        ends.start()
        with in_turn(path, "the predictions are made"):
            pass
        ends.join()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert f"fold 0 is being trained by another process, number {process.pid} on " in said[0]
    assert said[0].endswith(": this process waits for it")


def test_a_lock_that_is_opened_by_another_the_moment_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made by one and locked by the other: one of them holds it, not both."""
    path, locked, plain = tmp_path / ".lock", threading.Event(), processes._system_lock
    inside, most = [0], [0]

    def late(handle: int) -> object:
        """The maker comes second to the system's lock."""
        if threading.current_thread().name == "maker" and not locked.is_set():
            locked.wait(10)
            return plain(handle)
        found = plain(handle)
        locked.set()
        return found

    def work() -> None:
        with in_turn(path, "it is being tried"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.3)
            inside[0] -= 1

    monkeypatch.setattr(processes, "_system_lock", late)
    maker, second = threading.Thread(target=work, name="maker"), threading.Thread(target=work)
    maker.start()
    while not path.exists():
        time.sleep(0.001)
    second.start()
    for thread in (maker, second):
        thread.join(20)
    assert most == [1]
    assert locked.is_set()
    assert not path.exists()
