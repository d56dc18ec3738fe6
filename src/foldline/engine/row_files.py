"""Predictions of rows become files, some batches in memory at a time. Reads pictures and the parts that other processes
made; writes predictions files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from foldline.core.prediction_blocks import PredictionBlocks, PredictionWriter, block_rows
from foldline.core.progress import say
from foldline.core.shards import WHOLE, Shard
from foldline.engine.finished.networks import FoldNetworks, mean_of_folds, predict_some
from foldline.engine.finished.oof import among_all
from foldline.engine.infer import HalfPrecisionError, Predictions
from foldline.engine.machine.compiling import Compiling
from foldline.engine.problem import Problem


@dataclass(frozen=True)
class Parts:
    """Which shares of the rows were predicted before.

    Attributes:
        shards: all shares, in order; a single one where nothing was.
        folders: of those that are there.
    """

    shards: list[Shard] = field(default_factory=lambda: [WHOLE])
    folders: dict[Shard, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Mapping[Shard, Path]) -> Self:
        """Those of these folders, all of one number of shards; none where there are none."""
        if not folders:
            return cls()
        number = next(iter(folders)).of
        return cls([Shard(index, number) for index in range(number)], dict(folders))


@dataclass(frozen=True)
class RowFiles:
    """Rows of the competition that folds predict into a file each.

    Attributes:
        frame: the rows.
        keep: which of its columns the files hold.
        files: of each fold; their names are those of the parts.
        title: of the progress bar.
        whole: whether rows that fp16 does not hold may be predicted in fp32: in a shard others would not be.
    """

    problem: Problem
    frame: pd.DataFrame
    keep: list[str]
    files: list[Path]
    title: str
    compiling: Compiling
    whole: bool = True

    def write(self, networks: Callable[[], Sequence[FoldNetworks]], parts: Parts) -> None:
        """Writes the files.

        Args:
            networks: loads the folds' networks (`at_once`); asked where something is to be predicted.
        """
        try:
            self._write(networks, parts, exact=False)
        except HalfPrecisionError as error:
            if not self.whole:
                raise
            say(f"warning: {error}: they predict again, in fp32")
            self._write(networks, Parts(), exact=True)

    def _write(self, networks: Callable[[], Sequence[FoldNetworks]], parts: Parts, *, exact: bool) -> None:
        folds, batch_size = self.problem.folds, self.problem.run.predict.batch_size
        with ExitStack() as stack:
            writers = [
                stack.enter_context(PredictionWriter.open(file, folds.task, folds.outputs, ids=self.frame["row_id"]))
                for file in self.files
            ]
            for shard in parts.shards:
                frame = self.frame.iloc[shard.rows(len(self.frame), batch_size)]
                if shard in parts.folders:
                    self._copy(parts.folders[shard], frame, writers)
                elif len(frame) or len(parts.shards) == 1:
                    self._predict(networks, frame, writers, exact=exact)

    def _copy(self, folder: Path, frame: pd.DataFrame, writers: Sequence[PredictionWriter]) -> None:
        """What another process predicted of these rows."""
        folds = self.problem.folds
        for file, writer in zip(self.files, writers, strict=True):
            part = folder / part_name(file)
            for place, values in PredictionBlocks(part, folds.task, folds.outputs, ids=frame["row_id"]):
                writer.write(frame.iloc[place], values, keep=self.keep)

    def _predict(
        self, networks: Callable[[], Sequence[FoldNetworks]], frame: pd.DataFrame, writers: Sequence[PredictionWriter],
        *, exact: bool,
    ) -> None:  # fmt: skip
        outputs = len(self.problem.folds.outputs)
        if not len(frame):
            for writer in writers:
                writer.write(frame, np.zeros((0, outputs), dtype=np.float32), keep=self.keep)
            return
        choices, (whole, among) = self.problem.run.predict, among_all(self.problem, frame)
        batches = predict_some(
            networks(), self.problem.pictures, self.problem.cache.rows(whole["image"].tolist()), whole,
            views=choices.views, batch_size=choices.batch_size, title=self.title, compiling=self.compiling, exact=exact,
            among=among,
        )  # fmt: skip
        for place, values in _in_blocks(batches, block_rows(outputs * len(writers))):
            for own, writer in zip(values, writers, strict=True):
                writer.write(frame.iloc[place], own, keep=self.keep)


def part_name(file: Path) -> str:
    """What a fold's file is called in a shard's folder: `fold_2.test.parquet`."""
    return f"{file.parent.name}.{file.name}"


def _in_blocks(batches: Iterator[tuple[slice, Predictions]], rows: int) -> Iterator[tuple[slice, Predictions]]:
    """Batches joined to blocks of at least so many rows: [folds, rows, outputs] and their places."""
    waiting: list[Predictions] = []
    start = end = 0
    for place, values in batches:
        waiting.append(values)
        end = place.stop
        if end - start >= rows:
            yield slice(start, end), np.concatenate(waiting, axis=1)
            waiting, start = [], end
    if waiting:
        yield slice(start, end), np.concatenate(waiting, axis=1)


def write_mean(problem: Problem, frame: pd.DataFrame, keep: list[str], files: Sequence[Path], path: Path) -> None:
    """Writes the mean of the folds' files of the same rows."""
    folds, ids = problem.folds, frame["row_id"]
    opened = [PredictionBlocks(file, folds.task, folds.outputs, ids=ids) for file in files]
    with PredictionWriter.open(path, folds.task, folds.outputs, ids=ids) as writer:
        for blocks in zip(*opened, strict=True):
            place, values = blocks[0][0], np.stack([own for _, own in blocks])
            writer.write(frame.iloc[place], mean_of_folds(values), keep=keep)


def write_interleaved(
    problem: Problem, frame: pd.DataFrame, keep: list[str], sources: Mapping[int, Iterator[Predictions]], path: Path
) -> None:
    """Writes the rows in their order, each one's predictions from its fold's source, which has them in that order."""
    folds, step = problem.folds, block_rows(len(problem.folds.outputs))
    readers, of_row = {fold: Portions(source) for fold, source in sources.items()}, frame["fold"].to_numpy()
    with PredictionWriter.open(path, folds.task, folds.outputs, ids=frame["row_id"]) as writer:
        for start in range(0, len(frame), step):
            own = of_row[start : start + step]
            values = np.empty((len(own), len(folds.outputs)), dtype=np.float32)
            for fold, reader in readers.items():
                values[own == fold] = reader.take(int((own == fold).sum()))
            writer.write(frame.iloc[start : start + step], values, keep=keep)


class Portions:
    """Blocks [rows, outputs] in portions of other sizes."""

    def __init__(self, blocks: Iterator[Predictions]) -> None:
        self.blocks = blocks
        self.left = next(blocks)

    def take(self, rows: int) -> Predictions:
        """The next rows."""
        taken = [self.left[:rows]]
        lacking, self.left = rows - len(taken[0]), self.left[rows:]
        while lacking:
            block = next(self.blocks)
            taken.append(block[:lacking])
            self.left = block[lacking:]
            lacking -= len(taken[-1])
        return np.concatenate(taken)
