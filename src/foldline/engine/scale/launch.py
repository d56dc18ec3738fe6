"""`foldline train --ranks 2`: folds one after the other, each by several processes that torchrun starts here."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from foldline.core.cores import usable_cores
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.printer import printer
from foldline.core.progress import say, waiting
from foldline.core.rank import OURS, LostRankError
from foldline.core.stopping import later

AGAIN = "MorePartsError"  # `engine.machine.memory`'s, which is not imported here: torch would be


def launch(command: Sequence[str], ranks: int) -> None:
    """Runs a command of ours as so many ranks, until they have done it.

    Args:
        command: the interpreter, and what it is given; each rank gets the same.

    Raises:
        FoldlineError: there are fewer cores; what ended them, in the words of the rank where it began.
        KeyboardInterrupt: this process was asked to end; so did they, with a resume point where one was due.
    """
    if ranks > max(usable_cores(), 2):
        raise FoldlineError(
            f"{counted(ranks, 'ranks')}, and {counted(usable_cores(), 'cores')}: each rank needs one, and a "
            "gigabyte of memory",
            where="--ranks",
            next="give as many as there are GPUs; without GPUs one process is faster",
        )
    interpreter, module, *given = [*command, *_as_we_speak()]
    assert (interpreter, module) == (sys.executable, "-m")
    words = ["-m", "--", *given]  # else torchrun takes --run for an option of its own
    while True:
        failed = _once(words, ranks)
        if not failed:
            return
        kind, error = _root(failed, ranks)
        if kind != AGAIN:
            raise error
        say(f"{error.what}; they are started again")


def _once(words: Sequence[str], ranks: int) -> list[dict[str, Any]]:
    """One start of the ranks; what ended them, nothing where they have done it."""
    environ = {"OMP_NUM_THREADS": str(max(usable_cores() // ranks, 1)), **os.environ, OURS: str(ranks)}
    with TemporaryDirectory(prefix="foldline-ranks-") as folder, later() as flag, waiting():
        report = Path(folder) / "failures.json"
        launcher = [
            sys.executable, "-m", "foldline.engine.scale.torchrun", str(report), "--standalone",
            "--nproc-per-node", str(ranks), "--max-restarts", "0", "--log-dir", folder, *words,
        ]  # fmt: skip
        # in a session of its own: Ctrl-C comes to this process alone, which passes it on once
        with subprocess.Popen(launcher, stdin=subprocess.PIPE, env=environ, start_new_session=True) as child:  # noqa: S603
            while _runs(child):
                if flag.asked and child.stdin is not None and not child.stdin.closed:
                    child.stdin.close()
        if flag.asked:
            raise KeyboardInterrupt
        if not child.returncode:
            return []
        if report.is_file():
            found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))
            return found
    raise FoldlineError(
        f"torchrun ended with exit code {child.returncode}, and said nothing of the ranks",
        next="what it wrote stands above; then the same command goes on from the last resume point",
    )


def _runs(child: "subprocess.Popen[bytes]") -> bool:
    try:
        child.wait(0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _as_we_speak() -> list[str]:
    """How this process was asked to speak, for the ranks."""
    used = printer()
    return [*(["--quiet"] if used.quiet else []), *(["--log", "json"] if used.as_json else [])]


def _root(failed: Sequence[dict[str, Any]], ranks: int) -> tuple[str, FoldlineError]:
    """The kind and the words of where it began: in a rank that says what went wrong, before one that was killed, before
    those that lost another.

    >>> print(_root([{"rank": 0, "exit_code": 2, "told": {"what": "lost", "where": "", "next": "", "kind":
    ... "LostRankError"}}, {"rank": 1, "exit_code": -9, "told": None}], 2)[1].what)
    rank 1 of 2 was ended by SIGKILL
    """
    ended = {-signal.SIGTERM, 128 + signal.SIGTERM, 128 + signal.SIGINT}  # by torchrun, since another one had ended

    def order(one: dict[str, Any]) -> int:
        told = one["told"]
        if told:
            return 2 if told["kind"] == LostRankError.__name__ else 0
        return 3 if one["exit_code"] in ended else 1

    one = min(failed, key=order)
    told, code = one["told"], one["exit_code"]
    if told:
        return told["kind"], FoldlineError(told["what"], where=told["where"], next=told["next"])
    what = f"ended with exit code {code}, its words stand above" if code > 0 else f"was ended by {_signal(-code)}"
    hint = "look whether the machine's memory was short" if code == -signal.SIGKILL else "mend that"
    return "", FoldlineError(
        f"rank {one['rank']} of {ranks} {what}",
        next=f"{hint}, then the same command goes on from the last resume point, with as many ranks or others",
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
