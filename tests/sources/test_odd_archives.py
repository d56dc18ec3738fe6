"""Archives that other programs pack: Macs, old machines, archives that grew; and archives that attack."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from foldline.core.errors import FoldlineError
from foldline.sources import members
from foldline.sources.archives import gunzip_all, unpack
from foldline.sources.placing import mend_names, unpack_all, unpack_nested
from sources.trees import Tree, as_bytes, harvest, plant, seven_zipped, tarred, zipped

Pack = Callable[[list[tuple[str, str]]], bytes]


def zip_of(files: list[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # a name that stands twice
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_of(files: list[tuple[str, str]], encoding: str = "utf-8") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding=encoding) as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(as_bytes(content))
            archive.addfile(member, io.BytesIO(as_bytes(content)))
    return buffer.getvalue()


def out_of(content: bytes, folder: Path) -> dict[str, str]:
    plant(folder, {"a.bin": content})
    unpack(folder / "a.bin", folder / "out")
    return harvest(folder / "out")


@pytest.mark.parametrize("make", [zipped, tarred, seven_zipped])
def test_what_a_mac_packs_for_itself_is_left_behind(make: Callable[[Tree], bytes], tmp_path: Path) -> None:
    mac: Tree = {"__MACOSX/._train.csv": "m", "__MACOSX/train/._1.png": "m", ".DS_Store": "m", "train/Thumbs.db": "m"}
    plant(tmp_path, {"train.csv.zip": make({"train.csv": "id", **mac})})
    plant(tmp_path, {"train.zip": make({"train/1.png": "p", "train/2.png": "q", **mac})})
    unpack_nested(tmp_path)
    assert harvest(tmp_path) == {"train.csv": "id", "train/1.png": "p", "train/2.png": "q"}


def test_names_of_old_machines_are_read_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tar_of([("pingüino/0.png", "a"), ("pingüino/1.png", "b"), ("cat/0.png", "c")], "latin-1")
    assert out_of(packed, tmp_path) == {"cat/0.png": "c", "pingüino/0.png": "a", "pingüino/1.png": "b"}
    words = "a.bin: 2 of its names are no UTF-8 and were read as western European: pingüino/0.png, pingüino/1.png"
    assert words in capsys.readouterr().out


def test_a_zip_that_does_not_say_that_its_names_are_utf8(tmp_path: Path) -> None:
    """As the Finder packs; a name that is none stays what the zip format says, and all others too."""
    marked = zip_of([("žába/0.png", "a")])
    flag = (0x800).to_bytes(2, "little")
    assert marked.count(flag) >= 2
    assert out_of(marked.replace(flag, b"\0\0"), tmp_path / "utf8") == {"žába/0.png": "a"}
    old = zip_of([("Xa/0.png", "a")]).replace(b"Xa/0.png", b"\x84a/0.png")
    assert out_of(old, tmp_path / "old") == {"äa/0.png": "a"}


def test_names_in_a_folder_that_are_no_utf8_are_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = Path(str(tmp_path), "a\udcfc")  # the byte 0xfc
    plant(odd, {"b\udce9.txt": "x"})
    mend_names(tmp_path)
    assert harvest(tmp_path) == {"aü/bé.txt": "x"}
    assert "2 names of files and folders are no UTF-8" in capsys.readouterr().out


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_of_a_path_that_stands_twice_the_last_counts(
    pack: Pack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert out_of(pack([("a.txt", "1"), ("b.txt", "b"), ("a.txt", "1")]), tmp_path / "same")["a.txt"] == "1"
    assert capsys.readouterr().out == ""
    files = out_of(pack([("a.txt", "old"), ("b.txt", "b"), ("./a.txt", "new")]), tmp_path / "other")
    assert files == {"a.txt": "new", "b.txt": "b"}
    assert "1 of its paths stand there more than once with different content" in capsys.readouterr().out


@pytest.mark.parametrize("pack", [zip_of, tar_of])
@pytest.mark.parametrize("order", [1, -1])
def test_a_file_that_is_a_folder_too_is_refused(order: int, pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="as a file and as a folder") as caught:
        out_of(pack([("a", "1"), ("a/b.txt", "2")][::order]), tmp_path)
    assert "source.kind: folder" in caught.value.next


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_names_that_only_some_systems_take_are_kept(pack: Pack, tmp_path: Path) -> None:
    names = ["A.png", "a.png", "CON", "aux.txt", "cat /1 .png", "x.", "a:b.txt", "[1] (2) {3}.png", "-rf"]
    assert out_of(pack([(name, name) for name in names]), tmp_path) == {name: name for name in names}


def test_nested_archives_with_blanks_and_brackets(tmp_path: Path) -> None:
    inner = zipped({f"my photos (1)/{kind}/0.png": "p" for kind in ("black cat", "dog (big)")})
    plant(tmp_path, {"all my data.zip": zipped({"my photos (1).zip": inner})})
    unpack_nested(tmp_path)
    assert set(harvest(tmp_path)) == {f"all my data/my photos (1)/{kind}/0.png" for kind in ("black cat", "dog (big)")}


def test_the_same_file_in_two_archives_is_there_once(tmp_path: Path) -> None:
    trees: dict[str, Tree] = {name: {f"data/{name}.csv": name, "data/README": "r"} for name in ("zip", "tar")}
    plant(tmp_path, {"data.zip": zipped(trees["zip"]), "data.tar": tarred(trees["tar"]), "1.zip": zipped({"b": "b"})})
    plant(tmp_path, {"2.zip": zipped({"b": "b"})})
    unpack_nested(tmp_path)
    assert harvest(tmp_path) == {"data/zip.csv": "zip", "data/tar.csv": "tar", "data/README": "r", "b": "b"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["t.zip.001", "t.zip.999999999"], "lacks 999999997 of its parts: t.zip.002, .*t.zip.006 ..."),
        (["t.zip.20240131"], "lacks 20240130 of its parts"),
        (["t.zip.001", "t.zip.0001"], "same number"),
        (["t.zip.000", "t.zip.001"], "or one has 0"),
    ],
)
def test_numbers_of_parts_that_cannot_be(names: list[str], words: str, tmp_path: Path) -> None:
    plant(tmp_path, dict.fromkeys(names, "PK"))
    with pytest.raises(FoldlineError, match=words) as caught:
        unpack_nested(tmp_path)
    assert "source.unpack: false" in caught.value.next
    assert set(harvest(tmp_path)) == set(names)


def test_a_bomb_of_nested_archives_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each archive alone is harmless; the limit is that of the outermost one."""
    monkeypatch.setattr(members, "FREE_BYTES", 1 << 20)
    inner = zipped({"a.bin": bytes(800_000)})
    plant(tmp_path, {"outer.zip": zipped({f"{i}.zip": inner for i in range(9)})})
    with pytest.raises(FoldlineError, match="bomb") as caught:
        unpack_all(tmp_path / "outer.zip", tmp_path / "out", keep=[], nested=True)
    assert "unpack it by hand" in caught.value.next
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_does_not_fit_on_the_disk_stops_in_words(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 3 << 20})())
    with pytest.raises(FoldlineError, match="disk is full") as caught:
        out_of(tarred({f"{i}.bin": bytes(1 << 20) for i in range(5)}, mode), tmp_path)
    assert "make room" in caught.value.next


def test_a_locked_archive_says_what_to_do(tmp_path: Path) -> None:
    import py7zr

    locked = bytearray(zipped({"a.txt": "a"}))
    for at in (6, locked.index(b"PK\x01\x02") + 8):
        locked[at] |= 1
    plant(tmp_path, {"a.zip": bytes(locked)})
    with py7zr.SevenZipFile(tmp_path / "a.7z", "w", password="secret") as archive:
        archive.writestr("a", "a.txt")
    for name in ("a.zip", "a.7z"):
        with pytest.raises(FoldlineError, match="locked with a password") as caught:
            unpack(tmp_path / name, tmp_path / f"out {name}")
        assert "unpack it by hand" in caught.value.next


def test_a_packing_that_python_lacks_is_no_broken_archive(tmp_path: Path) -> None:
    odd = bytearray(zipped({"a.txt": "a"}))
    for at in (8, odd.index(b"PK\x01\x02") + 10):
        odd[at : at + 2] = (9).to_bytes(2, "little")  # Deflate64, as Windows packs large files
    with pytest.raises(FoldlineError, match="in a way that Python does not know") as caught:
        out_of(bytes(odd), tmp_path)
    assert "unpack it by hand" in caught.value.next


def test_a_gz_beside_what_it_holds_is_refused(tmp_path: Path) -> None:
    import gzip

    plant(tmp_path, {"a.idx": "mine", "a.idx.gz": gzip.compress(b"other")})
    with pytest.raises(FoldlineError, match="packed and unpacked"):
        gunzip_all(tmp_path)
    assert (tmp_path / "a.idx").read_text() == "mine"
