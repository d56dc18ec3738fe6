"""The whole line on a tiny competition, each command a process of its own that can be made to fail; and what is left.

A process is forked from one that has imported everything, so that a command costs its work alone; it then runs the
same `main` as the program `foldline`.
"""

import csv
import hashlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import yaml

import foldline.engine.train_run  # noqa: F401 - what a forked process need not import again
from foldline.cli import main
from tiny import FACTS, RUN, TinyProject

STAGES = ("download", "folds", "train", "predict", "ensemble", "score")
PATIENCE = 300.0  # seconds: a command that takes longer hangs
TIMES = {"seconds", "images_per_second", "memory_mb", "time", "stamp", "workers"}  # what differs without harm
DISPOSABLE = "progress.json"  # the clock of a training that runs: written by the clock, and read by a page alone
LEFT = (".tmp", ".lock", ".part", "resume", "resume.before", "latest.parquet")  # nothing of these may stay

_NUMBERS = count()
Fault = Callable[[Path], None]  # is called in the process, with the project's folder, before the command begins


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code (of a signal: minus its number; None: it hung) and what it printed."""

    code: int | None
    said: str

    @property
    def in_words(self) -> bool:
        """Whether it ended well or with a message that a person understands."""
        return self.code is not None and self.code >= 0 and "Traceback" not in self.said


def make_project(root: Path) -> Path:
    """Raw files, facts and a run of a few seconds, whose paths are relative: the same bytes in any folder."""
    root.mkdir(parents=True)
    project = TinyProject(root, rows=32)
    train = {**RUN["train"], "checkpoint_minutes": 1e-6, "batch_norm": "frozen", "probe": {"c": 0.1}}
    run = {**RUN, "optim": {"lr": 1e-4}, "train": train}
    for name, content in (("competition", {**FACTS, "folds": {"k": 2}}), ("quick", run)):
        (project.root / "configs" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return root


def arguments(stage: str) -> list[str]:
    """The command line of a stage, without the program's name."""
    run = ["--run", "quick"] if stage in ("train", "predict", "ensemble", "score", "report") else []
    return [stage, "--comp", "tiny", *run]


def command(root: Path, stage: str, *further: str, fault: Fault | None = None) -> Outcome:
    """Runs a stage in the project `root`, with a fault."""
    return begun(root, stage, *further, fault=fault)()


def begun(root: Path, stage: str, *further: str, fault: Fault | None = None) -> Callable[[], Outcome]:
    """Starts a stage; what it gives waits for its end."""
    said = root.with_name(f"{root.name}.{next(_NUMBERS)}.said")
    process = os.fork()
    if process == 0:
        given = [stage, "--comp", "tiny"] if {"--run", "--runs"} & set(further) else arguments(stage)
        _become(root, said, [*given, *further], fault)

    def end() -> Outcome:
        code = _wait(process)
        text = said.read_text(errors="replace") if said.is_file() else ""
        said.unlink(missing_ok=True)
        return Outcome(code, text)

    return end


def _become(root: Path, said: Path, given: list[str], fault: Fault | None) -> None:
    """The child's whole life."""
    code = 99
    try:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.chdir(root)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if fault is not None:
            fault(root)
        code = main(given)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(process: int) -> int | None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def to_the_end(root: Path, first: str = "download") -> Outcome:
    """Runs the stages from `first` on; the outcome of the first one that fails, else of the last."""
    outcome = Outcome(0, "")
    for stage in STAGES[STAGES.index(first) :]:
        outcome = command(root, stage)
        if outcome.code != 0:
            break
    return outcome


def content(root: Path, *further: str) -> dict[str, str]:
    """The hash of every file that the stages have written, without what is a time; the report must be whole.

    Args:
        further: other folders of the project.
    """
    return dict(_hashes(root, ("input", "folds", "oof", "submissions", *further)))


def _hashes(root: Path, rooms: Sequence[str]) -> Iterator[tuple[str, str]]:
    for room in rooms:
        for path in sorted((root / room).rglob("*")):
            if path.is_file() and path.name not in ("compare.html", DISPOSABLE):
                try:
                    text = _timeless(path)
                except (ValueError, KeyError):  # damaged
                    text = path.read_bytes()
                yield path.relative_to(root).as_posix(), hashlib.sha256(text).hexdigest()


def _timeless(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_without_times(json.loads(path.read_text()))).encode()
    if path.name == "log.csv":
        lines = list(csv.DictReader(StringIO(path.read_text())))
        return json.dumps([_without_times(line) for line in lines]).encode()
    if path.name == "report.html":
        return path.read_bytes().rstrip()[-7:]
    return path.read_bytes()


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def left_over(root: Path) -> list[str]:
    """Files that only a process that is at work may have."""
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.name.endswith(LEFT)]


@dataclass
class States:
    """The project as it is before each stage, and after the last; a fault begins with a copy of one."""

    folder: Path

    def make(self, counted: Callable[[Path], Fault]) -> "States":
        """Runs the line once, undisturbed; `counted` counts its moments."""
        root = make_project(self.folder / "work")
        for stage in STAGES:
            shutil.copytree(root, self.folder / stage, symlinks=True)
            outcome = command(root, stage, fault=counted(self.folder / f"{stage}.moments"))
            assert outcome.code == 0, outcome.said
        root.rename(self.folder / "whole")
        return self

    def after(self, stage: str) -> dict[str, str]:
        """What is there when a stage has ended undisturbed."""
        following = [*STAGES, "whole"][STAGES.index(stage) + 1]
        return content(self.folder / following)

    def moments(self, stage: str) -> int:
        """How many moments a stage has."""
        return int((self.folder / f"{stage}.moments").read_text())

    def copy(self, stage: str, name: str) -> Path:
        """A project that stands before `stage` ("whole": behind the last)."""
        root = self.folder / f"fault-{name}"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.folder / stage, root, symlinks=True)
        return root


def spread(count: int, most: int) -> Sequence[int]:
    """At most so many of the moments 1 to `count`, evenly, the first and the last among them."""
    if count <= most:
        return range(1, count + 1)
    return sorted({1 + round(i * (count - 1) / (most - 1)) for i in range(most)})
