"""A device's own memory: how much there is, and what to do where a batch does not fit. The CPU's is the system's."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.progress import say

SPARE = 0.9  # of the memory is used


def room(device: torch.device) -> int:
    """What this process can have of a CUDA device's memory, in bytes."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device))


@dataclass(frozen=True)
class Memory:
    """What a training step took of a device's own memory, in bytes.

    Attributes:
        kept: of weights, optimizer and all else that stays between two steps.
        most: at the step's fullest moment, which is what a batch's activations need beside it.
    """

    kept: int
    most: int
    room: int

    @classmethod
    def of(cls, device: torch.device) -> "Memory | None":
        """Since the peak was last reset; None where the memory is the system's."""
        if device.type != "cuda":
            return None
        kept, most = torch.cuda.memory_allocated(device), torch.cuda.max_memory_reserved(device)
        return cls(kept, most, room(device))

    @property
    def fits(self) -> bool:
        """Whether some is left for another picture's kernels."""
        return self.most <= SPARE * self.room

    def in_words(self, pictures: int) -> str:
        """What so many pictures at a time took, and a forecast: how many would fit.

        >>> Memory(kept=2**30, most=5 * 2**30, room=16 * 2**30).in_words(32)
        '5.0 of 16.0 GiB, 1.0 of them for weights and optimizer; about 107 pictures at a time would fit'
        """
        each = max(self.most - self.kept, 1) / pictures
        would = int((SPARE * self.room - self.kept) / each)
        most, whole, kept = (value / 2**30 for value in (self.most, self.room, self.kept))
        return (
            f"{most:.1f} of {whole:.1f} GiB, {kept:.1f} of them for weights and optimizer; "
            f"about {counted(would, 'pictures')} at a time would fit"
        )


class MorePartsError(FoldlineError):
    """A rank's memory is too small for its rows of a batch at once; started anew, all take them in more parts."""

    def __init__(self, parts: int) -> None:
        super().__init__(
            f"out of memory: from here on every rank takes its rows of a batch in {counted(parts, 'parts')}",
            next="start the same command again: it goes on from the last resume point",
        )


def more_parts(parts: int, batch_size: int) -> int:
    """Twice as many, which is said.

    Raises:
        FoldlineError: a part is one picture already.
    """
    if parts >= batch_size:
        raise FoldlineError(
            "not even one picture fits into the device's memory",
            where="train.batch_size or predict.batch_size, data.image_size",
            next="take smaller pictures or a smaller backbone, set model.checkpointing=true, or end other programs",
        )
    parts = min(2 * parts, batch_size)
    say(
        f"  out of memory: a batch of {batch_size} pictures goes through the network in "
        f"{counted(parts, 'parts')} from here on"
    )
    return parts


def one_picture(parts: int, batch_size: int) -> FoldlineError:
    """The error of a batch-norm that has one picture to take a mean of."""
    return FoldlineError(
        f"a batch of {batch_size} pictures fits into the device's memory in {counted(parts, 'parts')} alone, "
        "some of one picture, "
        "and the network's batch-norms need more than one value",
        where="train.batch_size, data.image_size",
        next="set train.batch_norm: frozen or model.checkpointing: true, take smaller pictures or a smaller backbone",
    )


def loss_of_parts(parts: int, loss: str) -> FoldlineError:
    """The error of a loss of all rows of a batch, which that of its parts would not add up to."""
    return FoldlineError(
        f"a batch fits into the device's memory in {counted(parts, 'parts')} alone, and the loss '{loss}' is of "
        "its rows together",
        where="train.batch_size, loss.name",
        next="set model.checkpointing: true, or take a smaller train.batch_size, pictures or backbone",
    )


def slices(rows: int, parts: int, together: int = 1) -> list[slice]:
    """Parts of a batch whose lengths differ by one at most: a short last one would have odd batch-norm statistics.

    Args:
        together: so many rows beside each other are never parted, of which the batch has a multiple.

    >>> [part.stop - part.start for part in slices(10, 4)], len(slices(3, 4))
    ([2, 3, 2, 3], 3)
    >>> [part.stop - part.start for part in slices(12, 3, together=3)]
    [3, 3, 6]
    """
    units = rows // together
    parts = min(parts, units)
    ends = [units * i // parts * together for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]
