"""Batches are copied to a GPU before they are needed, while it still computes on the one before."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor

SLOTS = 3  # batches in page-locked memory: one on its way, one that waits, one that is being filled
Label = TypeVar("Label")
Tensors = tuple[Tensor, ...]
_Sent = tuple[Tensors, torch.cuda.Event]  # and when they have arrived


def ahead(batches: Iterable[tuple[Label, Tensors]], device: torch.device) -> Iterator[tuple[Label, Tensors]]:
    """The same batches with their tensors on the device, strides and types as they were.

    On CUDA each is copied through page-locked memory on a stream of its own, one batch before it is asked for, and
    nobody waits: neither the host for the copy, nor what was asked for before for this one. Elsewhere a batch is copied
    when its turn comes; on the CPU it is passed on.
    """
    if device.type == "cuda":
        yield from _overlapped(batches, _Ring(device))
        return
    for label, tensors in batches:
        yield label, tuple(tensor.to(device) for tensor in tensors)


def _overlapped(batches: Iterable[tuple[Label, Tensors]], ring: "_Ring") -> Iterator[tuple[Label, Tensors]]:
    waiting: tuple[Label, _Sent] | None = None
    for label, tensors in batches:
        sent = ring.send(tensors)
        if waiting is not None:
            yield waiting[0], ring.receive(waiting[1])
        waiting = label, sent
    if waiting is not None:
        yield waiting[0], ring.receive(waiting[1])


@dataclass
class _Slot:
    """Page-locked memory of one batch, and when its last copy was done."""

    copied: torch.cuda.Event
    buffers: list[Tensor] = field(default_factory=list)

    def fill(self, tensors: Tensors) -> list[Tensor]:
        """The tensors in this slot's memory."""
        while len(self.buffers) < len(tensors):
            self.buffers.append(page_locked(0))
        for i, tensor in enumerate(tensors):
            if self.buffers[i].nbytes < tensor.nbytes:
                self.buffers[i] = page_locked(tensor.nbytes)
        return [_like(tensor, buffer) for tensor, buffer in zip(tensors, self.buffers, strict=False)]


class _Ring:
    """Page-locked buffers that are filled in turn; none before the copy out of it is done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = copying_stream(device)
        self.slots = [_Slot(torch.cuda.Event()) for _ in range(SLOTS)]  # type: ignore[no-untyped-call]
        self.turn = 0

    def send(self, tensors: Tensors) -> _Sent:
        """Asks for the copy; the host goes on at once, unless all slots are still being copied."""
        slot = self.slots[self.turn]
        self.turn = (self.turn + 1) % SLOTS
        slot.copied.synchronize()  # an event that was never recorded is done
        staged = slot.fill(tensors)
        with torch.cuda.stream(self.stream):
            moved = tuple(tensor.to(self.device, non_blocking=True) for tensor in staged)
            slot.copied.record(self.stream)
        return moved, slot.copied

    def receive(self, sent: _Sent) -> Tensors:
        """The tensors, for the stream that computes: what it does from here on waits for the copy."""
        tensors, copied = sent
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(copied)
        for tensor in tensors:
            tensor.record_stream(computing)  # else its memory were given to a later copy before it was read
        return tensors


@cache
def copying_stream(device: torch.device) -> torch.cuda.Stream:
    """The one stream on which batches are copied to a device: freed memory is kept for the stream that had it."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def page_locked(size: int) -> Tensor:
    """[size] uint8 of host memory from which a GPU copies by itself."""
    return torch.empty(size, dtype=torch.uint8, pin_memory=True)


def _like(tensor: Tensor, buffer: Tensor) -> Tensor:
    """A copy with the same shape, strides and type at the buffer's beginning; the tensor's memory has no gaps."""
    place = buffer[: tensor.nbytes].view(tensor.dtype).as_strided(tensor.size(), tensor.stride())
    return place.copy_(tensor)
