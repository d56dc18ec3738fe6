"""Copies ahead: the same batches, no buffer that is still being read, nothing computed before its copy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foldline.images import ahead as module
from foldline.images.ahead import SLOTS, ahead
from foldline.images.store import PictureStore

CPU = torch.device("cpu")


def batches(count: int = 8) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    for number in range(count):
        pictures = torch.full((2 + number % 3, 4, 5, 3), number, dtype=torch.uint8).permute(0, 3, 1, 2)
        yield number, (pictures, torch.arange(number, number + 3))


class Event:
    """As CUDA's: what was asked for before it was recorded is done once somebody waits for it."""

    def __init__(self, machine: "Machine") -> None:
        self.machine, self.until = machine, 0

    def record(self, stream: Any) -> None:
        assert stream is self.machine.stream
        self.until = len(self.machine.copies)

    def synchronize(self) -> None:
        self.machine.do(self.until)


class Machine:
    """A GPU whose copies are done as late as they may be: when somebody waits for them."""

    def __init__(self) -> None:
        self.copies: list[tuple[Tensor, Tensor]] = []
        self.done = 0
        self.stream = self
        self.kept = 0
        self.inside = False

    def wait_event(self, event: Event) -> None:
        self.do(event.until)

    def do(self, until: int) -> None:
        for there, here in self.copies[self.done : until]:
            there.copy_(here)
        self.done = max(self.done, until)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        assert stream is self.stream
        self.inside = True
        yield
        self.inside = False

    def moved(self, tensor: Tensor) -> Tensor:
        assert self.inside, "copied on the stream that computes"
        result = torch.zeros_like(tensor)
        self.copies.append((result, tensor))
        return result


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """CUDA's streams, events and copies, played by the CPU."""
    machine = Machine()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: machine)
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(machine))
    monkeypatch.setattr(torch.cuda, "stream", machine.on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: machine)
    monkeypatch.setattr(module, "page_locked", lambda size: torch.full((size,), 99, dtype=torch.uint8))
    plain_to = Tensor.to

    def to(self: Tensor, *args: Any, **more: Any) -> Tensor:
        if args and args[0] == torch.device("cuda"):
            assert more == {"non_blocking": True}
            return machine.moved(self)
        return plain_to(self, *args, **more)

    def record_stream(self: Tensor, stream: Any) -> None:
        assert stream is machine
        machine.kept += 1

    monkeypatch.setattr(Tensor, "to", to)
    monkeypatch.setattr(Tensor, "record_stream", record_stream)
    module.copying_stream.cache_clear()
    yield machine
    module.copying_stream.cache_clear()


@pytest.mark.parametrize("count", [0, 1, 2, SLOTS, 8])
def test_batches_come_whole_and_in_order_however_late_their_copies_are(machine: Machine, count: int) -> None:
    taken = list(ahead(batches(count), torch.device("cuda")))
    assert [number for number, _ in taken] == list(range(count))
    for (_, sent), (_, expected) in zip(taken, batches(count), strict=True):
        assert [a.stride() for a in sent] == [b.stride() for b in expected]
        assert all(torch.equal(a, b) for a, b in zip(sent, expected, strict=True))
    assert machine.kept == 2 * count


def test_a_batch_is_on_its_way_before_the_one_before_it_is_used(machine: Machine) -> None:
    stream = ahead(batches(3), torch.device("cuda"))
    next(stream)
    assert (len(machine.copies), machine.done) == (4, 2), "two tensors each; nobody waited for the second batch"


def test_the_test_notices_a_buffer_that_is_filled_too_early(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "synchronize", lambda self: None)
    monkeypatch.setattr(Machine, "wait_event", lambda self, event: None)
    taken = list(ahead(batches(), torch.device("cuda")))
    machine.do(len(machine.copies))
    assert [int(pictures[0, 0, 0, 0]) for _, (pictures, _) in taken] != list(range(8))


def test_tensors_may_be_empty_and_of_any_type(machine: Machine) -> None:
    given = (torch.zeros(3, 0), torch.empty(0, dtype=torch.uint8), torch.tensor([0.5, 7.0]), torch.tensor([2**40]))
    ((_, sent),) = ahead([("one", given)], torch.device("cuda"))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(sent, given, strict=True))


def test_on_the_cpu_a_batch_is_passed_on() -> None:
    given = list(batches(3))
    assert all(a[0] is b[0] for (_, a), (_, b) in zip(ahead(given, CPU), given, strict=True))


def test_an_error_on_the_way_comes_through() -> None:
    def broken() -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        yield 0, (torch.zeros(1),)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(ahead(broken(), CPU))


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches() -> None:
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    for (number, sent), (_, expected) in zip(ahead(batches(50), device), batches(50), strict=True):
        torch.cuda._sleep(10**7)  # type: ignore[no-untyped-call]  # the copy of the next one is far ahead of what computes
        assert sent[0].device == device
        assert all(torch.equal(a.cpu(), b) for a, b in zip(sent, expected, strict=True)), number
        assert [a.stride() for a in sent] == [b.stride() for b in expected]


@pytest.mark.gpu
def test_rows_are_evaluated_with_the_same_pictures_on_a_gpu() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 6, 7, 3), dtype=np.uint8)
    positions = np.random.default_rng(1).integers(0, 20, 33)
    here, there = (PictureStore(pixels, device) for device in (CPU, torch.device("cuda")))
    for (a, rows), (b, same_rows) in zip(here.batches(positions, 8), there.batches(positions, 8), strict=True):
        assert rows == same_rows
        assert torch.equal(a, b.cpu())
