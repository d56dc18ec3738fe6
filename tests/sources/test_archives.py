import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foldline.core.errors import FoldlineError
from foldline.sources import members, placing
from foldline.sources.archives import unpack
from foldline.sources.placing import keep_only, unpack_nested
from sources.trees import Tree, harvest, plant, seven_zipped, tarred, zipped

TREE: Tree = {"train/a.txt": "a", "train/deep/b.txt": "b", "labels.csv": "id,x\n"}
HONEST = {
    "a.zip": zipped(TREE),
    "plain.tar.gz": tarred(TREE),  # a plain tar that calls itself .tar.gz
    "real.tar.gz": tarred(TREE, "w:gz"),
    "a.tar.xz": tarred(TREE, "w:xz"),
    "zip_called.tar": zipped(TREE),
    "a.7z": seven_zipped(TREE),
}


@pytest.mark.parametrize("name", HONEST)
def test_archives_of_all_kinds_unpack_whatever_their_name(name: str, tmp_path: Path) -> None:
    plant(tmp_path, {name: HONEST[name]})
    unpack(tmp_path / name, tmp_path / "out")
    assert harvest(tmp_path / "out") == TREE


def test_nested_archives_are_unpacked_and_removed(tmp_path: Path) -> None:
    same: Tree = {"1.txt": "in train", "2.txt": "x"}
    tree: Tree = {
        "labels.csv.zip": zipped({"labels.csv": "id\n"}),
        "train.zip": zipped({f"train/{name}": content for name, content in same.items()}),
        "flat.zip": zipped(same),
        "other.zip": zipped({"1.txt": "in other", "2.txt": "y"}),
        "data.json.7z": seven_zipped({"deep/down/data.json": "[]"}),
        "outer.tar.gz": tarred({"outer/inner.zip": zipped({"c.txt": "c", "d.txt": "d"})}),
    }
    plant(tmp_path, tree)
    unpack_nested(tmp_path)
    assert harvest(tmp_path) == {
        "labels.csv": "id\n",
        "train/1.txt": "in train",
        "train/2.txt": "x",
        "flat/1.txt": "in train",
        "flat/2.txt": "x",
        "other/1.txt": "in other",
        "other/2.txt": "y",
        "data.json": "[]",
        "outer/inner/c.txt": "c",
        "outer/inner/d.txt": "d",
    }


def test_nested_archives_that_collide_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, {"a.csv": "mine", "a.csv.zip": zipped({"a.csv": "other"})})
    with pytest.raises(FoldlineError, match="same path"):
        unpack_nested(tmp_path)
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_archives_nested_too_deep_are_refused(tmp_path: Path) -> None:
    content = zipped({"a.txt": "a"})
    for depth in range(placing.DEPTH_LIMIT):
        content = zipped({f"{depth}.zip": content})
    plant(tmp_path, {"outer.zip": content})
    with pytest.raises(FoldlineError, match="deep"):
        unpack_nested(tmp_path)


def in_parts(name: str, content: bytes, count: int = 3) -> Tree:
    size = len(content) // count + 1
    return {f"{name}.{i + 1:03d}": content[i * size : (i + 1) * size] for i in range(count)}


@pytest.mark.parametrize("name", ["train.zip", "train.7z", "train.tar.gz"])
def test_archives_in_parts_are_joined_and_unpacked(name: str, tmp_path: Path) -> None:
    tree: Tree = {"train/a.txt": "a" * 100, "train/b.txt": "b"}
    made = {"train.zip": zipped(tree), "train.7z": seven_zipped(tree), "train.tar.gz": tarred(tree, "w:gz")}[name]
    plant(tmp_path, {"labels.csv": "id\n", "scan.001": "no part", **in_parts(f"deep/{name}", made, 11)})
    unpack_nested(tmp_path)
    expected = {f"deep/{path}": text for path, text in tree.items()}
    assert harvest(tmp_path) == {**expected, "labels.csv": "id\n", "scan.001": "no part"}


def test_parts_inside_an_archive_are_joined_too(tmp_path: Path) -> None:
    plant(tmp_path, {"all.zip": zipped({"y.csv": "y", **in_parts("train.zip", zipped({"a.txt": "a", "b.txt": "b"}))})})
    unpack_nested(tmp_path)
    assert harvest(tmp_path) == {"all/y.csv": "y", "all/train/a.txt": "a", "all/train/b.txt": "b"}


def test_parts_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    parts = in_parts("train.zip", zipped(TREE))
    gap = {name: content for name, content in parts.items() if not name.endswith("2")}
    plant(tmp_path / "gap", gap)
    with pytest.raises(FoldlineError, match=r"lacks 1 of its parts: train\.zip\.002"):
        unpack_nested(tmp_path / "gap")
    plant(tmp_path / "both", {**parts, "train.zip": zipped(TREE)})
    with pytest.raises(FoldlineError, match="whole and in parts"):
        unpack_nested(tmp_path / "both")
    plant(tmp_path / "end", {name: content for name, content in parts.items() if not name.endswith("3")})
    with pytest.raises(FoldlineError, match="broken"):
        unpack_nested(tmp_path / "end")
    plant(tmp_path / "spanned", {"train.z01": "x", "train.zip": zipped(TREE)})
    with pytest.raises(FoldlineError, match="spans several files"):
        unpack_nested(tmp_path / "spanned")


def test_joined_archives_are_no_safer_than_others(tmp_path: Path) -> None:
    plant(tmp_path / "in", in_parts("a.zip", zipped({"fine.txt": "x", "../../out.txt": "evil"})))
    with pytest.raises(FoldlineError, match="leaves its folder"):
        unpack_nested(tmp_path / "in")
    assert not list(tmp_path.rglob("out.txt"))


LEAVING = ["../out.txt", "a/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:\\out.txt", "C:/out.txt"]


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_paths_that_leave_the_folder_are_refused(name: str, make: Callable[[Tree], bytes], tmp_path: Path) -> None:
    plant(tmp_path, {"a.zip": make({"fine.txt": "x", name: "evil"})})
    with pytest.raises(FoldlineError, match="leaves its folder"):
        unpack(tmp_path / "a.zip", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("to", ["/etc/passwd", "../../etc/passwd", "nothing"])
def test_links_and_devices_in_a_tar_are_left_out_and_said(
    to: str, kind: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, to
        archive.addfile(member)
        archive.addfile(tarfile.TarInfo("after.txt"))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["after.txt"]
    assert "a.tar: 1 of its members are links or devices and were left out: link" in capsys.readouterr().out


def test_a_file_that_a_tar_holds_under_two_names_is_there_twice(tmp_path: Path) -> None:
    """tar packs hard links, which deduplicated data sets hold by the thousand, as the name of the first."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        first = tarfile.TarInfo("./train/1.txt")
        first.size = 3
        archive.addfile(first, io.BytesIO(b"one"))
        second = tarfile.TarInfo("./train/2.txt")
        second.type, second.linkname = tarfile.LNKTYPE, "./train/1.txt"
        archive.addfile(second)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert harvest(tmp_path / "out") == {"train/1.txt": "one", "train/2.txt": "one"}


def test_links_in_a_zip_and_a_7z_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import py7zr

    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
        archive.writestr("a.txt", "a")
    (tmp_path / "link").symlink_to("/etc/hostname")
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w") as seven:
        seven.write(tmp_path / "link", "link")
        seven.writestr("a", "a.txt")
    for name in ("a.zip", "a.7z"):
        unpack(tmp_path / name, tmp_path / f"out-{name}")
        assert [path.name for path in (tmp_path / f"out-{name}").iterdir()] == ["a.txt"]
        assert f"{name}: 1 of its members are links" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz", "bomb.7z"])
def test_bombs_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "FREE_BYTES", 1 << 20)
    zeros: Tree = {f"{i}.bin": bytes(4 << 20) for i in range(4)}
    made = {"bomb.zip": zipped, "bomb.tar.gz": lambda tree: tarred(tree, "w:gz"), "bomb.7z": seven_zipped}[name](zeros)
    plant(tmp_path, {name: made})
    with pytest.raises(FoldlineError, match="bomb"):
        unpack(tmp_path / name, tmp_path / "out")
    assert sum(len(text) for text in harvest(tmp_path / "out").values()) <= 8 << 20


def test_a_full_disk_is_seen_before_the_first_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1})()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    plant(tmp_path, {"a.zip": zipped(TREE)})
    with pytest.raises(FoldlineError, match="disk is full"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert harvest(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 broken", b"7z\xbc\xaf\x27\x1c broken", b"\x1f\x8b broken", b"text"]
)
def test_broken_archives_are_named(content: bytes, tmp_path: Path) -> None:
    plant(tmp_path, {"a.zip": content})
    with pytest.raises(FoldlineError) as caught:
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert "a.zip" in caught.value.where


@pytest.mark.parametrize("name", ["a.zip", "real.tar.gz", "a.7z"])
def test_a_truncated_archive_is_refused(name: str, tmp_path: Path) -> None:
    plant(tmp_path, {name: HONEST[name][: len(HONEST[name]) * 2 // 3]})
    with pytest.raises(FoldlineError):
        unpack(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("name", HONEST)
def test_a_damaged_archive_gives_its_files_or_an_error_in_words(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for trial in range(25):
        content = bytearray(HONEST[name])
        content[int(rng.integers(len(content)))] ^= int(rng.integers(1, 256))
        plant(tmp_path, {name: bytes(content)})
        try:
            unpack(tmp_path / name, tmp_path / f"out{trial}")
        except FoldlineError as error:
            assert name in error.where  # noqa: PT017 - either outcome is right


def test_kept_folders_lose_their_prefix(tmp_path: Path) -> None:
    plant(tmp_path / "raw", {"pkg/data/images/a.png": "a", "pkg/labels.csv": "l", "pkg/code.py": "c"})
    keep_only(tmp_path / "raw", ["pkg/data", "pkg/labels.csv"], tmp_path / "out")
    assert harvest(tmp_path / "out") == {"images/a.png": "a", "labels.csv": "l"}


def test_keeping_what_is_not_there_names_what_is(tmp_path: Path) -> None:
    plant(tmp_path / "raw", {"pkg/a.txt": "a"})
    with pytest.raises(FoldlineError) as caught:
        keep_only(tmp_path / "raw", ["nothing"], tmp_path / "out")
    assert "pkg" in caught.value.next
