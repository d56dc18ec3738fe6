"""Rows become batches: training batches in an order that a key fixes, evaluation batches in row order."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foldline.images.augment import Augmenter, key_seed

Indices = NDArray[np.int64]


class TrainingRows(Dataset[tuple[Tensor, int]]):
    """Augmented pictures by (epoch, row): item (e, i) is always the same picture.

    Args:
        pixels: [images, height, width, channels] uint8, all images of the cache.
        positions: [rows] the position in `pixels` of each training row's image.
        key: (seed, fold).
    """

    def __init__(
        self, pixels: NDArray[np.uint8], positions: Indices, augmenter: Augmenter, key: tuple[int, int]
    ) -> None:
        self.pixels = pixels
        self.positions = positions
        self.augmenter = augmenter
        self.key = key

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, int]:
        """([channels, height, width] uint8, the row's position)."""
        epoch, row = item
        image = np.array(self.pixels[self.positions[row]])
        image = self.augmenter(image, *self.key, epoch, row)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), row


def epoch_order(rows: int, key: tuple[int, int], epoch: int) -> Indices:
    """[rows] the order of the rows in one epoch; a function of (seed, fold, epoch) alone."""
    return np.random.default_rng(key_seed(*key, epoch)).permutation(rows)


def training_batches(
    dataset: TrainingRows, epoch: int, batch_size: int, *, first: int = 0, workers: int = 0, pin: bool = False
) -> Iterator[tuple[Tensor, Indices]]:
    """The batches of one epoch from number `first` on; a last one that is not full is left out.

    Yields:
        [batch, channels, height, width] uint8 and the [batch] rows.
    """
    order = epoch_order(len(dataset.positions), dataset.key, epoch)
    batches = len(order) // batch_size if len(order) >= batch_size else 1
    chosen = [
        [(epoch, int(row)) for row in order[b * batch_size : (b + 1) * batch_size]] for b in range(first, batches)
    ]
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(
        dataset,
        batch_sampler=chosen,
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # else it draws a seed from the global state, once an iterator
    )
    for images, rows in loader:
        yield images, np.asarray(rows, dtype=np.int64)


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """How many batches `training_batches` yields for an epoch."""
    return max(1, rows // batch_size)


def evaluation_batches(
    pixels: NDArray[np.uint8], positions: Indices, batch_size: int
) -> Iterator[tuple[Tensor, slice]]:
    """The rows in order: [batch, channels, height, width] uint8, and which rows they are."""
    for start in range(0, len(positions), batch_size):
        rows = slice(start, min(start + batch_size, len(positions)))
        chosen = np.asarray(pixels[positions[rows]])
        yield torch.from_numpy(np.ascontiguousarray(chosen.transpose(0, 3, 1, 2))), rows


def normalise(batch: Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """uint8 pictures on any device -> float32 on `device`, channels last, (x / 255 - mean) / std."""
    x = batch.to(device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
    shape = (1, -1, 1, 1)
    offset = torch.tensor(mean, device=device).view(shape) * 255
    scale = torch.tensor(std, device=device).view(shape) * 255
    return x.sub_(offset).div_(scale)
