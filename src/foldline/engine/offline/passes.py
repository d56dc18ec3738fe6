"""Rows are predicted chunk by chunk, each with as much as the time allows for all. Reads pictures; writes nothing.

Every picture is read once, for all members and views. Before each chunk the clock chooses the fullest level that all
rows left still fit. While few rows are done, and the speed is known from few, views and folds may come back; later
nothing does. A chunk counts when all of its members are done with it. It ends where an entity ends that a member sees
as a whole: one that is larger than a chunk is a chunk.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import dropwhile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.progress import say
from foldline.engine.finished.pictures import Source
from foldline.engine.finished.reading import Chunk, PictureReader
from foldline.engine.infer import Predictions
from foldline.engine.offline.answers import NO_MEMBER, NO_NUMBER, NO_PICTURE, NO_TIME, OWN_FOLD
from foldline.engine.offline.clock import Clock
from foldline.engine.offline.levels import Level, Share, fullest, levels_of
from foldline.engine.offline.members import ALL_FOLDS, OfflineMember
from foldline.engine.offline.speed import Speed
from foldline.images.store import PictureStore

MEASURE_SHARE, MEASURE_TIMES = 0.03, 8  # of the time left, at most, to measure how fast it goes; repeats
CHUNK_SECONDS, CHUNK_SHARE = 20.0, 0.1  # of a chunk, and of the time left at most
EARLY_SHARE = 0.05  # of the rows: as long as no more are done, the speed is a guess
SAY_SECONDS = 60.0

Said = dict[str, tuple[Predictions, NDArray[np.bool_]]]


class MemberFailedError(Exception):
    """A member's networks raised something; whatever it is, the others can go on."""

    def __init__(self, run: str, error: Exception) -> None:
        super().__init__(run)
        self.run, self.error = run, error


@dataclass
class Passes:
    """The work, and how far it got.

    Attributes:
        rows: row_id, image, what names entities and their order, metadata.
        fold_of: [rows] the one fold that may predict a row, or ALL_FOLDS.
        unit: [rows] rows of the same number lie together and are predicted in one chunk.
        reasons: [rows] why a row was not predicted; empty: it was.
        level: in which the next rows are predicted.
        levels: how many rows were predicted in which.
        failed: the members that were left out, and why.
        bad: the pictures that cannot be read, and why.
        waited, predicted: seconds, for pictures and in networks.
    """

    rows: pd.DataFrame
    members: list[OfflineMember]
    clock: Clock
    batch_size: int
    fold_of: NDArray[np.int64]
    unit: NDArray[np.int64]
    speed: Speed = field(default_factory=Speed)
    reasons: NDArray[np.object_] = field(init=False)
    level: Level = field(init=False)
    levels: "Counter[Level]" = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    waited: float = 0.0
    predicted: float = 0.0
    position: int = 0

    def __post_init__(self) -> None:
        self.reasons = np.full(len(self.rows), NO_TIME, dtype=object)
        self._ends = np.flatnonzero(np.diff(self.unit, append=-1)) + 1
        self._start(self.members)

    @property
    def alive(self) -> list[OfflineMember]:
        """The members that did not fail."""
        return [member for member in self.members if member.run not in self.failed]

    def run(self, root: Path) -> None:
        """Predicts rows until all are done, or the time or the members are.

        Args:
            root: the folder of the raw files.
        """
        said = self.clock.now()
        sources = [Source.of_row(root, image) for image in self.rows["image"]]
        with PictureReader(sources, [spec for member in self.members for spec in member.specs]) as reader:
            self.speed.picture_seconds = lambda: reader.seconds_each
            while self.position < len(self.rows):
                if not self._predict(self._take(reader, self._chunk_rows(reader.most))):
                    return
                if self.clock.now() - said >= SAY_SECONDS:
                    said = self.clock.now()
                    say(f"  {self.position} of {len(self.rows)} rows; {self.clock.left / 60:.0f} min left")

    def _take(self, reader: PictureReader, count: int) -> Chunk:
        start = self.clock.now()
        pictures = reader.take(count)
        self.waited += self.clock.now() - start
        return pictures

    def _chunk_rows(self, most: int) -> int:
        """How many rows come next: whole batches, of some seconds; first one, on which the speed is measured.

        No more than these, but up to where a unit ends; the next unit alone where it is larger.
        """
        wanted = self.batch_size if not self.position else self._wanted_rows(most)
        first, after = np.searchsorted(self._ends, [self.position, self.position + wanted], "right")
        end: int = self._ends[max(first, after - 1)].item()
        return end - self.position

    def _wanted_rows(self, most: int) -> int:
        seconds = min(CHUNK_SECONDS, CHUNK_SHARE * max(self.clock.left, 0.0))
        rows = min(seconds / max(self._seconds(1), 1e-9), most)
        return max(1, int(rows) // self.batch_size) * self.batch_size

    def _seconds(self, rows: int) -> float:
        return rows * self.speed.of_row(self.level)

    def _predict(self, pictures: Chunk) -> bool:
        """The next rows by all members of a level; once more where one of them fails, without it.

        Returns:
            Whether they are done: False where no time or no member is left.
        """
        chunk = slice(self.position, self.position + len(pictures.problems))
        while self.alive:
            try:
                if not self.position:
                    self._measure(pictures)
                self._choose(self._open_levels(), rows=len(self.rows) - self.position)
                if self.position and self.clock.left < self._seconds(self._least(chunk)):
                    return False
                self._keep(chunk, pictures, {share.run: self._said(share, pictures, chunk) for share in self.level})
            except MemberFailedError as failure:
                self._leave_out(failure)
                continue
            self.position = chunk.stop
            return True
        return False

    def _least(self, chunk: slice) -> int:
        """So many of the next rows at least must be predicted together."""
        first = int(self._ends[np.searchsorted(self._ends, chunk.start, "right")]) - chunk.start
        return int(max(first, min(chunk.stop - chunk.start, self.batch_size)))

    def _measure(self, pictures: Chunk) -> None:
        """What the first rows take: once in one view, which warms up; where there is time for it, in all, and often
        enough that what each call takes beside its pictures counts for little."""
        chunk, count = slice(0, len(pictures.problems)), len(pictures.problems)
        for member in self.alive:
            self._said(replace(_whole(member), views=1), pictures, chunk)
        affordable = MEASURE_SHARE * self.clock.left / max(self._seconds(count), 1e-9)
        if affordable < 1:
            return
        times = int(min(affordable, MEASURE_TIMES, max(len(self.rows) // count, 1)))
        self.speed.forget()
        for member in self.alive:
            self._said(_whole(member), pictures, chunk, times=times)

    def _said(
        self, share: Share, pictures: Chunk, chunk: slice, *, times: int = 1
    ) -> tuple[Predictions, NDArray[np.bool_]]:  # fmt: skip
        """What a member says of a chunk's rows, maybe several times over."""
        member = next(member for member in self.members if member.run == share.run)
        start = self.clock.now()
        stores = {spec: PictureStore(pictures.pixels[spec], member.model.device) for spec in member.specs}
        places = np.tile(np.arange(len(pictures.problems)), times)
        rows, fold_of = self.rows.iloc[chunk.start + places], self.fold_of[chunk.start + places]
        bad = np.array([bool(problem) for problem in pictures.problems])[places]
        try:
            answers = member.predict(share, stores, places, rows, fold_of, self.batch_size, bad)
        except Exception as error:
            raise MemberFailedError(share.run, error) from error
        seconds = self.clock.now() - start
        self.speed.add(share.run, share.passes * len(places), seconds)
        self.predicted += seconds
        return answers

    def _keep(self, chunk: slice, pictures: Chunk, said: Said) -> None:
        """What the members said of rows; the chunk is done."""
        good = np.array([not problem for problem in pictures.problems])
        names = self.rows["image"].iloc[chunk]
        self.bad |= {name: problem for name, problem in zip(names, pictures.problems, strict=True) if problem}
        known = np.ones(len(good), dtype=bool)
        for member in self.alive:
            if member.run in said:
                answers, there = said[member.run]
                member.values[chunk], member.done[chunk] = answers, there
                known &= there
        silent = np.where(self.fold_of[chunk] == ALL_FOLDS, NO_NUMBER, OWN_FOLD)
        self.reasons[chunk] = np.where(known, "", np.where(good, silent, NO_PICTURE))
        self.levels[self.level] += int(known.sum())

    def _open_levels(self) -> list[Level]:
        """The levels that may come next: those below; at first, of the same members, those above as well.

        What the first batches take says little of the others. A member that comes back would lack rows.
        """
        if self.position < EARLY_SHARE * len(self.rows):
            return list(dropwhile(lambda level: _runs(level) != _runs(self.level), self._levels))
        return self._levels[self._levels.index(self.level) :]

    def _choose(self, levels: Sequence[Level], *, rows: int) -> None:
        """The fullest level for the rows left; says where it is another than before."""
        level = fullest(levels, self.speed.of_row, rows=rows, left=self.clock.left)
        if level != self.level:
            more = self._levels.index(level) < self._levels.index(self.level)
            say(f"the time {'reaches for more' if more else 'does not reach for all'}: from row {self.position + 1} on "
                f"{in_words(level)}")  # fmt: skip
        self.level = level

    def _start(self, members: Sequence[OfflineMember]) -> None:
        """Everything, by these members."""
        self._levels = levels_of([member.plan for member in members])
        self.level = self._levels[0]

    def _leave_out(self, failure: MemberFailedError) -> None:
        """Goes on without a member; the rows that it did count where no other member did all."""
        words = f"{type(failure.error).__name__}: {failure.error}"
        say(f"WARNING: member '{failure.run}' failed and is left out: {words}")
        self.failed[failure.run] = words
        if self.alive:
            self._start(self.alive)
        else:
            self.reasons[self.position :] = NO_MEMBER


def _runs(level: Level) -> list[str]:
    return [share.run for share in level]


def _whole(member: OfflineMember) -> Share:
    return Share(member.run, *member.plan.steps)


def in_words(level: Level) -> str:
    """Such as `baseline: 5 folds x 2 views`."""
    return ", ".join(
        f"{share.run}: {counted(share.folds, 'folds')} x {counted(share.views, 'views')}" for share in level
    )
