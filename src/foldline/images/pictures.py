"""The pictures of a cache as workers need them: augmented, by position and key. Reads the cache's memory map."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foldline.images.augment import Augmenter
from foldline.images.masks import Masks
from foldline.images.shards import Indices, Pictures, Pixels, Shards, file_of, opened

Items = Annotated[Indices, "batch 6"]  # position in the cache, seed, fold, epoch, row, how often it came before


class AugmentedPictures(Dataset[Tensor]):
    """An item is always the same picture, whichever process makes it.

    Args:
        pixels: [images, height, width, channels] uint8, all images of the cache. They are never changed.
        file: the `.npy` that holds them, or the shards; None: found where they are a memory map.
        masks: of the pictures, which they get as their last channel; None: they have none.
    """

    def __init__(
        self, pixels: Pictures, augmenter: Augmenter, file: Path | Shards | None = None, masks: Masks | None = None
    ) -> None:
        self.pixels, self.augmenter, self.masks = pixels, augmenter, masks
        self.file = file or file_of(pixels)

    def __getstate__(self) -> dict[str, Any]:
        """For a worker that is not forked: it opens the file by itself, since pickling would copy all pixels."""
        return self.__dict__ if self.file is None else {**self.__dict__, "pixels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        pixels = opened(state["file"]) if state["pixels"] is None else state["pixels"]
        self.__dict__ = {**state, "pixels": pixels}

    def __getitem__(self, item: Indices) -> Tensor:
        """One picture, as a batch of one."""
        return self.__getitems__(item[None])

    def __getitems__(self, items: Items) -> Tensor:
        """[batch, channels, height, width] uint8, channels last; what a worker is asked for."""
        images = np.asarray(self.pixels[items[:, 0]])
        if self.masks is None:
            return channels_last(each(self.augmenter, images, items))
        return channels_last(each(self.augmenter, self.masks.beside(images, items[:, 0]), items, masked=True))


def each(augmenter: Augmenter, images: Pixels, items: Items, *, crops: bool = False, masked: bool = False) -> Pixels:
    """The pictures of some items, augmented; the array itself where it can hold them.

    Args:
        images: [batch, height, width, channels] uint8 as they lie in the cache; they may be changed.
        crops: they are cropped alone, which leaves the rest to whoever augments whole batches.
        masked: their last channel is their mask.
    """
    if augmenter.does_nothing:
        return images
    size = images.shape[1:3] if augmenter.cropper is None else augmenter.cropper.height_width
    result = images if size == images.shape[1:3] else np.empty((len(images), *size, images.shape[3]), dtype=np.uint8)
    for i, key in enumerate(items[:, 1:].tolist()):
        alone = crops or augmenter.keeps(key[-1])
        if masked:
            result[i] = augmenter.with_mask(images[i], *picture_key(key), crops=alone)
        else:
            result[i] = (augmenter.cropped if alone else augmenter)(images[i], *picture_key(key))
    return result


def picture_key(numbers: list[int]) -> list[int]:
    """What a picture is drawn by, from (seed, fold, epoch, row, repeat): a row that comes first has no repeat."""
    return numbers if numbers[-1] else numbers[:-1]


def channels_last(images: Pixels) -> Tensor:
    """[batch, height, width, channels] -> [batch, channels, height, width] of the same memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)
