"""Training batches: the same pictures and order for any number of workers, and as they have always been."""

import os
import pickle
import signal
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from foldline.core.errors import FoldlineError
from foldline.core.run import Augment, Sampling
from foldline.images import batches
from foldline.images.augment import Augmenter
from foldline.images.batches import TrainingRows, normalise, training_batches, usable_workers

KEY = (5, 2)
POSITIONS = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
TRUTH = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2], dtype=np.float64)
CLASSES = ["a", "b", "c"]


def training_rows(augment: Augment, channels: int = 3, **more: Any) -> TrainingRows:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels), dtype=np.uint8)
    return TrainingRows(pixels, POSITIONS, Augmenter(augment, (8, 8), channels), KEY, **more)


def digest(rows: TrainingRows, workers: int = 0) -> str:
    hashed = sha256()
    for epoch in range(3):
        for images, chosen in training_batches(rows, epoch, 4, workers=workers):
            hashed.update(images.numpy().tobytes())
            hashed.update(chosen.astype("<i8").tobytes())
    return hashed.hexdigest()[:16]


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
    assert digest(training_rows(Augment(recipe=recipe, strength=0), channels)) == expected


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(balance=1.0)])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_count_and_interruption_change_nothing(workers: int, sampling: Sampling) -> None:
    augment = Augment(recipe="heavy", erasing=0.5)
    rows = training_rows(augment, truth=TRUTH, outputs=CLASSES, sampling=sampling)
    whole = list(training_batches(rows, 3, 2))
    state = torch.get_rng_state()
    rest = list(training_batches(rows, 3, 2, first=1, workers=workers))
    assert len(whole) == 5
    assert all((a == b).all() and (r == s).all() for (a, r), (b, s) in zip(whole[1:], rest, strict=True))
    assert (torch.get_rng_state() == state).all(), "loading must not move the random state of training"


def test_a_memory_map_goes_to_a_worker_as_its_path(tmp_path: Path) -> None:
    plain = training_rows(Augment(recipe="heavy"))
    np.save(tmp_path / "pixels.npy", plain.pixels)
    rows = training_rows(Augment(recipe="heavy"))
    rows.pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    packed = pickle.dumps(rows)
    assert len(packed) < len(pickle.dumps(plain)) - plain.pixels.nbytes / 2
    there = pickle.loads(packed)
    assert isinstance(there.pixels, np.memmap)
    assert digest(there) == digest(rows) == digest(plain)
    rows.pixels = rows.pixels[2:]  # a part of a map is no file of its own
    assert np.array_equal(pickle.loads(pickle.dumps(rows)).pixels, plain.pixels[2:])


def test_a_batch_holds_the_pictures_of_its_rows() -> None:
    rows = training_rows(Augment(recipe="none"))
    for images, chosen in training_batches(rows, 0, 4):
        assert images.dtype == torch.uint8
        assert images.is_contiguous()
        assert (images.numpy().transpose(0, 2, 3, 1) == rows.pixels[POSITIONS[chosen]]).all()


def test_the_pictures_in_the_cache_are_never_written() -> None:
    rows = training_rows(Augment(recipe="heavy", erasing=1.0), 1)
    rows.pixels.setflags(write=False)
    before = rows.pixels.copy()
    for images, _ in training_batches(rows, 0, 4):
        images.zero_()
    assert (rows.pixels == before).all()


def test_an_item_is_a_batch_of_one() -> None:
    rows = training_rows(Augment(recipe="light"))
    images, chosen = next(training_batches(rows, 1, 4))
    single, row = rows[1, int(chosen[2]), 0]
    assert (single[0] == images[2]).all()
    assert row.tolist() == [chosen[2]]


def test_balance_changes_the_batches_and_a_repeated_row_is_another_picture() -> None:
    sampling = Sampling(balance=1.0)
    rows = training_rows(Augment(recipe="light"), truth=TRUTH, outputs=CLASSES, sampling=sampling)
    drawn = list(training_batches(rows, 0, 10))
    images, chosen = drawn[0]
    counts = np.bincount(TRUTH[chosen].astype(int))
    assert sorted(counts.tolist()) == [3, 3, 4]
    alone = np.flatnonzero(chosen == 9)  # the only row of its class
    assert len(alone) >= 3
    assert len({images[i].numpy().tobytes() for i in alone}) == len(alone)
    assert digest(rows) != digest(training_rows(Augment(recipe="light")))


def test_an_epoch_has_the_batches_that_were_announced() -> None:
    for sampling in (Sampling(), Sampling(at_most=3), Sampling(at_least=5), Sampling(balance=0.5, at_least=3)):
        rows = training_rows(Augment(recipe="none"), truth=TRUTH, outputs=CLASSES, sampling=sampling)
        for epoch in range(4):
            assert len(list(training_batches(rows, epoch, 3))) == rows.batches(3)
            assert len(rows.order(epoch)) == rows.rows_per_epoch


def test_a_batch_larger_than_the_epoch_is_all_of_it() -> None:
    rows = training_rows(Augment(recipe="none"))
    assert [len(chosen) for _, chosen in training_batches(rows, 0, 64)] == [10]
    assert (rows.batches(64), rows.batches(3)) == (1, 3)


def test_normalise_is_the_formula() -> None:
    x = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    expected = (x.double() / 255 - torch.tensor(mean).double().view(1, 3, 1, 1)) / torch.tensor(std).double().view(
        1, 3, 1, 1
    )
    assert torch.allclose(normalise(x, mean, std, torch.device("cpu")).double(), expected, atol=1e-5)


@pytest.mark.parametrize(("free", "workers"), [(10_000, 2), (100, 0)])
def test_workers_need_shared_memory_or_would_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], free: int, workers: int
) -> None:
    rows = training_rows(Augment(), channels=1)  # 64 bytes a picture
    monkeypatch.setattr(batches, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    assert usable_workers(rows, 4, 2) == workers
    assert ("--shm-size" in capsys.readouterr().out) == (workers == 0)
    assert usable_workers(rows, 4, 0) == 0


def test_a_worker_that_is_killed_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = training_rows(Augment(), channels=1)

    def killed(self: TrainingRows, items: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(TrainingRows, "__getitems__", killed)
    with pytest.raises(FoldlineError, match="ended or hangs") as raised:
        list(training_batches(rows, 0, 4, workers=1))
    assert "the same command goes on" in raised.value.next
