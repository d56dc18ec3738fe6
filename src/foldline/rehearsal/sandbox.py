"""Runs a script as a notebook runs at Kaggle: no network, inputs that cannot be written to, limits of time and memory.

A namespace takes the network away and makes the inputs read-only where the system allows one to everybody (Linux);
elsewhere a guard in the program refuses connections. Writes what the script says to a log.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foldline.rehearsal import guard

POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0  # from one look at the memory to the next: each costs some 30 ms where several GB are taken
NOT_PASSED_ON = ("PYTHON", "KAGGLE_", "PIP_", "HF_", "FOLDLINE_", "CONDA_", "VIRTUAL_ENV")
READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Limits:
    """What the script may take: seconds from its start, and bytes of memory of all its processes together."""

    seconds: float
    memory_bytes: float


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        code: the exit code.
        seconds: that it took.
        peak_bytes: of memory of all its processes, as far as it was seen; 0 where the system does not say.
        ended: why it was ended, in words; empty where it ended by itself.
        isolation: how the network was taken away, in words.
    """

    code: int
    seconds: float
    peak_bytes: float
    ended: str
    isolation: str


def run_script(
    python: Path,
    script: Path,
    *,
    inputs: Path,
    folder: Path,
    log: Path,
    limits: Limits,
    variables: Mapping[str, str],
    path: Sequence[Path] = (),
) -> Outcome:
    """Runs a script in `folder`.

    Args:
        inputs: the folder that it cannot write to.
        log: gets what it says.
        variables: further environment variables.
        path: folders of modules, before those of the interpreter.
    """
    guards = folder.parent / "guard"
    guards.mkdir(exist_ok=True)
    shutil.copyfile(guard.__file__, guards / "sitecustomize.py")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(NOT_PASSED_ON)}
    searched = os.pathsep.join(str(each) for each in (guards, *path))
    settings = {"PYTHONPATH": searched, "PYTHONUNBUFFERED": "1", "PIP_CONFIG_FILE": os.devnull, "HOME": str(folder)}
    prefix, isolation = isolated(inputs)
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the bundle's own notebook
            [*prefix, *_ends_with_us(), str(python), str(script)],
            cwd=folder,
            env={**kept, **settings, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            peak, ended = _watch(process, start, limits)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # workers that the script left behind, too
            process.wait()
    return Outcome(process.returncode, time.monotonic() - start, peak, ended, isolation)


def isolated(inputs: Path) -> tuple[list[str], str]:
    """What stands before a command so that it has no network and cannot write to `inputs`; and that in words."""
    if _allowed("--user", "--map-root-user", "--net", "--mount"):
        command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", READ_ONLY, "sh", str(inputs)]
        return command, "no network and read-only inputs, by namespaces"
    if _allowed("--user", "--map-root-user", "--net"):
        return ["unshare", "--user", "--map-root-user", "--net"], "no network, by a namespace"
    return [], "NO namespace is allowed here, so connections are refused by a guard inside Python alone"


def _ends_with_us() -> list[str]:
    """What stands before a command so that it ends when this process is killed: nobody would watch it any more."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv and "--pdeathsig" in _help_of(setpriv) else []


@cache
def _help_of(program: str) -> str:
    return subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout  # noqa: S603


@cache
def _allowed(*options: str) -> bool:
    """Whether this system lets everybody make such namespaces."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return subprocess.run([unshare, *options, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603


def _watch(process: "subprocess.Popen[bytes]", start: float, limits: Limits) -> tuple[float, str]:
    """Waits for the end; the most memory that was seen, and why the process was ended."""
    peak, looked = 0.0, -LOOK_SECONDS
    while process.poll() is None:
        passed = time.monotonic() - start
        if passed > limits.seconds:
            return peak, f"it did not end within {limits.seconds:.0f} s"
        if passed - looked >= LOOK_SECONDS:
            peak, looked = max(peak, _memory_bytes(process.pid)), passed
        if peak > limits.memory_bytes:
            return peak, f"it took {peak / 1e9:.1f} GB of memory, and {limits.memory_bytes / 1e9:.1f} GB are allowed"
        time.sleep(POLL_SECONDS)
    return peak, ""


def _memory_bytes(leader: int) -> float:
    """The memory of all processes of a session, what they share counted once; 0 without /proc."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # a process that ends meanwhile
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            if session == leader:
                total += _share_bytes(folder)
    return total


def _share_bytes(folder: Path) -> float:
    """The memory of one process, its share of what it shares with others."""
    for line in (folder / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1]) * 1024
    return 0.0
