"""Which training rows an epoch has, batch by batch: an order that a key fixes. Reads and writes no files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.run import Sampling
from foldline.core.task import TASKS, Task
from foldline.images.pictures import Items
from foldline.images.sampling import epoch_rows, mixed_in, repeats, row_classes, rows_per_epoch
from foldline.images.shards import Indices


@dataclass(frozen=True)
class TrainingBatch:
    """What one training step sees.

    Attributes:
        images: [batch, channels, height, width] 0..255, channels last, on the host or where the network is; uint8, or
            floats where they were augmented there.
        rows: [batch] which training rows they are, on the host.
        on_device: [batch] int64 the same where the network is, so that their labels are gathered there.
        masks: [batch, height, width] uint8, 1 where a picture shows the object, beside the images; None: not asked for.
    """

    images: Tensor
    rows: Indices
    on_device: Tensor
    masks: Tensor | None = None


class TrainingRows:
    """The training rows of a fold, in the order of each epoch.

    Args:
        positions: [rows] the position in the cache of each training row's image.
        key: (seed, fold).
        truth: [rows] or [rows, outputs] the labels, as `core.task.Task.truth` gives them; needed for sampling.
        outputs: the classes' names.
        share: of each batch; None: all of it.
        pseudo: how many rows, the last ones, have pseudo-labels.
        ratio: how much of an epoch these are, in turn; 0: they are rows like all others.
        copies: how often each row stands in a batch; an epoch has so many times fewer rows.

    Raises:
        FoldlineError: there are fewer rows than copies; the sampling does not fit to the task or the classes.
    """

    def __init__(
        self,
        positions: Indices,
        key: tuple[int, int],
        *,
        truth: NDArray[np.float64] | None = None,
        task: Task = TASKS["multiclass"],
        outputs: Sequence[str] = (),
        sampling: Sampling | None = None,
        share: "Share | None" = None,
        pseudo: int = 0,
        ratio: float = 0.0,
        copies: int = 1,
    ) -> None:
        self.positions = positions
        self.key = key
        self.share = share
        self.copies = copies
        self.sampling = sampling or Sampling()
        self.outputs = list(outputs)
        self.apart = pseudo if ratio else 0
        self.others = len(positions) - self.apart
        self.classes = None if truth is None else row_classes(truth[: self.others], task, self.sampling)
        rows = rows_per_epoch(self.classes, self.others, self.sampling, self.outputs)
        self.quota = round(rows * ratio / (1 - ratio)) if self.apart else 0
        self.sampled = rows + self.quota
        self.rows_per_epoch = self.sampled // copies * copies
        if not self.rows_per_epoch:
            raise FoldlineError(
                f"{counted(rows, 'rows are')} too few for {counted(copies, 'copies')} of each", where="augment.copies"
            )
        self._newest: tuple[int, Indices] | None = None  # an epoch and its order

    def batches(self, batch_size: int) -> int:
        """How many batches every epoch has."""
        return max(1, self.rows_per_epoch // batch_size)

    def order(self, epoch: int) -> Indices:
        """[rows_per_epoch] the rows of an epoch, in their order, copies side by side; as many epochs have all rows."""
        turn, part = divmod(epoch, self.copies)
        rows = epoch_rows(self.classes, self.others, self.sampling, self.outputs, self.key, turn)
        if self.quota:
            rows = mixed_in(rows, np.arange(self.others, len(self.positions)), self.quota, self.key, turn)
        if len(rows) != self.sampled:
            raise FoldlineError(
                f"an epoch has {counted(len(rows), 'rows')} and not {self.sampled}, as the first",
                where="sampling.function",
            )
        each = self.sampled // self.copies
        return np.repeat(rows[part * each : (part + 1) * each], self.copies)

    def whole(self, epoch: int, batch: int, batch_size: int) -> Indices:
        """[batch] the rows of a batch, whatever the share of it."""
        if self._newest is None or self._newest[0] != epoch:
            self._newest = epoch, self.order(epoch)
        return self._newest[1][batch * batch_size : (batch + 1) * batch_size]

    def items(self, epoch: int, batch_size: int, first: int = 0) -> Iterator[Items]:
        """What the batches of an epoch are made of, from number `first` on; a last one that is not full is left out."""
        order = self.order(epoch)
        again = repeats(order)
        numbers = np.empty((len(order), 6), dtype=np.int64)
        numbers[:, 0], numbers[:, 4], numbers[:, 5] = self.positions[order], order, again
        numbers[:, 1:4] = *self.key, epoch
        for batch in range(first, self.batches(batch_size)):
            items = numbers[batch * batch_size : (batch + 1) * batch_size]
            yield items if self.share is None else items[self.share.of(len(items))]


@dataclass(frozen=True)
class Share:
    """The rows of each batch that one of several processes takes; all of them together take each row once.

    Attributes:
        number, count: which process, from 0, and of how many.
        pairs: rows that stand as far from the batch's two ends stay together, as those that are mixed (`images.mix`).
        copies: so many rows beside each other stay together, which are compared.
    """

    number: int
    count: int
    pairs: bool = False
    copies: int = 1

    def of(self, rows: int) -> Indices:
        """The places in a batch of so many rows, in their order; none where there are too few of them.

        >>> Share(0, 2).of(7).tolist(), Share(1, 2).of(7).tolist()
        ([0, 1, 2], [3, 4, 5, 6])
        >>> Share(0, 2, pairs=True).of(7).tolist(), Share(1, 2, pairs=True).of(7).tolist()
        ([0, 1, 5, 6], [2, 3, 4])
        >>> Share(0, 2, copies=2).of(6).tolist(), Share(1, 2, copies=2).of(6).tolist()
        ([0, 1], [2, 3, 4, 5])
        """
        return self._of(self.number, rows)

    def least(self, rows: int) -> int:
        """How many rows of such a batch the process has that has fewest."""
        return min(len(self._of(number, rows)) for number in range(self.count))

    def _of(self, number: int, rows: int) -> Indices:
        units = (rows + 1) // 2 if self.pairs else rows // self.copies
        front = np.arange(units * number // self.count * self.copies, units * (number + 1) // self.count * self.copies)
        return np.union1d(front, rows - 1 - front) if self.pairs else front


def rows_of(items: Items) -> Indices:
    """[batch] which training rows the items are."""
    return np.ascontiguousarray(items[:, 4])
