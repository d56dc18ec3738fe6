"""One walk for downloading and reading: links, junk, and what counts as a picture."""

from pathlib import Path

import pytest

from foldline.core.picture_kinds import HEAD, picture_kind
from foldline.core.walk import walk
from foldline.sources.placing import files_below


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_linked_folders_are_walked_and_no_loop_is(tmp_path: Path) -> None:
    root, store = plant(tmp_path / "in", "cat/1.png"), plant(tmp_path / "store", "2.png", "deep/3.png")
    (root / "owl").symlink_to(store)
    (store / "deep" / "back").symlink_to(root)
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "gone.png").symlink_to(tmp_path / "none.png")
    (root / "bird").mkdir()
    found = walk(root)
    assert found.files == ["cat/1.png", "owl/2.png", "owl/deep/3.png"]
    assert found.left_out == {"links to a folder above": 2, "links that lead nowhere": 1}
    assert found.empty == ["bird"]
    assert files_below(root) == [root / name for name in found.files]


def test_junk_is_counted_by_its_name_and_our_own_files_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk = ["cat/@eaDir/1.png/a.jpg", "cat/@eaDir/1.png/b.jpg", "$RECYCLE.BIN/x/1.jpg", "__MACOSX/1.png"]
    names = ["cat/Thumbs.db", "cat/.DS_Store", "cat/._1.png", "cat/.ipynb_checkpoints/1.png", ".cache/i.npy", ".x.tmp"]
    found = walk(plant(tmp_path, "cat/1.png", "thumbs/1.png", *junk, *names))
    assert found.files == ["cat/1.png", "thumbs/1.png"]
    found.remark("input/toy")
    assert capsys.readouterr().out.splitlines() == [
        "input/toy: left out, since it is no data: 1 Thumbs.db, 2 hidden files, 1 in $RECYCLE.BIN, "
        "1 in .ipynb_checkpoints, 2 in @eaDir, 1 in __MACOSX"
    ]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe1", "jpg"),
        (b"\x89PNG\r\n", "png"),
        (b"\0\0\0 ftypavif\0\0", "avif"),
        (b"\0\0\0 ftypheic\0\0", ""),
        (b"RIFF\0\0\0\0WEBP", "webp"),
        (b"RIFF\0\0\0\0WAVE", ""),
        (b"BM\1\2\3\4\0\0\0\0", "bmp"),
        (b"BMI,label\n", ""),
        (b"P5\n4 4", "ppm"),
        (b"P5,a", ""),
        (bytes(128) + b"DICM", "dcm"),
        (b"id,label\n", ""),
        (b"", ""),
    ],
)
def test_the_content_tells_the_kind_of_picture(head: bytes, kind: str) -> None:
    assert picture_kind(head) == kind
    assert picture_kind(head + bytes(HEAD)) == kind
