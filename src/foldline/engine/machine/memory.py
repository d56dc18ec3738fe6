"""A device's own memory: how much there is, and what to do where a batch does not fit. The CPU's is the system's."""

import torch

from foldline.core.errors import FoldlineError
from foldline.core.progress import say


def room(device: torch.device) -> int:
    """What this process can have of a CUDA device's memory, in bytes."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device))


def used_memory(device: torch.device) -> str:
    """The most that was in use, in words; nothing where the memory is the system's."""
    if device.type != "cuda":
        return ""
    return f" take {torch.cuda.max_memory_reserved(device) / 2**30:.1f} of {room(device) / 2**30:.1f} GiB"


def more_parts(parts: int, batch_size: int) -> int:
    """Twice as many, which is said.

    Raises:
        FoldlineError: a part is one picture already.
    """
    if parts >= batch_size:
        raise FoldlineError(
            "not even one picture fits into the device's memory",
            where="train.batch_size, data.image_size",
            next="take smaller pictures or a smaller backbone, set model.checkpointing=true, or end other programs",
        )
    parts = min(2 * parts, batch_size)
    say(f"  out of memory: a batch of {batch_size} pictures goes through the network in {parts} parts from here on")
    return parts
