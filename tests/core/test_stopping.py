"""Signals end a stage in words, files have owners, and one thing is done by one process at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import foldline.stages.submit
from foldline import cli
from foldline.core.errors import FoldlineError, of_the_machine
from foldline.core.processes import OLD_SECONDS, BusyError, drop_dead_lock, in_turn, is_gone, lock, owner
from foldline.core.stopping import later, signals
from foldline.core.tables import atomic_path, remove_orphans, temporary_name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_any_stage_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, code: int
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("the tests themselves run under nohup, where a closed terminal ends nothing")

    def works(layout: object, comp: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)
        raise AssertionError

    monkeypatch.setattr(foldline.stages.submit, "ledger", works)
    given = ["ledger", "--root", str(tmp_path), "--comp", "mine"]
    assert cli.main(given) == code
    assert f"the same command goes on: foldline ledger --root {tmp_path} --comp mine" in capsys.readouterr().err
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_what_must_be_finished_is_finished_first_and_the_second_signal_ends_at_once() -> None:
    with signals() as stop, later() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.asked
        assert stop.exit_code == 143
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with signals():
        with later() as flag:
            assert not flag.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("call", ["pwrite", "unlink"])
def test_a_signal_leaves_no_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    works = getattr(os, call)

    def asked_meanwhile(*given: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return works(*given)

    monkeypatch.setattr(os, call, asked_meanwhile)
    with signals(), pytest.raises(KeyboardInterrupt), lock(tmp_path / "it.lock", "it is made"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_dead_lock_is_dropped_and_a_held_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    with lock(path, "it is made"):
        drop_dead_lock(path)
        assert path.exists()
        content = path.read_text()
    path.write_text(content.replace(f".{os.getpid()}.", f".{2**30}."))
    drop_dead_lock(path)
    assert not path.exists()


HOLD = (
    "import sys, os\nfrom pathlib import Path\nfrom foldline.core.processes import lock\n"
    "with lock(Path(sys.argv[1]), 'fold 0 is being trained'):\n"
    "    if len(sys.argv) > 2 and os.fork() == 0:\n        sys.stdin.read()\n        os._exit(0)\n"
    "    print(os.getpid(), flush=True)\n    sys.stdin.read()\n"
)


@pytest.mark.parametrize("children", [[], ["and a child that outlives it"]])
def test_a_lock_says_who_has_it_and_is_taken_from_the_dead(tmp_path: Path, children: list[str]) -> None:
    path = tmp_path / "fold_0" / ".lock"
    command = [sys.executable, "-c", HOLD, str(path), *children]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(FoldlineError, match=f"being trained by another process, number {other.pid} on "):
            lock(path, "fold 0 is being trained").__enter__()
        other.kill()
        other.wait()
        with lock(path, "fold 0 is being trained"):
            assert path.read_text().startswith(owner())
    assert not path.exists()


def test_the_owner_of_a_lock_writes_its_name_a_moment_after_it_took_it(tmp_path: Path) -> None:
    path = tmp_path / "it.lock"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writes = threading.Timer(0.1, path.write_text, [f"{owner()} here"])
        writes.start()
        with pytest.raises(BusyError, match="by another process, number"), lock(path, "it is made"):
            pass
        writes.join()


def test_one_after_the_other(tmp_path: Path) -> None:
    path, order = tmp_path / "it.lock", []

    def second() -> None:
        with in_turn(path, "it is made"):
            order.append("second")

    waiting = threading.Thread(target=second)
    with in_turn(path, "it is made"):
        waiting.start()
        time.sleep(0.3)
        order.append("first")
        with pytest.raises(BusyError, match="it is made by another process"), in_turn(path, "it is made", patience=0):
            pass
    waiting.join()
    assert order == ["first", "second"]
    assert not path.exists()


def test_a_number_that_another_process_has_now_is_no_owner(tmp_path: Path) -> None:
    temporary = temporary_name(tmp_path / "a.npy")
    temporary.write_text("half")
    remove_orphans(tmp_path)
    assert temporary.is_file(), "this process lives"
    place, number, started = owner().split(".")
    former = temporary.with_name(f".a.npy.{place}.{number}.{int(started) - 1}.tmp")
    temporary.rename(former)
    remove_orphans.cache_clear()
    remove_orphans(tmp_path)
    assert not former.exists(), "an earlier process had this number"


def test_files_of_another_machine_go_when_they_are_old(tmp_path: Path) -> None:
    path = tmp_path / ".a.npy.otherhost.1.1.tmp"
    path.write_text("half")
    assert not is_gone(path, "otherhost.1.1")
    os.utime(path, (0, time.time() - OLD_SECONDS - 1))
    assert is_gone(path, "otherhost.1.1")
    assert not is_gone(tmp_path / "none", "otherhost.1.1")


def test_a_refusal_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_path(tmp_path / "a.npy") as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as raised:
        fill()
    assert str(of_the_machine(raised.value)) == (
        f"no space left on device\n  where: {tmp_path / 'a.npy'}\n"
        "  next:  free some space, then the same command goes on"
    )
    assert "ulimit -n" in of_the_machine(OSError(errno.EMFILE, "Too many open files")).next
    assert of_the_machine(MemoryError()).what == "not enough memory"
