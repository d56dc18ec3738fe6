"""From rows to batches on the device: who makes the pictures, where, and how they get there.

One feed serves all epochs and folds of a command. The same rows give the same batches whatever the number of workers,
how they were started, where the pictures lie, and where training was interrupted.
"""

from collections.abc import Iterator
from itertools import tee
from typing import Self

import numpy as np
import torch
from torch import Tensor

from foldline.core.cores import usable_cores
from foldline.core.progress import say
from foldline.core.rank import rank_here
from foldline.images.ahead import ahead
from foldline.images.augment import Augmenter
from foldline.images.batched import BatchAugmenter, Drawn
from foldline.images.batches import TrainingBatch, TrainingRows, rows_of
from foldline.images.masks import Masks, require_moving
from foldline.images.pictures import AugmentedPictures, Items, channels_last, each
from foldline.images.shards import Indices
from foldline.images.store import PictureStore
from foldline.images.workers import (
    WorkerPool,
    died,
    ended,
    pictures_per_second,
    usable_workers,
    workers_for,
)


class Feed:
    """Training pictures of one cache and one augmentation.

    Args:
        workers: the setting `data.workers`.
        method: how worker processes start; None: as usual on this system.
        masks: of the pictures; None: they are not asked for.

    Raises:
        FoldlineError: the augmentation moves pictures, and cannot move their masks.
    """

    def __init__(
        self, store: PictureStore, augmenter: Augmenter, workers: int | str = 0, method: str | None = None,
        masks: Masks | None = None,
    ) -> None:  # fmt: skip
        if masks is not None:
            require_moving(augmenter)
        self.store, self.augmenter, self.device, self.masked = store, augmenter, store.device, masks is not None
        self.pictures = AugmentedPictures(store.pixels, augmenter, store.file, masks)
        self.batched = None if self.masked else _batched(augmenter, store)
        self.asked_for, self.method = workers, method
        self.taken_per_second: float | None = None  # pictures that the network trains on, where that was measured
        self.workers: int | None = None  # processes at work; None: it was not decided yet
        self._largest_batch = 0  # for which there is shared memory
        self._pool: WorkerPool | None = None
        if self.batched is not None and workers not in ("auto", 0):
            say(f"note: data.workers: {workers} have nothing to do: '{self.device}' augments pictures, batch by batch")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        """Raises FoldlineError where a worker ended while this process did something else."""
        self.close()
        if error is not None and died(error):
            raise ended(error, self.workers or 0) from error

    def close(self) -> None:
        """Ends the worker processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def training(self, rows: TrainingRows, epoch: int, batch_size: int, *, first: int = 0) -> Iterator[TrainingBatch]:
        """The batches of one epoch from number `first` on; a last one that is not full is left out.

        One iterator lives at a time: beginning another one drops what is left of the one before.
        """
        items = rows.items(epoch, batch_size, first)
        if self.batched is not None:
            yield from self._batched(items, self.batched)
            return
        yield from self._made(items, self._workers(rows, batch_size))

    def sample(self, rows: TrainingRows, batch_size: int) -> TrainingBatch:
        """The first batch of a training, made by this process; for measuring."""
        items = rows.items(0, batch_size)
        return next(self._made(items, None) if self.batched is None else self._batched(items, self.batched))

    def _made(self, items: Iterator[Items], pool: WorkerPool | None) -> Iterator[TrainingBatch]:
        """Pictures that are augmented one by one, on the host."""
        made, named = tee(items)
        pictures = map(self.pictures.__getitems__, made) if pool is None else pool.batches(made)
        labelled = (
            (numbers, (x, torch.from_numpy(rows_of(numbers)))) for x, numbers in zip(pictures, named, strict=True)
        )
        for numbers, (images, on_device) in ahead(labelled, self.device):
            if self.masked:
                yield TrainingBatch(images[:, :-1], rows_of(numbers), on_device, images[:, -1])
            else:
                yield TrainingBatch(images, rows_of(numbers), on_device)

    def _batched(self, items: Iterator[Items], augmenter: BatchAugmenter) -> Iterator[TrainingBatch]:
        """Pictures as they are, or gathered where they lie, and what happens to them drawn on the host."""
        for (numbers, drawn), (first, on_device, there, noise) in ahead(self._sent(items, augmenter), self.device):
            images = first if self.store.resident is None else self.store.gather(first)
            if not augmenter.does_nothing:
                images = augmenter(images, Drawn(there, noise, drawn.patches))
            yield TrainingBatch(images, rows_of(numbers), on_device)

    def _sent(
        self, items: Iterator[Items], augmenter: BatchAugmenter
    ) -> Iterator[tuple[tuple[Items, Drawn], tuple[Tensor, ...]]]:
        for numbers in items:
            positions, drawn = np.ascontiguousarray(numbers[:, 0]), augmenter.draw(numbers)
            first = self._taken(positions, numbers) if self.store.resident is None else torch.from_numpy(positions)
            yield (numbers, drawn), (first, torch.from_numpy(rows_of(numbers)), drawn.numbers, drawn.noise)

    def _taken(self, positions: Indices, numbers: Items) -> Tensor:
        """[batch, channels, height, width] uint8 on the host, cropped where training sees parts."""
        if self.augmenter.cropper is None:
            return self.store.take(positions)
        return channels_last(each(self.augmenter, np.asarray(self.store.pixels[positions]), numbers, crops=True))

    def _workers(self, rows: TrainingRows, batch_size: int) -> WorkerPool | None:
        if self.workers is None:
            self.workers = self.asked_for if isinstance(self.asked_for, int) else self._by_trial(rows)
        if self.workers and batch_size > self._largest_batch:
            height, width = self.store.height_width
            of_mask = height * width if self.masked else 0
            self.workers = usable_workers(batch_size * (self.store.bytes_each + of_mask), self.workers)
            self._largest_batch = batch_size
            if not self.workers:
                self.close()
        if self.workers and self._pool is None:
            self._pool = WorkerPool(self.pictures, self.workers, self.method)
        return self._pool

    def _by_trial(self, rows: TrainingRows) -> int:
        """`auto`: none on a CPU, whose cores the network has, and none for pictures as they are."""
        cores = max(usable_cores() // rank_here().beside, 1)
        if self.device.type != "cuda" or self.augmenter.does_nothing or cores < 2:
            return 0
        made = pictures_per_second(self.pictures, next(rows.items(0, min(64, rows.rows_per_epoch))))
        chosen = workers_for(made, self.taken_per_second, cores)
        takes = "" if self.taken_per_second is None else f", the network takes {self.taken_per_second:.0f}"
        say(f"data.workers: {chosen} of {cores} cores: one process makes {made:.0f} pictures/s{takes}")
        return chosen


def gathers(augmenter: Augmenter) -> bool:
    """Whether training would take pictures from a GPU as they lie there: what happens to them is done there too, with
    the same result as elsewhere, or because the run says so."""
    settings, _, _ = augmenter.made_of
    return augmenter.cropper is None and (augmenter.flips is not None or settings.engine == "torch")


def _batched(augmenter: Augmenter, store: PictureStore) -> BatchAugmenter | None:
    """What augments whole batches; None: pictures are made one by one, on the host."""
    settings, height_width, channels = augmenter.made_of
    if settings.engine == "torch" or (store.resident is not None and gathers(augmenter)):
        return BatchAugmenter(settings, height_width, channels or store.channels)
    return None
