"""Rows as arrays: what training and prediction take of a table. Reads and writes nothing."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array
from foldline.images.stacks import Stacks


@dataclass(frozen=True)
class RowArrays:
    """Rows as arrays: `positions` [rows] in the image cache, `truth` as `core.task.Task.truth` gives it,
    `metadata` [rows, features] float32, or None where the network does not see any, and the rows' `ids`.

    The last `pseudo` rows have pseudo-labels, and in their place `soft` [pseudo, outputs] float32 where they are soft.

    Where it answers for entities, the rows are pictures in `stacks`, and `wanted` are those that are predicted, in this
    order; None: all."""

    positions: NDArray[np.int64]
    truth: Array
    metadata: NDArray[np.float32] | None = None
    ids: NDArray[np.object_] | None = None
    stacks: Stacks | None = None
    wanted: NDArray[np.int64] | None = None
    pseudo: int = 0
    soft: NDArray[np.float32] | None = None

    @property
    def units(self) -> int:
        """How many answers there are: of rows, or of entities."""
        return len(self) if self.stacks is None else len(self.stacks)

    @property
    def truth_of_units(self) -> Array:
        """The truth of each, of an entity that of its first row."""
        return self.truth if self.stacks is None else self.truth[self.stacks.first_rows]

    def part(self, rows: slice) -> "RowArrays":
        """Some of them."""
        metadata = None if self.metadata is None else self.metadata[rows]
        ids = None if self.ids is None else self.ids[rows]
        return RowArrays(self.positions[rows], self.truth[rows], metadata, ids)

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """What messages call some of the rows."""
        return [str(row) for row in (rows if self.ids is None else self.ids[rows])]

    def __len__(self) -> int:
        return len(self.positions if self.wanted is None else self.wanted)
