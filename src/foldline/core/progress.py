"""What foldline says while it works: lines, bars on a terminal, plain lines elsewhere (a log file, CI, a cluster).

`core.printer` decides what becomes of it (`--quiet`, `--log json`).
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from foldline.core.printer import Activity, Title, printer
from foldline.core.typed import as_typed

Item = TypeVar("Item")
WARNING = "warning: "


def say(text: str) -> None:
    """One line for the person, on standard output at once, above any progress bar; commands as they are typed here.

    A text that begins with `warning: ` is a warning, which `--quiet` shows, too.
    """
    text = as_typed(text)
    printer().line(text, "warning" if text.lstrip().startswith(WARNING) else "line")


def result(text: str, **fields: Any) -> None:
    """A line that says what came out; the last one of a command is all that `--quiet` shows.

    Args:
        fields: the same for a program (`--log json`).
    """
    printer().line(as_typed(text), "result", **fields)


def say_table(lines: Sequence[Sequence[str]]) -> None:
    """A table for the person: the first line is its header, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@contextmanager
def doing(what: Title) -> Iterator[None]:
    """While the block runs, `what` is being done: said where it takes long and nothing else is."""
    with Progress() as progress, progress.activity(what, None, 0):
        yield


@contextmanager
def waiting() -> Iterator[None]:
    """While the block runs, a person is waited for, and nothing need be said."""
    used = printer()
    before, used.waits = used.waits, True
    try:
        yield
    finally:
        used.waits = before
        used.spoken = used.now()


@contextmanager
def unsaid() -> Iterator[None]:
    """While the block runs, nothing is said that the same work says when it is done in earnest; progress is."""
    used = printer()
    before, used.unsaid = used.unsaid, True
    try:
        yield
    finally:
        used.unsaid = before


class Progress:
    """A stack of progress bars: `with Progress() as progress: for x in progress.over(items, "epoch 1"): ...`

    Inside another one, its bars stand below the outer ones. Without a terminal a bar becomes a plain line
    every 30 seconds, with the time left.
    """

    def __init__(self) -> None:
        self.bars: Any = None  # rich's, which is imported where there is a terminal
        self.own = False  # whether these bars are this object's

    def __enter__(self) -> Self:
        used = printer()
        if used.bars is not None:
            self.bars = used.bars  # an inner bar stands below the outer ones
        elif sys.stderr.isatty() and not (used.quiet or used.as_json or used.silent):
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Task,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as RichProgress
            from rich.text import Text

            class Count(MofNCompleteColumn):
                """Nothing where nobody knows of how many."""

                def render(self, task: Task) -> Text:
                    return Text() if task.total is None else super().render(task)

            self.bars = used.bars = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                Count(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.own = True
            self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.own:
            printer().bars = None
            self.bars.stop()

    def over(self, items: Iterable[Item], title: Title, *, total: int, done: int = 0) -> Iterator[Item]:
        """Yields `items` and moves a bar of `total` steps, of which `done` lie behind already.

        Args:
            title: what a line says before its numbers; a function says the whole line, anew each time.
        """
        with self.activity(title, total, done) as step:
            for item in items:
                yield item
                step()

    @contextmanager
    def activity(self, title: Title, total: int | None, done: int) -> Iterator[Any]:
        """While the block runs, this is being done; gives a function that moves it on by a step, or by as many as it is
        told; by 0 it only says anew what is being done."""
        used = printer()
        one = Activity(title, used.now(), total, done, done)
        words = title() if callable(title) else title
        task = None if self.bars is None else self.bars.add_task(words, total=total, completed=done)

        def step(steps: int = 1) -> None:
            one.done += steps
            if task is None:
                used.beat()
            elif callable(title):
                self.bars.update(task, advance=steps, description=title())
            else:
                self.bars.advance(task, steps)

        used.doing.append(one)
        try:
            yield step
        finally:
            used.doing.remove(one)
            if task is not None:
                self.bars.remove_task(task)
