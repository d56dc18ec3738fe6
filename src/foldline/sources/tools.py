"""Programs of the system that fetch files, each a process of its own; and the error that lets another source try.

Reads what a program prints; the program writes into the folder that it is given.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from foldline.core.errors import FoldlineError


class UnreachableError(FoldlineError):
    """A source that cannot be had from here: no network, no credentials, or no program that speaks to it.

    Where the facts name another source of the same files (`source.otherwise`), that one is tried. A wrong name or a
    wrong sha256 is no such error: it must not be hidden.
    """


def run_tool(command: Sequence[str], folder: Path, *, install: str) -> tuple[int, str]:
    """Runs a program in `folder`, its messages in English.

    Args:
        command: the program's name and its arguments.
        folder: where it runs, and writes.
        install: how a person gets the program.

    Returns:
        The exit code, and all that it printed.

    Raises:
        UnreachableError: this machine has no such program.
    """
    program = shutil.which(command[0])
    if program is None:
        raise UnreachableError(f"the program {command[0]} is missing", where="source.kind", next=install)
    done = subprocess.run(  # noqa: S603 - no shell
        [program, *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.returncode, f"{done.stdout}\n{done.stderr}"


def last_line(output: str, mark: str = "") -> str:
    """The last line that a person can read, of those that begin with `mark` where there are any.

    >>> last_line("E: no such package\\nW: slow", "E:")
    'E: no such package'
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(mark)]
    return (marked or lines or ["no message"])[-1][:300]
