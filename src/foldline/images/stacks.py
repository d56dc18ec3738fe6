"""Stacks: an entity's pictures in their order; which of them a training step sees. Reads and writes no files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.cells import numbers
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError, first_few
from foldline.images.augment import key_seed
from foldline.images.batches import TrainingRows
from foldline.images.pictures import Items
from foldline.images.sampling import repeats
from foldline.images.shards import Indices

CHOOSING = -5  # the key's last part, apart from what augmentation, mixing and dealing draw
STACK = "|"  # between the files of one row


@dataclass(frozen=True)
class Stacks:
    """Rows as the pictures of entities.

    Attributes:
        of_row: [rows] the stack of each row, numbered as they first appear.
        order: [pictures] the rows, one stack behind the other, each in its order. A row whose picture cannot be read
            is none of its stack's pictures, unless none of them can.
        starts: [stacks + 1] where in `order` each begins.
        place: [rows] float32 where among its stack's pictures a row stands: the first at 0, the last at 1. Rows that
            cannot be read have none (0), so it is the same whether they are given, as in prediction, or were left out
            before, as in training.
    """

    of_row: Indices
    order: Indices
    starts: Indices
    place: NDArray[np.float32]

    @classmethod
    def of(cls, names: Sequence[str], order: "pd.Series[str] | None", bad: NDArray[np.bool_] | None = None) -> Self:
        """The stacks of rows.

        Args:
            names: of each row's entity.
            order: each row's place among them, numbers by value; None: the rows' own order.
            bad: the rows whose picture cannot be read; None: none is.

        Raises:
            FoldlineError: a row has no place, or only some have numbers.
        """
        of_row = pd.factorize(np.asarray(names, dtype=object))[0].astype(np.int64)
        rows, count = np.arange(len(of_row)), int(of_row.max(initial=-1)) + 1
        rank = rows.astype(np.float64) if order is None else place_ranks(order)
        kept = np.lexsort((rows, rank, of_row)).astype(np.int64)
        if bad is not None and bad.any():
            none = np.bincount(of_row[~bad], minlength=count) == 0
            kept = kept[~bad[kept] | none[of_row[kept]]]
        sizes = np.bincount(of_row[kept], minlength=count)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        place = np.zeros(len(of_row), dtype=np.float32)
        within = np.arange(len(kept)) - np.repeat(starts[:-1], sizes)
        place[kept] = within / np.maximum(np.repeat(sizes, sizes) - 1, 1)
        return cls(of_row, kept, starts, place)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def sizes(self) -> Indices:
        """[stacks] pictures in each."""
        return np.diff(self.starts)

    @cached_property
    def first_rows(self) -> Indices:
        """[stacks] the first row of each: what all of its rows share is read there."""
        return np.unique(self.of_row, return_index=True)[1].astype(np.int64)

    @cached_property
    def slot(self) -> Indices:
        """[rows] the number of each row's picture among those of its stack; -1: it is none of them."""
        result = np.full(len(self.of_row), -1, dtype=np.int64)
        result[self.order] = np.arange(len(self.order)) - np.repeat(self.starts[:-1], self.sizes)
        return result

    def rows(self, stack: int) -> Indices:
        """The rows of a stack's pictures, in their order."""
        return self.order[self.starts[stack] : self.starts[stack + 1]]

    def packs(self, most: int, wanted: NDArray[np.bool_]) -> Iterator[range]:
        """Runs of stacks that are predicted together: of up to `most` pictures, or a single larger one.

        They are the same whichever of them are wanted: a stack is always predicted beside the same others.

        Args:
            wanted: [stacks] a run in which none is gets left out.
        """
        first = 0
        while first < len(self):
            end = int(np.searchsorted(self.starts, self.starts[first] + most, "right")) - 1
            end = max(first + 1, end)
            if wanted[first:end].any():
                yield range(first, end)
            first = end


def place_ranks(order: "pd.Series[str]") -> NDArray[np.float64]:
    """[rows] where each stands among all: numbers by value, anything else by its text.

    Raises:
        FoldlineError: a row has no place, or only some have numbers.
    """
    cells = order.str.strip()
    empty, found = (cells == "").to_numpy(dtype=bool), numbers(cells)
    known = np.isfinite(found)
    if empty.any() or (known.any() and not known.all()):
        odd = cells[empty if empty.any() else ~known]
        raise FoldlineError(
            f"{counted(len(odd), 'rows have')} no place in their entity, or a word where others have numbers: "
            f"{first_few([repr(cell) for cell in odd.tolist()], 3)}",
            where="column order",
            next="mend the column that the facts name as `order`; then make the folds anew",
        )
    if known.all():
        return found
    return np.unique(cells.to_numpy(dtype=str), return_inverse=True)[1].astype(np.float64)


def with_neighbours(images: Sequence[str], stacks: Stacks, count: int) -> list[str]:
    """[rows] each picture's files between those of the `count` pictures before and after it, joined as one stack of
    channels; at the ends the first or the last picture stands in for those that are not there."""
    result = list(images)
    for stack in range(len(stacks)):
        rows = stacks.rows(stack)
        for place, row in enumerate(rows.tolist()):
            around = np.clip(np.arange(place - count, place + count + 1), 0, len(rows) - 1)
            result[row] = STACK.join(images[other] for other in rows[around].tolist())
    return result


def middle(image: str, count: int) -> str:
    """The picture in the middle of its neighbours.

    >>> middle("1.png|2.png|3.png", 1), middle("a.png|b.png", 0)
    ('2.png', 'a.png|b.png')
    """
    files = image.split(STACK)
    each = len(files) // (2 * count + 1)
    return STACK.join(files[count * each : (count + 1) * each])


class StackRows(TrainingRows):
    """Training entities in the order of each epoch, and the pictures of each that a step sees.

    A batch has as many pictures of each of its entities: those of the one that has most, or `most`. An entity with
    fewer repeats its own, which a network is told not to look at (`Stacks.sizes` says how many count).

    Args:
        positions: [rows] in the cache.
        stacks: of these rows.
        most: pictures of an entity a step, spread over all of them; 0: all.
        more: as `TrainingRows` takes it, the truth being that of the stacks.
    """

    def __init__(self, positions: Indices, key: tuple[int, int], *, stacks: Stacks, most: int = 0, **more: Any) -> None:
        super().__init__(np.arange(len(stacks)), key, **more)
        self.of_rows, self.stacks, self.most = positions, stacks, most

    def whole(self, epoch: int, batch: int, batch_size: int) -> Indices:
        """[pictures] the rows of a batch's pictures, whatever the share of it."""
        stacks = super().whole(epoch, batch, batch_size)
        assert self._newest is not None
        again = repeats(self._newest[1])[batch * batch_size : (batch + 1) * batch_size]
        return self.chosen(epoch, stacks, again).ravel()

    def items(self, epoch: int, batch_size: int, first: int = 0) -> Iterator[Items]:
        """As of `TrainingRows`, an entity's pictures one behind the other."""
        order = self.order(epoch)
        again = repeats(order)
        for batch in range(first, self.batches(batch_size)):
            part = slice(batch * batch_size, (batch + 1) * batch_size)
            rows, times = self.chosen(epoch, order[part], again[part]), again[part]
            if self.share is not None:
                own = self.share.of(len(rows))
                rows, times = rows[own], times[own]
            numbers = np.empty((rows.size, 6), dtype=np.int64)
            numbers[:, 0], numbers[:, 4] = self.of_rows[rows.ravel()], rows.ravel()
            numbers[:, 1:4], numbers[:, 5] = (*self.key, epoch), np.repeat(times, rows.shape[1])
            yield numbers

    def answers(self, epoch: int, batch: int, batch_size: int) -> int:
        """How many different pictures a batch shows, whatever the share of it."""
        stacks = super().whole(epoch, batch, batch_size)
        return int(np.minimum(self.stacks.sizes[stacks], self._pictures(stacks)).sum())

    def _pictures(self, stacks: Indices) -> int:
        """Of each entity of a batch."""
        count = int(self.stacks.sizes[stacks].max())
        return min(count, self.most) if self.most else count

    def chosen(self, epoch: int, stacks: Indices, again: Indices) -> Indices:
        """[entities, pictures] the rows of the pictures that are seen of each, in their order.

        Args:
            again: [entities] how often each came before in this epoch: then others are drawn.
        """
        count = self._pictures(stacks)
        rows = np.empty((len(stacks), count), dtype=np.int64)
        for place, (stack, times) in enumerate(zip(stacks.tolist(), again.tolist(), strict=True)):
            own = self.stacks.rows(stack)
            if len(own) <= count:
                rows[place] = np.resize(own, count)
                continue
            rng = np.random.default_rng(key_seed(*self.key, epoch, stack, times, CHOOSING))
            bounds = np.arange(count + 1) * len(own) // count
            rows[place] = own[rng.integers(bounds[:-1], bounds[1:])]
        return rows
