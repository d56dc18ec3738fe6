"""Nested progress bars on a terminal, plain lines elsewhere (a log file, CI, a cluster)."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from foldline.core.typed import as_typed

Item = TypeVar("Item")
PLAIN_SECONDS = 30.0  # a plain line at most this often for one bar


def say(text: str) -> None:
    """One line for the person, on standard output at once, above any progress bar; commands as they are typed here."""
    text = as_typed(text)
    if Progress.active is not None and Progress.active.bars is not None:
        Progress.active.bars.console.print(text, markup=False, highlight=False)
    else:
        _line(text)


def _line(text: str) -> None:
    """Prints a line; where whoever read our output has left (`| head`, a `tee` that Ctrl-C ended) the work goes on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_table(lines: Sequence[Sequence[str]]) -> None:
    """A table for the person: the first line is its header, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


class Progress:
    """A stack of progress bars: `with Progress() as progress: for x in progress.over(items, "epoch 1"): ...`

    Inside another one, its bars stand below the outer ones. Without a terminal a bar becomes a plain line
    every 30 seconds, with the time left.
    """

    active: "Progress | None" = None

    def __init__(self) -> None:
        self.bars: Any = None  # rich's, which is imported where there is a terminal

    def __enter__(self) -> Self:
        if Progress.active is not None:
            self.bars = Progress.active.bars  # an inner bar stands below the outer ones
        elif sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self.bars = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.bars.start()
        Progress.active = Progress.active or self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if Progress.active is self:
            Progress.active = None
            if self.bars is not None:
                self.bars.stop()

    def over(self, items: Iterable[Item], title: str, *, total: int, done: int = 0) -> Iterator[Item]:
        """Yields `items` and moves a bar of `total` steps, of which `done` lie behind already."""
        if self.bars is None:
            yield from self._plain(items, title, total, done)
            return
        task = self.bars.add_task(title, total=total, completed=done)
        try:
            for item in items:
                yield item
                self.bars.advance(task)
        finally:
            self.bars.remove_task(task)

    def _plain(self, items: Iterable[Item], title: str, total: int, done: int) -> Iterator[Item]:
        start = last = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            if now - last >= PLAIN_SECONDS:
                last = now
                left = (now - start) / count * (total - done - count)
                _line(f"  {title}: {done + count}/{total}, {left:.0f} s left")
