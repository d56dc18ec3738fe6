"""Training batches: the same bytes for any number of workers, however they start, and wherever the pictures lie."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from foldline.core import cores as cores_module
from foldline.core.cores import usable_cores
from foldline.core.errors import FoldlineError
from foldline.core.run import Augment, Sampling
from foldline.images import workers as worker_module
from foldline.images.augment import Augmenter
from foldline.images.batches import TrainingBatch, TrainingRows
from foldline.images.feed import Feed
from foldline.images.pictures import AugmentedPictures
from foldline.images.store import PictureStore, copied
from foldline.images.workers import usable_workers, workers_for

CPU = torch.device("cpu")
KEY = (5, 2)
POSITIONS = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
TRUTH = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2], dtype=np.float64)
CLASSES = ["a", "b", "c"]
HEAVY = Augment(recipe="heavy", erasing=0.5)
BALANCED = Sampling(balance=1.0)
FILE = "own.py"


def pixels(channels: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels), dtype=np.uint8)


def feed_of(augment: Augment, channels: int = 3, **more: Any) -> Feed:
    store = PictureStore(pixels(channels), CPU)
    return Feed(store, Augmenter(augment, (8, 8), channels), **more)


def mapped(folder: Path) -> PictureStore:
    np.save(folder / "pixels.npy", pixels())
    return PictureStore(np.load(folder / "pixels.npy", mmap_mode="r"), CPU)


def rows_of(key: tuple[int, int] = KEY, sampling: Sampling | None = None) -> TrainingRows:
    return TrainingRows(POSITIONS, key, truth=TRUTH, outputs=CLASSES, sampling=sampling)


def digest(feed: Feed, rows: TrainingRows | None = None) -> str:
    hashed = sha256()
    for epoch in range(3):
        for batch in feed.training(rows or rows_of(), epoch, 4):
            hashed.update(batch.images.numpy().tobytes())
            hashed.update(batch.rows.astype("<i8").tobytes())
    return hashed.hexdigest()[:16]


def same(left: list[TrainingBatch], right: list[TrainingBatch]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all((a.images == b.images).all() and (a.rows == b.rows).all() for a, b in pairs)


@pytest.mark.parametrize(
    ("recipe", "channels", "expected"),
    [
        ("none", 1, "bd430a2d2eca30dd"),
        ("none", 3, "cca16d29b546a283"),
        ("none", 4, "9009f6fe9ebfb2ff"),
        ("flips", 1, "541c0205677b7c56"),
        ("flips", 3, "0e2e315b86066b3e"),
        ("flips", 4, "d5259a50ddab623f"),
        ("dihedral", 1, "62d67a68bf8d3f39"),
        ("dihedral", 3, "69cb1d022e18681a"),
        ("dihedral", 4, "b5aaf6ab06662333"),
    ],
)
def test_pictures_and_order_are_those_of_published_runs(recipe: str, channels: int, expected: str) -> None:
    """Published figures must be repeatable. `none`: hashes of the first release's code, before sampling and erasing;
    `flips` and `dihedral`: since each transform draws by itself."""
    assert digest(feed_of(Augment(recipe=recipe, strength=0), channels)) == expected


@pytest.fixture
def started() -> Iterator[list[Feed]]:
    """Feeds that are closed at the end."""
    feeds: list[Feed] = []
    yield feeds
    for feed in feeds:
        feed.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sampling", [Sampling(), BALANCED])
def test_worker_count_and_interruption_change_nothing(workers: int, sampling: Sampling) -> None:
    rows = rows_of(sampling=sampling)
    whole = list(feed_of(HEAVY).training(rows, 3, 2))
    state = torch.get_rng_state()
    with feed_of(HEAVY, workers=workers) as feed:
        rest = list(feed.training(rows, 3, 2, first=1))
    assert len(whole) == 5
    assert same(whole[1:], rest)
    assert (torch.get_rng_state() == state).all(), "loading must not move the random state of training"


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_give_the_same_pictures_however_they_start(tmp_path: Path, method: str) -> None:
    expected = digest(feed_of(HEAVY))
    with Feed(mapped(tmp_path), Augmenter(HEAVY, (8, 8), 3), 2, method) as feed:
        assert digest(feed) == expected


def test_the_same_processes_serve_epochs_that_were_left_and_other_folds(started: list[Feed]) -> None:
    """A stop, an error, a batch for a measurement: an iterator is dropped, and nothing of it comes later."""
    feed, plain = feed_of(HEAVY, workers=2), feed_of(HEAVY)
    started.append(feed)
    begun = feed.training(rows_of(), 0, 2)
    next(begun)
    pool = feed._pool
    assert pool is not None
    processes = [process.pid for process in multiprocessing.active_children()]
    for epoch, key, first in ((0, KEY, 1), (1, KEY, 0), (0, (5, 3), 0)):
        wanted = list(plain.training(rows_of(key), epoch, 2, first=first))
        assert same(wanted, list(feed.training(rows_of(key), epoch, 2, first=first)))
        next(feed.training(rows_of(key), epoch, 3))
    assert feed._pool is pool
    assert [process.pid for process in multiprocessing.active_children()] == processes
    feed.close()
    assert not {process.pid for process in multiprocessing.active_children()} & set(processes)


def test_processes_end_where_someone_still_holds_their_batches(started: list[Feed]) -> None:
    feed = feed_of(HEAVY, workers=1)
    held = feed.training(rows_of(), 0, 2)
    next(held)
    with pytest.raises(ZeroDivisionError), feed:
        _ = 1 / 0
    assert not multiprocessing.active_children()
    feed.close()
    started.append(feed)
    assert same(list(feed.training(rows_of(), 0, 2)), list(feed_of(HEAVY).training(rows_of(), 0, 2))), "it begins anew"


def test_pictures_go_to_a_worker_as_the_path_of_their_file(tmp_path: Path) -> None:
    augmenter = Augmenter(HEAVY, (8, 8), 3)
    plain, store = AugmentedPictures(pixels(), augmenter), mapped(tmp_path)
    packed = pickle.dumps(AugmentedPictures(store.pixels, augmenter))
    assert len(packed) < len(pickle.dumps(plain)) - plain.pixels.nbytes / 2
    there = pickle.loads(packed)
    assert isinstance(there.pixels, np.memmap)
    items = next(rows_of().items(0, 4))
    assert torch.equal(there.__getitems__(items), plain.__getitems__(items))
    assert torch.equal(there[items[2]][0], plain.__getitems__(items)[2]), "an item is a batch of one"
    in_memory = AugmentedPictures(np.array(store.pixels), augmenter, store.file)
    assert len(pickle.dumps(in_memory)) == len(packed)
    part = AugmentedPictures(store.pixels[2:], augmenter)  # a part of a map is no file of its own
    assert np.array_equal(pickle.loads(pickle.dumps(part)).pixels, plain.pixels[2:])


def test_a_batch_holds_the_pictures_of_its_rows() -> None:
    for batch in feed_of(Augment(recipe="none")).training(rows_of(), 0, 4):
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert (batch.images.numpy().transpose(0, 2, 3, 1) == pixels()[POSITIONS[batch.rows]]).all()
        assert batch.on_device.tolist() == batch.rows.tolist()


def test_the_pictures_in_the_cache_are_never_written() -> None:
    feed = feed_of(Augment(recipe="heavy", erasing=1.0), 1)
    assert isinstance(feed.store.pixels, np.ndarray)
    feed.store.pixels.setflags(write=False)
    before = feed.store.pixels.copy()
    for batch in feed.training(rows_of(), 0, 4):
        batch.images.zero_()
    assert (feed.store.pixels == before).all()


def test_a_repeated_row_is_another_picture() -> None:
    feed = feed_of(Augment(recipe="light"))
    batch = next(feed.training(rows_of(sampling=BALANCED), 0, 10))
    alone = np.flatnonzero(batch.rows == 9)  # the only row of its class
    assert len(alone) >= 3
    assert len({batch.images[i].numpy().tobytes() for i in alone}) == len(alone)


@pytest.mark.parametrize("sampling", [Sampling(), BALANCED])
def test_pictures_that_the_device_gathers_are_the_same(sampling: Sampling) -> None:
    store = PictureStore(pixels(), CPU, copied(pixels(), CPU))
    feed = Feed(store, Augmenter(Augment(recipe="none"), (8, 8), 3))
    assert feed.batched is not None
    rows = rows_of(sampling=sampling)
    gathered = list(feed.training(rows, 1, 3, first=1))
    assert same(gathered, list(feed_of(Augment(recipe="none")).training(rows, 1, 3, first=1)))
    assert gathered[0].images.is_contiguous(memory_format=torch.channels_last)
    assert [batch.on_device.tolist() for batch in gathered] == [batch.rows.tolist() for batch in gathered]


@pytest.mark.parametrize(("free", "workers"), [(10_000, 2), (100, 0)])
def test_workers_need_shared_memory_or_would_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], free: int, workers: int
) -> None:
    monkeypatch.setattr(worker_module, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert usable_workers(4 * 64, 2) == workers
    assert ("--shm-size" in capsys.readouterr().out) == (workers == 0)
    assert usable_workers(4 * 64, 0) == 0


def test_a_larger_batch_for_which_there_is_no_shared_memory_is_made_without_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker_module, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3000))  # 192 bytes a picture
    with feed_of(HEAVY, workers=1) as feed:
        for batch_size, workers in ((2, 1), (8, 0), (2, 0)):
            assert same(
                list(feed.training(rows_of(), 0, batch_size)), list(feed_of(HEAVY).training(rows_of(), 0, batch_size))
            )
            assert feed.workers == workers
    assert capsys.readouterr().out.count("warning") == 1


def test_a_worker_that_is_killed_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: AugmentedPictures, items: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(AugmentedPictures, "__getitems__", killed)
    with pytest.raises(FoldlineError, match="ended or hangs") as raised, feed_of(Augment(), workers=1) as feed:
        list(feed.training(rows_of(), 0, 4))
    assert "the same command goes on" in raised.value.next


@pytest.mark.parametrize("method", [None, "spawn"])
def test_code_of_ones_own_works_in_every_process(tmp_path: Path, method: str | None) -> None:
    (tmp_path / FILE).write_text(
        "import numpy as np\n\n\ndef moved(image, rng):\n    return np.roll(image, int(rng.integers(1, 8)), axis=1)\n"
    )
    own = Augment(recipe=f"{tmp_path}/{FILE}:moved")
    with Feed(mapped(tmp_path), Augmenter(own, (8, 8), 3), 1, method) as feed:
        assert digest(feed) == digest(feed_of(own))


DECODED_WITH_THREADS = """
import cv2, numpy, torch
from foldline.core.run import Augment
from foldline.images.augment import Augmenter
from foldline.images.pictures import AugmentedPictures
from foldline.images.workers import WorkerPool

cv2.setNumThreads(2)
cv2.cvtColor(numpy.zeros((1000, 1000, 3), dtype=numpy.uint8), cv2.COLOR_RGB2HSV)
pictures = numpy.zeros((4, 8, 8, 3), dtype=numpy.uint8)
pool = WorkerPool(AugmentedPictures(pictures, Augmenter(Augment(), (8, 8), 3), None), 1, "fork")
print(len(list(pool.batches([numpy.zeros((2, 5), dtype=numpy.int64)]))), "batch")
pool.close()
"""


def test_workers_start_after_this_process_has_decoded_pictures() -> None:
    """OpenCV's threads do not live in a fork, and it waits for the end of each."""
    command = [sys.executable, "-W", "ignore", "-c", DECODED_WITH_THREADS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1 batch\n"


def test_workers_are_as_many_as_the_network_needs_and_leave_a_core() -> None:
    assert workers_for(1000, 100, 8) == 1
    assert workers_for(1000, 3000, 8) == 6
    assert workers_for(1000, 40_000, 8) == 7
    assert workers_for(1000, None, 64) == 16
    assert workers_for(1000, None, 1) == 0


def test_auto_takes_none_on_a_cpu_and_for_pictures_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldline.images.feed.usable_cores", lambda: 4)
    feed = feed_of(HEAVY, workers="auto")
    assert feed._by_trial(rows_of()) == 0
    feed.device = torch.device("cuda")
    assert feed._by_trial(rows_of()) == 3
    feed.taken_per_second = 0.001
    assert feed._by_trial(rows_of()) == 1
    still = feed_of(Augment(recipe="none"), workers="auto")
    still.device = torch.device("cuda")
    assert still._by_trial(rows_of()) == 0


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 6), ("250000 100000", 3), ("1000 100000", 1)])
def test_cores_are_those_of_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cores: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cores_module, "CGROUP", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert usable_cores() == cores
