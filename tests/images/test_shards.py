"""A cache in several files, or of JPEGs: the same pictures, made by whoever, and made on after a kill."""

import pickle
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import old_records
from foldline.core.errors import FoldlineError
from foldline.core.run import Augment
from foldline.core.tables import sha256_file
from foldline.images import building, cache
from foldline.images.augment import Augmenter
from foldline.images.cache import ImageCache, open_cache
from foldline.images.feed import Feed
from foldline.images.pictures import AugmentedPictures
from foldline.images.shards import Shards
from foldline.images.store import open_store

SIZE, COUNT, CPU = (8, 10), 11, torch.device("cpu")
NAMES = [f"{i:02d}.png" for i in range(COUNT)]
POSITIONS = np.array([10, 0, 3, 3, 7, 9, 1])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Eleven smooth colour pictures and their manifest."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.resize(small, (20, 16), interpolation=cv2.INTER_CUBIC))
    files = [{"path": p.name, "bytes": 1, "sha256": sha256_file(p)} for p in sorted(tmp_path.glob("*.png"))]
    old_records.write_manifest(tmp_path / "manifest.json", files)
    return tmp_path


def opened(root: Path, folder: str = ".cache", **given: Any) -> ImageCache:
    return open_cache(root, root / folder, NAMES, SIZE, 3, **given)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pictures a shard: 4, 4 and 3."""
    monkeypatch.setattr(cache, "SHARD_BYTES", 4 * SIZE[0] * SIZE[1] * 3)


def test_shards_hold_what_one_file_holds(pictures: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(pictures)
    assert isinstance(found.pixels, Shards)
    made = sorted(path.name for path in (pictures / ".cache" / f"images-{found.key}").glob("*.npy"))
    assert made == ["00000-of-00003.npy", "00001-of-00003.npy", "00002-of-00003.npy"]
    monkeypatch.undo()
    one = opened(pictures, "other")
    assert one.key == found.key
    assert isinstance(one.pixels, np.memmap)
    whole = np.array(one.pixels)
    assert found.pixels.shape == whole.shape
    assert found.pixels.nbytes == whole.nbytes
    assert np.array_equal(np.array(found.pixels), whole)
    assert np.array_equal(found.pixels[POSITIONS], whole[POSITIONS])
    assert np.array_equal(found.pixels[3:9], whole[3:9])
    assert np.array_equal(found.pixels[5], whole[5])
    assert found.pixels[POSITIONS[:0]].shape == (0, *SIZE, 3)


def test_a_cache_in_one_file_stays_valid(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened(pictures)
    monkeypatch.setattr(cache, "SHARD_BYTES", 1000)
    monkeypatch.setattr(cache, "build", None)  # nothing is made
    assert isinstance(opened(pictures).pixels, np.memmap)
    assert opened(pictures).key == before.key


def test_only_what_is_missing_is_made_again(
    pictures: Path, small_shards: None, capsys: pytest.CaptureFixture[str]
) -> None:
    first = opened(pictures)
    folder = pictures / ".cache" / f"images-{first.key}"
    wanted, whole = np.array(first.pixels), folder / "00000-of-00003.npy"
    inode = whole.stat().st_ino
    (folder / "00001-of-00003.json").unlink()  # killed before the seal
    (folder / "00002-of-00003.npy").unlink()
    capsys.readouterr()
    again = opened(pictures)
    assert np.array_equal(np.array(again.pixels), wanted)
    assert whole.stat().st_ino == inode
    said = capsys.readouterr().out
    assert "1 of 3 shards are there" in said
    assert not list((pictures / ".cache").glob("*.lock"))


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_processes_and_threads_make_the_same_bytes(pictures: Path, small_shards: None, form: str) -> None:
    (pictures / "05.png").write_bytes(b"no picture")
    kept = opened(pictures, form=form, bad_images="skip")
    files = sorted((pictures / ".cache" / f"images-{kept.key}").glob("*of*[!n]"))
    before = {path: path.read_bytes() for path in files}
    parts = [
        building.Part(pictures, path, some, cache.hashes_of(pictures))
        for path, some in cache._parts(
            pictures / ".cache", kept.key, cache.spec_of(NAMES, SIZE, 3, "auto", form)
        ).items()
    ]
    shutil.rmtree(pictures / ".cache")
    building.build(parts, processes=2)
    assert len(before) == 3
    assert {path: path.read_bytes() for path in before} == before
    assert list(opened(pictures, form=form, bad_images="skip").bad) == ["05.png"]


def test_a_process_that_dies_leaves_its_shards_to_this_one(
    pictures: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Dead:
        _processes = None

        def submit(self, *_: object) -> object:
            raise BrokenProcessPool

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(building, "ProcessPoolExecutor", lambda *_, **__: Dead())
    monkeypatch.setattr(building, "THREADS_ONLY", 0)
    assert np.array(opened(pictures).pixels).any()
    assert "this one makes 3 shards" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["raw", "jpeg"])
@pytest.mark.parametrize("where", ["disk", "memory"])
def test_training_sees_the_same_whoever_reads_the_shards(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, form: str, where: str
) -> None:
    def seen(pictures: AugmentedPictures) -> Any:
        keys = [np.full(len(POSITIONS), number) for number in (1, 2, 3)]
        return pictures.__getitems__(np.stack([POSITIONS, *keys, POSITIONS, POSITIONS * 0], axis=1)).numpy()

    augmenter = Augmenter(Augment(recipe="heavy"), SIZE, 3)
    whole = open_store(opened(pictures, "one", form=form).pixels, CPU, "disk", gathers=False)
    monkeypatch.setattr(cache, "SHARD_BYTES", 4 * SIZE[0] * SIZE[1] * 3)
    parted = open_store(opened(pictures, form=form).pixels, CPU, where, gathers=False)
    wanted, feed = seen(Feed(whole, augmenter).pictures), Feed(parted, augmenter)
    assert np.array_equal(seen(feed.pictures), wanted)
    packed = pickle.dumps(feed.pictures)
    assert len(packed) < len(pickle.dumps(augmenter)) + 2000, "a worker that is not forked opens the files by itself"
    assert np.array_equal(seen(pickle.loads(packed)), wanted)


def test_jpegs_are_near_the_pictures_and_another_cache(pictures: Path) -> None:
    raw, jpeg = opened(pictures), opened(pictures, form="jpeg")
    assert raw.key != jpeg.key
    difference = np.abs(np.array(raw.pixels).astype(int) - np.array(jpeg.pixels).astype(int))
    assert 0 < difference.mean() < 2
    gray = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1, form="jpeg")
    assert gray.pixels.shape == (COUNT, *SIZE, 1)
    with pytest.raises(FoldlineError, match="JPEG has 1 channel or 3, and each picture has 6"):
        open_cache(pictures, pictures / ".cache", ["00.png|01.png"], SIZE, 3, form="jpeg")


@pytest.mark.parametrize("form", ["raw", "jpeg"])
def test_what_a_cache_takes_is_said_and_checked(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    monkeypatch.setattr(building, "LARGE", 1000)
    opened(pictures, form=form)
    assert "the image cache takes 0.0 GB more" in capsys.readouterr().out
    free = type("Free", (), {"free": 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(FoldlineError, match="the image cache needs") as caught:
        opened(pictures, "full", form=form)
    assert ("cache_format=jpeg" in caught.value.next) == (form == "raw")
