"""Augmentation of whole batches where the network is: torch does what albumentations draws. Reads and writes no files.

A picture's numbers come from albumentations itself, by the same key: drawn on the host, they travel with the batch. So
it is the picture that albumentations would have made, but for rounding after each transform and how it interpolates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldline.core import own_code
from foldline.core.errors import FoldlineError
from foldline.core.run import Augment
from foldline.images.augment import clean_every, erasing_patch, key_seed, set_state, transforms_of
from foldline.images.batched_ops import Operation, operation_for
from foldline.images.pictures import Items, picture_key

Noise = NDArray[np.uint8]
IN_ORDER = ("OneOf", "Sequential")  # compositions that do their transforms in the order of the list


@dataclass(frozen=True)
class Drawn:
    """What is done to each picture of a batch.

    Attributes:
        numbers: [batch, numbers] float32 of all transforms, side by side.
        noise: [bytes] uint8 of all patches that are erased, one after the other.
        patches: (picture, top, left, height, width) of each of them.
    """

    numbers: Tensor
    noise: Tensor
    patches: list[tuple[int, int, int, int, int]]


class BatchAugmenter:
    """Draws what happens to the pictures of a batch, and does it on the device where they are.

    Args:
        settings: the run's `augment`.
        height_width: of the pictures, in px.
        channels: of the pictures.

    Raises:
        FoldlineError: a transform has no batched form.
    """

    def __init__(self, settings: Augment, height_width: tuple[int, int], channels: int) -> None:
        import albumentations as alb

        if settings.transforms is None and own_code.is_own(settings.recipe):
            raise _refusal(f"code of your own ({settings.recipe})")
        self.shape = (*height_width, channels)
        self.erasing = settings.erasing
        self.copies = clean_every(settings)
        self.blank = np.zeros(self.shape, dtype=np.uint8)
        transforms = transforms_of(settings, height_width, channels)
        self.operations: list[Operation] = []
        self.slots: list[slice] = []  # of the numbers, one an operation
        self.drawn: list[tuple[int, dict[str, Any]]] = []
        for leaf in _leaves(transforms):
            self._add(leaf)
        self.compose = alb.Compose(transforms)
        neutral = [number for operation in self.operations for number in operation.neutral]
        self.neutral = np.array(neutral, dtype=np.float32)

    @property
    def does_nothing(self) -> bool:
        """Whether every picture comes out as it went in."""
        return not self.operations and self.erasing == 0

    def _add(self, leaf: Any) -> None:
        operation = operation_for(leaf, self.shape[:2], self.shape[2])
        if operation is None:
            raise _refusal(f"{type(leaf).__name__} with these settings, for such pictures,")
        begin = self.slots[-1].stop if self.slots else 0
        self.slots.append(slice(begin, begin + len(operation.neutral)))
        leaf.apply_with_params = partial(self._note, len(self.operations))  # it only draws
        self.operations.append(operation)

    def _note(self, number: int, drawn: dict[str, Any], **data: Any) -> dict[str, Any]:
        self.drawn.append((number, drawn))
        return data

    def draw(self, items: Items) -> Drawn:
        """On the host, by each picture's key alone."""
        numbers = np.tile(self.neutral, (len(items), 1))
        noise: list[Noise] = []
        patches = []
        for i, numbered in enumerate(items[:, 1:].tolist()):
            if self.copies and numbered[-1] % self.copies == 0:
                continue
            key = picture_key(numbered)
            for number, drawn in self._drawn_by(key):
                numbers[i, self.slots[number]] = self.operations[number].numbers(drawn)
            patch = erasing_patch(self.shape, self.erasing, *key) if self.erasing else None
            if patch is not None:
                top, left, pixels = patch
                patches.append((i, top, left, pixels.shape[0], pixels.shape[1]))
                noise.append(pixels.reshape(-1))
        together = np.concatenate(noise) if noise else np.empty(0, dtype=np.uint8)
        return Drawn(torch.from_numpy(numbers), torch.from_numpy(together), patches)

    def _drawn_by(self, key: list[int]) -> list[tuple[int, dict[str, Any]]]:
        self.drawn.clear()
        if self.operations:
            set_state(self.compose, key_seed(*key))
            self.compose(image=self.blank)
        return self.drawn

    def __call__(self, images: Tensor, drawn: Drawn) -> Tensor:
        """[batch, channels, height, width] uint8 -> float32 0..255, on the device of both."""
        x = images.float()
        for operation, slot in zip(self.operations, self.slots, strict=True):
            x = operation(x, drawn.numbers[:, slot])
        begin = 0
        for i, top, left, height, width in drawn.patches:
            end = begin + height * width * self.shape[2]
            patch = drawn.noise[begin:end].view(height, width, self.shape[2]).permute(2, 0, 1)
            x[i, :, top : top + height, left : left + width] = patch
            begin = end
        return x


def _leaves(transforms: list[Any]) -> Iterator[Any]:
    """The single transforms, in the order in which they are done."""
    import albumentations as alb

    for transform in transforms:
        if not isinstance(transform, alb.BaseCompose):
            yield transform
        elif type(transform).__name__ in IN_ORDER:
            yield from _leaves(transform.transforms)
        else:
            raise _refusal(f"{type(transform).__name__}")


def _refusal(what: str) -> FoldlineError:
    return FoldlineError(
        f"{what} has no form for whole batches",
        where="augment.engine: torch",
        next="use augment.engine=albumentations; or a recipe of flips, moves and light: light, flips, dihedral",
    )
