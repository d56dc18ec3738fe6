"""Predictions block by block: `oof.parquet`, `test.parquet`, `valid.parquet` in constant memory, checked on the way.

A file has every id once, finite numbers, and rows that sum to 1 where classes exclude each other, as
`core.predictions` says of whole tables; these are the same files.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.core.predictions import check_values, predictions_table
from foldline.core.row_groups import RowGroups, parquet_errors, read_groups
from foldline.core.tables import atomic_path, read_parquet, require_columns, require_file, require_unique
from foldline.core.task import Task

BLOCK = 4_000_000  # numbers that are in memory together: 16 MB
Values = NDArray[np.float32]


def block_rows(outputs: int) -> int:
    """How many rows one block holds."""
    return max(1, BLOCK // max(1, outputs))


def blocks_of(rows: int, outputs: int) -> Iterator[slice]:
    """The places of the blocks of so many rows, in order."""
    step = block_rows(outputs)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


class PredictionBlocks:
    """A predictions file, to be gone through as often as wanted.

    Args:
        ids: the ids that the file must hold, in the order in which its rows are wanted; None: as they are in the file.

    Attributes:
        ids: of all rows, in that order.
        beside: the names of its other columns, without `row_id`.

    Raises:
        FoldlineError: no file, a broken one, one that lacks a column, or other ids.
    """

    def __init__(
        self, path: Path, task: Task, outputs: Sequence[str], *, ids: "pd.Series[str] | None" = None, next: str = ""
    ) -> None:
        import pyarrow.parquet

        require_file(path, next=next)
        with parquet_errors(path, next), path.open("rb") as handle:
            names = pyarrow.parquet.ParquetFile(handle).schema_arrow.names
        self.path, self.task, self.outputs = path, task, list(outputs)
        self.columns = task.prediction_columns(outputs)
        require_columns(pd.DataFrame(columns=names), ("row_id", *self.columns), where=str(path))
        numbers = set(self.columns)
        self.beside = [name for name in names if name != "row_id" and name not in numbers]
        there = self._read("row_id")["row_id"]
        require_unique(there, where=str(path))
        self.ids = there if ids is None else ids.reset_index(drop=True)
        self._in_order = len(there) == len(self.ids) and bool((there.to_numpy() == self.ids.to_numpy()).all())
        if not self._in_order:
            require_same_ids(there, self.ids, where=str(path))

    def __len__(self) -> int:
        """How many rows."""
        return len(self.ids)

    def _read(self, *columns: str) -> pd.DataFrame:
        return pd.concat(list(read_groups(self.path, BLOCK, columns)), ignore_index=True)

    def rows(self) -> pd.DataFrame:
        """All rows without their predictions: `row_id` and the columns `beside`."""
        frame = self._read("row_id", *self.beside)
        return frame if self._in_order else frame.set_index("row_id").loc[self.ids.tolist()].reset_index()

    def tables(self) -> Iterator[pd.DataFrame]:
        """The tables of the blocks, in order, with all columns.

        Raises:
            FoldlineError: a number that is not finite; a broken file.
        """
        step = block_rows(len(self.columns))
        for frame in read_groups(self.path, step) if self._in_order else self._sorted(step):
            check_values(frame, self.columns, self.task.of(self.outputs), where=str(self.path), sums=False)
            yield frame

    def __iter__(self) -> Iterator[tuple[slice, Values]]:
        """Each block's place among all rows, and its predictions [rows, outputs]; at least one. Raises as `tables`."""
        start = 0
        for frame in self.tables():
            place = slice(start, start + len(frame))
            yield place, np.ascontiguousarray(frame[self.columns].to_numpy(dtype=np.float32))
            start = place.stop

    def values(self) -> Values:
        """[rows, outputs] all predictions; the only thing here that takes memory for all of them."""
        found = np.empty((len(self), len(self.columns)), dtype=np.float32)
        for place, values in self:
            found[place] = values
        return found

    def some_columns(self, columns: slice) -> Values:
        """[rows, columns] some predictions of all rows; they are not checked."""
        found = self._read(*self.columns[columns]).to_numpy(dtype=np.float32)
        return found if self._in_order else found[self._place()]

    def _place(self) -> NDArray[np.intp]:
        """[rows] where in the file each row is."""
        return np.asarray(pd.Index(self._read("row_id")["row_id"]).get_indexer(pd.Index(self.ids)))

    def _sorted(self, step: int) -> Iterator[pd.DataFrame]:
        """A file in another order than is wanted, which nobody of ours writes, is read whole."""
        table, place = read_parquet(self.path), self._place()
        for start in range(0, max(len(place), 1), step):
            yield table.iloc[place[start : start + step]].reset_index(drop=True)


def require_same_ids(there: "pd.Series[str]", ids: "pd.Series[str]", *, where: str) -> None:
    """Raises FoldlineError where two sets of ids differ."""
    odd = sorted(set(there) ^ set(ids))
    if odd:
        raise FoldlineError(f"{counted(len(odd), 'ids are')} missing or unknown: {first_few(odd)}", where=where)


class PredictionWriter:
    """Writes a predictions file block by block; it is there whole or not at all. `open` makes one."""

    def __init__(
        self, groups: RowGroups, task: Task, outputs: Sequence[str], ids: "pd.Series[str]", where: str, sums: bool
    ) -> None:
        require_unique(ids, where=where)
        self.task, self.outputs, self.columns = task, outputs, task.prediction_columns(outputs)
        self._groups, self._ids, self._where, self._sums = groups, ids.to_numpy(), where, sums

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, task: Task, outputs: Sequence[str], *, ids: "pd.Series[str]", sums: bool = True
    ) -> Iterator[Self]:
        """A writer of `path`, which gets its name when the block ends without an error.

        Args:
            ids: of all rows, in the order in which they will come.
            sums: whether probabilities of classes that exclude each other must sum to 1 (rank means do not).

        Raises:
            FoldlineError: when the block ends, where rows lack.
        """
        with atomic_path(path) as temporary, RowGroups(temporary) as groups:
            writer = cls(groups, task, outputs, ids, str(path), sums)
            yield writer
            if groups.rows < len(ids):
                writer._refuse(ids.to_numpy()[groups.rows :], np.array([], dtype=object))

    @property
    def rows(self) -> int:
        """How many are written."""
        return self._groups.rows

    def write(
        self, rows: pd.DataFrame, values: NDArray[np.floating[Any]], *, keep: Sequence[str] | None = None
    ) -> None:
        """The next rows.

        Args:
            rows: `row_id` and the columns to keep beside it.
            values: [rows, outputs] their predictions, written as float32.
            keep: the columns that are kept; None: all of `rows`.

        Raises:
            FoldlineError: other ids than the next ones; a number that is not finite; rows that do not sum to 1.
        """
        kept = [name for name in rows.columns if name != "row_id"] if keep is None else keep
        table = predictions_table(rows, values, self.task, self.outputs, keep=kept)
        expected = self._ids[self.rows : self.rows + len(table)]
        there = table["row_id"].to_numpy()
        if len(expected) != len(there) or (expected != there).any():
            self._refuse(expected, there)
        for place in blocks_of(len(table), len(self.columns)):
            known = self.task.of(self.outputs)
            check_values(table.iloc[place], self.columns, known, where=self._where, sums=self._sums)
        self._groups.write(table)

    def _refuse(self, expected: NDArray[Any], there: NDArray[Any]) -> None:
        require_same_ids(pd.Series(there, dtype="str"), pd.Series(expected, dtype="str"), where=self._where)
        raise FoldlineError("rows come in another order than their ids", where=self._where)
