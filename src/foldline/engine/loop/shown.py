"""What the batches of an epoch showed: kept on the device and read now and then, so that no step waits for the host."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from foldline.engine.loop.step import Learnt, Place
from foldline.engine.machine.ranks import Ranks

READ_EVERY = 64  # batches


@dataclass(frozen=True)
class Seen:
    """A batch whose numbers were read.

    Attributes:
        rows: [batch] of the fold's training rows, of all ranks.
        rate: the learning rate of its optimizer step.
        right: how many of its rows were right; None where that is undefined.
        masks: the loss of its masks; None where none of its rows has one.
    """

    place: Place
    rows: NDArray[np.int64]
    rate: float
    loss: float
    right: int | None
    masks: float | None = None


class Shown:
    """The batches since the last reading."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.batches: list[tuple[Place, NDArray[np.int64], float, Learnt]] = []

    @property
    def due(self) -> bool:
        """Whether it is time to read."""
        return len(self.batches) >= READ_EVERY

    def add(self, place: Place, rows: NDArray[np.int64], rate: float, learnt: Learnt) -> None:
        """A batch, unread."""
        self.batches.append((place, rows, rate, learnt))

    def read(self) -> list[Seen]:
        """All that was added, by one copy from the device; they are forgotten here."""
        if not self.batches:
            return []
        values = [learnt.loss.double() for *_, learnt in self.batches]
        values += [learnt.right.double() for *_, learnt in self.batches if learnt.right is not None]
        values += [learnt.masks.double() for *_, learnt in self.batches if learnt.masks is not None]
        numbers = iter(self.ranks.summed(torch.stack(values).tolist()))
        losses = [next(numbers) for _ in self.batches]
        rights = [None if learnt.right is None else round(next(numbers)) for *_, learnt in self.batches]
        masks = [None if learnt.masks is None else next(numbers) for *_, learnt in self.batches]
        seen = [
            Seen(place, rows, rate, loss, right, of_masks)
            for (place, rows, rate, _), loss, right, of_masks in zip(self.batches, losses, rights, masks, strict=True)
        ]
        self.batches = []
        return seen
