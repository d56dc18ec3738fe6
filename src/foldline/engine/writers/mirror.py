"""Copies a fold's numbers to the run's writers, each by a thread of its own: no training waits for one, or ends by one.

Reads `steps.csv` where a writer lacks what was trained before; writes `logs.json`, which says how far each has come,
so that a training that was killed and goes on draws one curve with no point twice.
"""

import contextlib
import csv
import math
import queue
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.records.logs import Logs
from foldline.engine.writers.writer import EPOCH, NONE, STEP_LOSS, Ended, Point, Writer

OPEN_SECONDS = 20.0  # training begins without a writer that has not answered by then; it may answer later
CLOSE_SECONDS = 60.0  # for what is still to be sent; a process that is asked to end has less
STOP_SECONDS = 5.0
MOST_WAITING = 4096  # messages, of up to 64 steps each: a writer that is so far behind is given up
CHUNK = 200  # points sent at once

LogRow = Mapping[str, float | None]


class Book:
    """`logs.json`, which several threads write."""

    def __init__(self, path: Path, made_from: str) -> None:
        self.path, self.lock = path, threading.Lock()
        found = None
        with contextlib.suppress(FoldlineError):  # a damaged one: new curves
            found = Logs.read_if_there(path)
        new = Logs(id=uuid.uuid4().hex[:12], made_from=made_from, sent={})
        self.logs = found if found is not None and found.made_from == made_from else new

    def sent(self, name: str) -> int:
        """The step of the last point that was sent to a writer."""
        return self.logs.sent.get(name, NONE)

    def note(self, name: str, step: int) -> None:
        """That points up to this step were sent."""
        with self.lock:
            self.logs = self.logs.changed(sent=self.logs.sent | {name: step})
            self.logs.write(self.path)


class Worker(threading.Thread):
    """One writer at work. What it raises is said once, and nothing is sent to it any more."""

    def __init__(self, name: str, writer: Writer, book: Book) -> None:
        super().__init__(name=f"log to {name}", daemon=True)
        self.title, self.writer, self.book = name, writer, book
        self.waiting: queue.Queue[Sequence[Point] | Mapping[str, float] | Ended] = queue.Queue(MOST_WAITING)
        self.opened = threading.Event()
        self.failed = False
        self.upto = NONE

    def put(self, message: Sequence[Point] | Mapping[str, float] | Ended) -> None:
        """A message for the writer; none is waited for."""
        if self.failed:
            return
        try:
            self.waiting.put_nowait(message)
        except queue.Full:
            self._give_up("it takes less than training gives")

    def run(self) -> None:
        """Until the end is asked for."""
        try:
            self.upto = self.writer.open(self.book.sent(self.title))
            self.opened.set()
            while not self.failed and self._send(self.waiting.get()):
                pass
        except BaseException as error:  # a library that may raise anything, SystemExit too, and must not end a training
            self._give_up(" ".join(str(error).split()) or type(error).__name__)
        finally:
            self.opened.set()

    def _send(self, message: Sequence[Point] | Mapping[str, float] | Ended) -> bool:
        if isinstance(message, str):
            self.writer.close(message)
            return False
        if isinstance(message, Mapping):
            self.writer.summary(message)
            return True
        new = [point for point in message if point.step > self.upto]
        for at in range(0, len(new), CHUNK):
            self._add(new[at : at + CHUNK])
        return True

    def _add(self, points: Sequence[Point]) -> None:
        if self.writer.notes_first:
            self.book.note(self.title, points[-1].step)
        self.writer.add(points)
        if not self.writer.notes_first:
            self.book.note(self.title, points[-1].step)
        self.upto = points[-1].step

    def _give_up(self, reason: str) -> None:
        if not self.failed:
            self.failed = True
            say(f"warning: no more is logged to {self.title} ({reason[:300]}); training goes on")


class Mirror:
    """The writers of one fold, or of a run's cross-validation; without writers it does nothing.

    Each number of steps has one point: an epoch's numbers are those of its last step, which therefore waits for them.
    """

    def __init__(self, workers: Sequence["Worker"] = ()) -> None:
        self.workers = workers
        self.points: list[Point] = []

    def begin(self, steps: Path | None = None, lines: int = 0, log: Iterable[LogRow] = ()) -> None:
        """Opens the writers, and sends them what they lack of what was trained before.

        Args:
            steps: `steps.csv`, of which the first `lines` lines are of now.
            log: the rows of `log.csv`.
        """
        if not self.workers:
            return
        with _quiet():
            for worker in self.workers:
                worker.start()
            for worker in self.workers:
                worker.opened.wait(OPEN_SECONDS)
        if steps is not None:
            for worker in self.workers:
                if worker.opened.is_set() and not worker.failed:
                    say(f"  logs to {worker.title}: {worker.writer.where}")
            self.points = history(steps, lines, log)
            self.flush()

    def step(self, step: int, rate: float, loss: float) -> None:
        """An optimizer step, counted from 0."""
        if self.workers:
            self.points.append(_of_step(step, rate, loss))

    def epoch(self, row: LogRow) -> None:
        """A row of `log.csv`: it joins the last step's point."""
        if self.workers:
            last = self.points.pop() if self.points else Point(0, {})
            self.points.append(Point(last.step, {**last.numbers, **epoch_numbers(row)}))
            self._put(self.points)
            self.points = []

    def flush(self) -> None:
        """Sends what was added, but for the last step, which may become an epoch's end."""
        self._put(self.points[:-1])
        self.points = self.points[-1:]

    def _put(self, points: Sequence[Point]) -> None:
        for worker in self.workers if points else []:
            worker.put(list(points))

    def summary(self, numbers: Mapping[str, float | None]) -> None:
        """The final numbers; what is undefined is left out."""
        self._put(self.points)
        self.points = []
        for worker in self.workers:
            worker.put({key: float(value) for key, value in numbers.items() if value is not None})

    def close(self, ended: Ended) -> None:
        """Lets the writers end, and waits a while for what they have still to send."""
        if ended == "finished":
            self._put(self.points)
        patience = STOP_SECONDS if ended == "stopped" else CLOSE_SECONDS
        with _quiet():
            for worker in self.workers:
                worker.put(ended)
            for worker in self.workers:
                if worker.ident is not None and not worker.failed:
                    worker.join(patience if worker.opened.is_set() else STOP_SECONDS)
        for worker in self.workers:
            if worker.is_alive() and not worker.failed:
                say(f"warning: {worker.title} does not answer, or has not taken everything: it is waited for no longer")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What libraries print while nobody else does goes to standard error: standard output is ours."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def epoch_numbers(row: LogRow) -> dict[str, float]:
    """The numbers of a row of `log.csv`, as writers get them.

    >>> epoch_numbers({"epoch": 1, "valid_loss": 0.5, "score": None})
    {'epoch': 1.0, 'epoch/valid_loss': 0.5}
    """
    found = {EPOCH if key == EPOCH else f"epoch/{key}": float(v) for key, v in row.items() if v is not None}
    return {key: value for key, value in found.items() if not math.isnan(value)}


def _of_step(step: int, rate: float, loss: float) -> Point:
    return Point(step + 1, {STEP_LOSS: loss, "step/lr": rate})


def history(steps: Path, lines: int, log: Iterable[LogRow]) -> list[Point]:
    """The points of what was trained before: of each step, and of each epoch's end."""
    rows = {int(row[EPOCH] or 0): epoch_numbers(row) for row in log}
    points = [Point(0, rows.pop(0))] if 0 in rows else []
    last: dict[int, int] = {}
    if lines and steps.is_file():
        with steps.open(encoding="utf-8", newline="") as handle:
            for _, line in zip(range(lines), csv.DictReader(handle), strict=False):
                last[int(line["epoch"])] = len(points)
                points.append(_of_step(int(line["step"]), float(line["lr"]), float(line["loss"])))
    for epoch, place in last.items():
        point = points[place]
        points[place] = Point(point.step, {**point.numbers, **rows.get(epoch, {})})
    return points
