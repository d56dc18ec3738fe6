import errno
import os
import random
from pathlib import Path

import cv2
import numpy as np
import pytest

import old_records
from faults.damage import HARMS
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, sha256_file
from foldline.engine.extra_rows import lookalikes
from foldline.images.cache import open_cache
from foldline.images.files.decode import BadImageError, decode

SIZE = (24, 24)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A root folder with six gray pictures of 30 x 20 px and their manifest."""
    rng = np.random.default_rng(0)
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 256, (20, 30), dtype=np.uint8))
    write_manifest(tmp_path)
    return tmp_path


def write_manifest(root: Path) -> None:
    files = [{"path": p.name, "bytes": p.stat().st_size, "sha256": sha256_file(p)} for p in sorted(root.glob("*.png"))]
    old_records.write_manifest(root / "manifest.json", files)


NAMES = [f"{i}.png" for i in range(6)]


@pytest.mark.parametrize("extension", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.98])
def test_a_truncated_file_is_no_picture(tmp_path: Path, extension: str, share: float) -> None:
    path = tmp_path / f"a.{extension}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = path.read_bytes()
    assert decode(path, 3).shape == (64, 64, 3)
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadImageError):
        decode(path, 3)


def test_colours_are_rgb_and_gray_has_one_channel(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), (0, 0, 255), dtype=np.uint8))  # OpenCV writes BGR
    assert decode(path, 3)[0, 0].tolist() == [255, 0, 0]
    assert decode(path, 1).shape == (4, 4, 1)


def test_the_cache_is_built_once_and_keyed_by_content(pictures: Path) -> None:
    folder = pictures / ".cache"
    cache = open_cache(pictures, folder, NAMES, SIZE, 1)
    assert cache.pixels.shape == (6, *SIZE, 1)
    built = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    open_cache(pictures, folder, list(reversed(NAMES)), SIZE, 1)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == built
    cv2.imwrite(str(pictures / "0.png"), np.zeros((20, 30), dtype=np.uint8))
    write_manifest(pictures)
    changed = open_cache(pictures, folder, NAMES, SIZE, 1)
    assert changed.key != cache.key
    assert changed.pixels[changed.position["0.png"]].max() == 0


def test_a_picture_without_a_hash_counts_by_its_content_not_by_size_and_time(pictures: Path) -> None:
    """Such as one that came after the download; copying tools keep the time of a file."""
    path, folder = pictures / "new.bmp", pictures / ".cache"
    keys, alike, times = [], [], path.parent.stat()
    for number in (1, 1, 0):
        cv2.imwrite(str(path), np.asarray(cv2.imread(str(pictures / f"{number}.png"), cv2.IMREAD_GRAYSCALE)))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        keys.append(open_cache(pictures, folder, ["new.bmp"], SIZE, 1).key)
        alike.append(lookalikes(pictures, folder, ["new.bmp"], NAMES)["new.bmp"])
    assert keys[0] == keys[1] != keys[2]
    assert alike == [{"1.png"}, {"1.png"}, {"0.png"}]


def test_all_bad_images_are_listed_before_training(pictures: Path) -> None:
    (pictures / "1.png").write_bytes(b"")
    (pictures / "4.png").write_bytes((pictures / "4.png").read_bytes()[:100])
    (pictures / "5.png").unlink()
    with pytest.raises(FoldlineError, match="3 images cannot be used") as caught:
        open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    for name in ("1.png", "4.png", "5.png", "bad_images=skip"):
        assert name in str(caught.value)
    listed = read_csv(pictures / ".cache" / "bad_images.csv", required=["image", "problem"])
    assert listed["image"].tolist() == ["1.png", "4.png", "5.png"]
    skipped = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1, bad_images="skip")
    assert sorted(skipped.bad) == ["1.png", "4.png", "5.png"]


def test_the_list_of_bad_images_can_be_read_whatever_their_names(pictures: Path) -> None:
    name = 'a "b", c.png'
    with pytest.raises(FoldlineError, match="1 image cannot be used"):
        open_cache(pictures, pictures / ".cache", [name], SIZE, 1)
    assert read_csv(pictures / ".cache" / "bad_images.csv")["image"].tolist() == [name]


def test_a_file_that_decodes_but_changed_since_the_download_is_bad(pictures: Path) -> None:
    cv2.imwrite(str(pictures / "2.png"), np.zeros((20, 30), dtype=np.uint8))
    with pytest.raises(FoldlineError, match=r"2\.png: the file changed since the download"):
        open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)


def test_stacked_files_become_channels(pictures: Path) -> None:
    cache = open_cache(pictures, pictures / ".cache", ["0.png|1.png|2.png"], SIZE, 1)
    single = open_cache(pictures, pictures / ".cache", ["1.png"], SIZE, 1)
    assert cache.pixels.shape == (1, *SIZE, 3)
    assert (cache.pixels[0][:, :, 1] == single.pixels[0][:, :, 0]).all()


@pytest.mark.parametrize("file", [".npy", ".json"])
@pytest.mark.parametrize("harm", ["emptied", "cut", "with a turned bit", "overwritten"])
def test_a_damaged_cache_is_made_again(
    pictures: Path, capsys: pytest.CaptureFixture[str], file: str, harm: str
) -> None:
    before = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    path = (pictures / ".cache" / f"images-{before.key}.npy").with_suffix(file)
    wanted = np.array(before.pixels)
    del before
    HARMS[harm](path, random.Random(0))
    after = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    assert np.array_equal(after.pixels, wanted)
    assert "it is made again" in capsys.readouterr().out
    assert open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1).key == after.key
    assert not capsys.readouterr().out


def test_a_copied_cache_is_the_same(pictures: Path) -> None:
    before = open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    path = pictures / ".cache" / f"images-{before.key}.npy"
    os.utime(path, (1, 1))
    inode = path.stat().st_ino
    open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1)
    assert path.stat().st_ino == inode
    assert "1000000000" in path.with_suffix(".json").read_text(), "its new time is kept, so that it is hashed once"


def test_what_the_machine_refuses_is_no_bad_picture(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `data.bad_images: skip` would train without pictures because too many files were open."""

    def refuse(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match="Too many"):
        open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1, bad_images="skip")
    monkeypatch.undo()
    assert not open_cache(pictures, pictures / ".cache", NAMES, SIZE, 1).bad
