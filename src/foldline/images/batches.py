"""Rows become batches: training batches in an order that a key fixes, evaluation batches in row order."""

import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foldline.core.errors import FoldlineError
from foldline.core.progress import say
from foldline.core.run import Sampling
from foldline.core.task import TASKS, Task
from foldline.images.augment import Augmenter
from foldline.images.sampling import Indices, epoch_rows, repeats, row_classes, rows_per_epoch

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
PATIENCE_SECONDS = 600.0  # for one batch of a worker: then it hangs

Item = tuple[int, int, int]  # (epoch, row, how often the row came before in this epoch)
Batch = tuple[Tensor, Indices]


class TrainingRows(Dataset[Batch]):
    """Augmented pictures by (epoch, row, repeat): an item is always the same picture.

    Args:
        pixels: [images, height, width, channels] uint8, all images of the cache.
        positions: [rows] the position in `pixels` of each training row's image.
        key: (seed, fold).
        truth: [rows] or [rows, outputs] the labels, as `core.task.Task.truth` gives them; needed for sampling.
        outputs: the classes' names.

    Raises:
        FoldlineError: the sampling does not fit to the task or the classes.
    """

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        positions: Indices,
        augmenter: Augmenter,
        key: tuple[int, int],
        *,
        truth: NDArray[np.float64] | None = None,
        task: Task = TASKS["multiclass"],
        outputs: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> None:
        self.pixels = pixels
        self.positions = positions
        self.augmenter = augmenter
        self.key = key
        self.sampling = sampling or Sampling()
        self.outputs = list(outputs)
        self.classes = None if truth is None else row_classes(truth, task, self.sampling)
        self.rows_per_epoch = rows_per_epoch(self.classes, len(positions), self.sampling, self.outputs)

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is not forked: a memory map goes as its path, since pickling would copy all of it."""
        if isinstance(self.pixels, np.memmap) and isinstance(self.pixels.base, mmap):  # no part of a map
            return {**self.__dict__, "pixels": Path(str(self.pixels.filename))}
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        pixels = state["pixels"]
        self.__dict__ = {**state, "pixels": np.load(pixels, mmap_mode="r") if isinstance(pixels, Path) else pixels}

    def batches(self, batch_size: int) -> int:
        """How many batches every epoch has."""
        return max(1, self.rows_per_epoch // batch_size)

    def order(self, epoch: int) -> Indices:
        """[rows_per_epoch] the rows of an epoch, in their order."""
        rows = epoch_rows(self.classes, len(self.positions), self.sampling, self.outputs, self.key, epoch)
        if len(rows) != self.rows_per_epoch:
            raise FoldlineError(
                f"an epoch has {len(rows)} rows and not {self.rows_per_epoch}, as the first", where="sampling.function"
            )
        return rows

    def __getitem__(self, item: Item) -> Batch:
        """A batch of one."""
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Item]) -> Batch:
        """([batch, channels, height, width] uint8, the [batch] rows); what a worker is asked for."""
        epochs, rows, again = np.array(items, dtype=np.int64).T
        return self.batch(int(epochs[0]), rows, again)

    def batch(self, epoch: int, rows: Indices, again: Indices) -> Batch:
        """The pictures of one epoch's rows, where `again` says how often each came before."""
        images = np.asarray(self.pixels[self.positions[rows]])
        if not self.augmenter.does_nothing:
            pairs = zip(rows.tolist(), again.tolist(), strict=True)
            for i, (row, repeat) in enumerate(pairs):
                key = (*self.key, epoch, row, repeat) if repeat else (*self.key, epoch, row)
                images[i] = self.augmenter(images[i], *key)
        return _channels_first(images), rows


def _channels_first(images: NDArray[np.uint8]) -> Tensor:
    """[batch, height, width, channels] -> [batch, channels, height, width]; no copy where there is one channel."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def training_batches(
    dataset: TrainingRows, epoch: int, batch_size: int, *, first: int = 0, workers: int = 0, pin: bool = False
) -> Iterator[Batch]:
    """The batches of one epoch from number `first` on; a last one that is not full is left out.

    Yields:
        [batch, channels, height, width] uint8 and the [batch] rows.
    """
    order = dataset.order(epoch)
    again = repeats(order)
    slices = [slice(b * batch_size, (b + 1) * batch_size) for b in range(first, dataset.batches(batch_size))]
    if workers:
        yield from _from_workers(dataset, epoch, order, again, slices, workers, pin)
        return
    for chosen in slices:
        images, rows = dataset.batch(epoch, order[chosen], again[chosen])
        yield images.pin_memory() if pin else images, rows


def _from_workers(
    dataset: TrainingRows, epoch: int, order: Indices, again: Indices, slices: list[slice], workers: int, pin: bool
) -> Iterator[Batch]:
    chosen = [[(epoch, *item) for item in zip(order[s].tolist(), again[s].tolist(), strict=True)] for s in slices]
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_sampler=chosen,
        num_workers=workers,
        pin_memory=pin,
        collate_fn=_as_it_is,
        timeout=PATIENCE_SECONDS,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # else it draws a seed from the global state, once an iterator
    )
    try:
        yield from loader
    except RuntimeError as error:
        if not re.search(r"DataLoader (worker \(pid|timed out)", str(error)):  # an error of the work itself
            raise
        raise FoldlineError(
            f"a worker that makes pictures ended or hangs: {str(error).splitlines()[0]}",
            where=f"data.workers: {workers}",
            next="free memory and space in /dev/shm, or lower data.workers, then the same command goes on",
        ) from error


def usable_workers(dataset: TrainingRows, batch_size: int, workers: int) -> int:
    """So many workers, or none, which is said, where shared memory cannot hold their batches: they would wait for ever.

    A container has 64 MB of it unless it is told otherwise.
    """
    needed = (2 * workers + 2) * batch_size * int(np.prod(dataset.pixels.shape[1:]))
    if not workers or not SHARED_MEMORY.is_dir() or (free := shutil.disk_usage(SHARED_MEMORY).free) >= needed:
        return workers
    say(
        f"warning: data.workers: {workers} need {needed / 1e6:.0f} MB of {SHARED_MEMORY}, and {free / 1e6:.0f} MB are "
        "free: this process makes the pictures by itself, which is slower (docker run --shm-size=1g gives more)"
    )
    return 0


def _ignore_signals(worker: int) -> None:  # noqa: ARG001
    """A worker ends with the process that it works for: asked to end, that one finishes a step and saves it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


def evaluation_batches(
    pixels: NDArray[np.uint8], positions: Indices, batch_size: int
) -> Iterator[tuple[Tensor, slice]]:
    """The rows in order: [batch, channels, height, width] uint8, and which rows they are."""
    for start in range(0, len(positions), batch_size):
        rows = slice(start, min(start + batch_size, len(positions)))
        yield _channels_first(np.asarray(pixels[positions[rows]])), rows


def normalise(batch: Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """uint8 pictures on any device -> float32 on `device`, channels last, (x / 255 - mean) / std."""
    x = batch.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
    shape = (1, -1, 1, 1)
    offset = torch.tensor(mean, device=device).view(shape) * 255
    scale = torch.tensor(std, device=device).view(shape) * 255
    return x.sub_(offset).div_(scale)


def denormalise(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """What `normalise` was given, as floats in 0..255."""
    shape = (1, -1, 1, 1)
    offset = torch.tensor(mean, device=x.device).view(shape) * 255
    scale = torch.tensor(std, device=x.device).view(shape) * 255
    return x * scale + offset
