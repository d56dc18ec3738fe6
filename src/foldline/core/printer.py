"""How foldline speaks: to a person at a terminal, into a log, only of what matters, or as JSON to a program.

One printer is in use at a time; `core.progress` is its door. Nothing is silent for longer than `GAP_SECONDS`: a thread
says what is being done where nothing else was said.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from foldline.core.clock import in_minutes
from foldline.core.errors import FoldlineError
from foldline.core.stopping import undisturbed

GAP_SECONDS = 29.0  # looked at every second: a line at least every 30
EVENT_SECONDS = 5.0  # between two JSON lines of progress
SHOWN_IN_QUIET = ("warning", "error")

Title = str | Callable[[], str]


@dataclass(eq=False)
class Activity:
    """Something that takes time: what it is, and how far it has come of `total` steps, where these are known.

    Attributes:
        first: steps that lay behind when it began, at `since`.
    """

    title: Title
    since: float
    total: int | None = None
    first: int = 0
    done: int = 0

    def words(self, now: float) -> str:
        """Such as `decoding: 20/80, 3 min left`; a title that is a function says what is left by itself."""
        if callable(self.title):
            return self.title() + (f" · {self.done}/{self.total}" if self.total else "")
        if not self.total:
            return f"{self.title}: {in_minutes(now - self.since)} so far"
        left = self.seconds_left(now)
        return f"{self.title}: {self.done}/{self.total}" + ("" if left is None else f", {in_minutes(left)} left")

    def seconds_left(self, now: float) -> float | None:
        """By the pace so far; None where nothing tells."""
        if not self.total or self.done == self.first:
            return None
        return (now - self.since) / (self.done - self.first) * (self.total - self.done)


@dataclass(eq=False)
class Printer:
    """Prints lines and, now and then, what is being done.

    Attributes:
        quiet: warnings, and the last result alone.
        as_json: one JSON object a line.
        now: seconds that only grow.
        waits: for a person: an answer, a page that is served; then silence is right.
        bars: rich's, while there are some on a terminal; lines go above them.
        silent: one of several ranks, of which the first alone speaks; errors are said all the same.
        unsaid: lines and warnings are kept back: what is done now is done, and said, once more.
        reported: what ended this process is said by the one that started it.
    """

    quiet: bool = False
    as_json: bool = False
    now: Callable[[], float] = time.monotonic
    waits: bool = False
    silent: bool = False
    unsaid: bool = False
    reported: bool = False
    bars: Any = None
    doing: list[Activity] = field(default_factory=list)
    result: str = ""  # the last one, which quiet keeps for the end
    facts: Callable[[], dict[str, Any]] | None = None  # further fields of JSON progress: the clock of a training
    _lock: Any = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.spoken = self.told = self.now()  # the last line, and the last JSON line of progress

    def line(self, text: str, event: str = "line", **fields: Any) -> None:
        """One line of a kind: line, warning, result, error, progress; `fields` are for programs."""
        with self._lock:
            if self.unsaid and event in ("line", "warning"):
                return
            self.spoken = self.now()
            if self.silent and event != "error":
                return
            if self.as_json:
                when = datetime.now().astimezone().isoformat(timespec="milliseconds")
                _out(json.dumps({"event": event, "time": when, "text": text.strip(), **fields}, default=str))
            elif self.quiet and event not in SHOWN_IN_QUIET:
                self.result = text if event == "result" else self.result
            elif self.bars is not None:
                self.bars.console.print(text, markup=False, highlight=False)
            else:
                _out(text)

    def error(self, error: FoldlineError) -> None:
        """What ends the command: on standard error, or as JSON where the other lines are."""
        if self.reported:
            return
        if self.as_json:
            what, where, next = error.typed()
            self.line(str(error), "error", what=what, where=where, next=next)
        else:
            print(f"error: {error}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr)

    def stopped(self, words: str) -> None:
        """That somebody ended the command."""
        if self.reported or self.silent:
            return
        if self.as_json:
            self.line(words, "stopped")
        else:
            print(f"\n{words}", file=sys.stderr)

    def beat(self) -> None:
        """What is being done, where it is time to say so; asked often."""
        now, last = self.now(), self.doing[-1:]  # a copy: it may end while another thread looks
        if self.waits and not last:
            return
        if self.as_json and last and now - self.told >= EVENT_SECONDS:
            self._tell(last[0], now)
        elif not (self.quiet or self.as_json) and self.bars is None and now - self.spoken >= GAP_SECONDS:
            with self._lock:
                self.line(f"  {last[0].words(now) if last else 'still at work'}", "progress")

    def _tell(self, one: Activity, now: float) -> None:
        """Progress as JSON."""
        with self._lock:
            self.told = now
            left = one.seconds_left(now)
            known = {"total": one.total, "done": one.done, "seconds_left": None if left is None else round(left, 1)}
            self.line(one.words(now), "progress", **known, **({"job": self.facts()} if self.facts is not None else {}))

    def close(self) -> None:
        """The last result, which `quiet` kept."""
        if self.result:
            _out(self.result)
            self.result = ""


def _out(text: str) -> None:
    """Prints a line; where whoever read our output has left (`| head`, a `tee` that Ctrl-C ended) the work goes on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_in_use = [Printer()]


def printer() -> Printer:
    """The one in use."""
    return _in_use[-1]


@contextmanager
def printing(*, quiet: bool = False, as_json: bool = False) -> Iterator[Printer]:
    """Another printer while the block runs, and a thread that says what is being done where nothing else is said."""
    made, over = Printer(quiet=quiet, as_json=as_json), threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            made.beat()

    thread = threading.Thread(target=watch, name="foldline-says", daemon=True)
    _in_use.append(made)
    with undisturbed():
        thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()
        _in_use.remove(made)
        made.close()
