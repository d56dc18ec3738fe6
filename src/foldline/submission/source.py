"""Predictions by their place, some at a time: what the writer of a submission takes them from. Tables, files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.tables import scratch_folder
from foldline.core.task import Array, Task
from foldline.scoring.entities import aggregate

Places = NDArray[np.int64]


class Source(Protocol):
    """Predictions of rows or entities.

    Attributes:
        ids: of all of them, in the order of their places.
    """

    @property
    def ids(self) -> "pd.Series[str]":
        """In the order of their places."""
        ...

    def values(self, places: Places) -> Array:
        """[places, outputs] the predictions at these places."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A table with `id` and the task's prediction columns."""

    table: pd.DataFrame
    columns: Sequence[str]

    @property
    def ids(self) -> "pd.Series[str]":
        """The column `id`."""
        return self.table["id"]

    def values(self, places: Places) -> Array:
        """[places, outputs]."""
        return np.asarray(self.table[list(self.columns)].to_numpy(dtype=np.float64)[places])


@dataclass(frozen=True)
class OnDisk:
    """Rows in a file of float32 numbers alone, of which only what is asked for is ever in memory."""

    ids: "pd.Series[str]"
    path: Path
    outputs: int

    def values(self, places: Places) -> Array:
        """[places, outputs]."""
        if len(places) == 0:
            return np.empty((0, self.outputs))
        # opened anew each time: pages of a map that stays open count as this process's memory
        rows = np.memmap(self.path, dtype=np.float32, mode="r", shape=(len(self.ids), self.outputs))
        return rows[places].astype(np.float64)


@dataclass(frozen=True)
class ByEntity:
    """Entities, each of which has one row or several.

    Attributes:
        order: the places of all rows, those of the first entity first; starts: where each entity's begin.
    """

    ids: "pd.Series[str]"
    rows: Source
    order: Places
    starts: Places
    how: str
    task: Task
    outputs: Sequence[str]

    @classmethod
    def of(cls, rows: Source, entities: "pd.Series[str]", how: str, task: Task, outputs: Sequence[str]) -> "ByEntity":
        """Entities in the order in which they first appear.

        Args:
            entities: of each row.
            how: an entry of `scoring.entities.AGGREGATES`.
        """
        code, names = pd.factorize(entities, sort=False)
        order = np.argsort(code, kind="stable").astype(np.int64)
        starts = np.searchsorted(code[order], np.arange(len(names) + 1)).astype(np.int64)
        return cls(pd.Series(names, dtype=str), rows, order, starts, how, task, outputs)

    def values(self, places: Places) -> Array:
        """[places, outputs]; of equal places the predictions are aggregated twice."""
        sizes = np.diff(self.starts)[places]
        first = np.repeat(self.starts[places] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        rows = self.order[first + np.arange(sizes.sum())] if len(places) else np.empty(0, dtype=np.int64)
        columns = self.task.prediction_columns(self.outputs)
        table = pd.DataFrame(self.rows.values(rows), columns=columns)
        table.insert(0, "at", np.repeat(np.arange(len(places)), sizes))
        found = aggregate(table, "at", self.how, task=self.task, outputs=self.outputs)
        return found[columns].to_numpy(dtype=np.float64)


@contextmanager
def predictions_in(
    path: Path, task: Task, outputs: Sequence[str], *, ids: "pd.Series[str]", how: str
) -> Iterator[Source]:
    """What a submission says of the rows, or entities, of a predictions file; a copy lies beside it meanwhile.

    Args:
        ids: the rows that the file must hold.
        how: several rows of one entity become one: an entry of `scoring.entities.AGGREGATES`.

    Raises:
        FoldlineError: as `PredictionBlocks`; an unknown `how`.
    """
    blocks = PredictionBlocks(path, task, outputs, ids=ids)
    with scratch_folder(path.parent) as folder:
        copy = folder / "predictions.float32"
        with copy.open("wb") as handle:
            for _, values in blocks:
                handle.write(values.tobytes())
        rows = OnDisk(blocks.ids, copy, len(blocks.columns))
        if "entity" in blocks.beside:
            yield ByEntity.of(rows, blocks.rows()["entity"], how, task, outputs)
        else:
            yield rows
