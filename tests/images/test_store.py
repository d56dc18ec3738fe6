"""Where the decoded pictures lie changes no batch; what does not fit is refused in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foldline.core.errors import FoldlineError
from foldline.images import store as module
from foldline.images.store import PictureStore, copied, open_store

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
POSITIONS = np.array([3, 1, 4, 1, 5, 9, 2, 6, 11, 0, 7])


def taken(store: PictureStore) -> Any:
    return np.concatenate([images.numpy() for images, _ in store.batches(POSITIONS, 4)])


def mapped(folder: Path) -> Any:
    np.save(folder / "pixels.npy", PIXELS)
    return np.load(folder / "pixels.npy", mmap_mode="r")


@pytest.mark.parametrize("where", ["disk", "memory", "auto"])
def test_rows_come_in_order_wherever_their_pictures_lie(tmp_path: Path, where: str) -> None:
    store = open_store(mapped(tmp_path), CPU, where, gathers=True)
    assert store.resident is None
    assert store.file == tmp_path / "pixels.npy"
    assert isinstance(store.pixels, np.memmap) == (where != "memory")
    assert np.array_equal(taken(store), PIXELS[POSITIONS].transpose(0, 3, 1, 2))
    assert [rows for _, rows in store.batches(POSITIONS, 4)] == [slice(0, 4), slice(4, 8), slice(8, 11)]
    assert list(store.batches(POSITIONS[:0], 4)) == []


def test_pictures_that_the_device_holds_are_gathered_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 200)  # two pictures
    resident = copied(PIXELS, CPU)
    assert np.array_equal(resident.numpy(), PIXELS)
    store = PictureStore(np.zeros_like(PIXELS), CPU, resident)
    assert np.array_equal(taken(store), PIXELS[POSITIONS].transpose(0, 3, 1, 2))
    images, _ = next(store.batches(POSITIONS, 4))
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("free", "gathers", "kept"), [(PIXELS.nbytes * 4, True, True), (PIXELS.nbytes * 4, False, False), (10, True, False)]
)
def test_auto_keeps_them_on_a_gpu_that_has_room_and_a_use_for_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: int, gathers: bool, kept: bool
) -> None:
    monkeypatch.setattr(module, "_free_on", lambda device: free)
    monkeypatch.setattr(module, "copied", lambda pixels, device: torch.from_numpy(pixels))
    store = open_store(PIXELS, CUDA, "auto", gathers=gathers)
    assert (store.resident is not None) == kept
    assert ("kept on the GPU" in capsys.readouterr().out) == kept
    assert open_store(PIXELS, CUDA, "disk", gathers=gathers).resident is None


@pytest.mark.parametrize(
    ("where", "device", "message"),
    [("gpu", CPU, "this run is on 'cpu'"), ("gpu", CUDA, "of the GPU are free"), ("memory", CPU, "of memory are free")],
)
def test_what_does_not_fit_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, where: str, device: torch.device, message: str
) -> None:
    monkeypatch.setattr(module, "_free_on", lambda device: 10)
    monkeypatch.setattr(module, "free_memory", lambda: 10)
    with pytest.raises(FoldlineError, match=message) as caught:
        open_store(PIXELS, device, where, gathers=True)
    assert caught.value.where == f"data.cache: {where}"
    assert "data.cache=auto" in caught.value.next
