"""The reader of folders: what is a row, what is none and said so, and which folders are no classes."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.readers import read_rows
from readers.layouts import facts, plant

Out = pytest.CaptureFixture[str]


def picture(ending: str) -> bytes:
    done, content = cv2.imencode(ending, np.full((4, 4, 3), 90, dtype=np.uint8))
    assert done
    return content.tobytes()


def rows(root: Path, **train: Any) -> pd.DataFrame:
    known = facts({"reader": "folders", "target": "label", **train}, "multiclass")
    return read_rows(root, known.train, known, with_target=True)


def test_the_content_decides_what_is_a_row_and_the_rest_is_counted(tmp_path: Path, capsys: Out) -> None:
    jpeg, avif = picture(".jpg"), picture(".avif")
    root = plant(tmp_path / "toy", {f"cat/{name}": jpeg for name in ("0.jpg", "1.jpe", "2.jpg_large", "3", "4.JFIF")})
    plant(root, {"cat/5.avif": avif, "owl/x.y": "", "cat/notes.txt": "a", "dog/a.txt": "a", "owl/odd.jpg": "text"})
    (root / "bird").mkdir()
    frame = rows(root)
    assert frame["row_id"].tolist() == [
        *("cat/0.jpg", "cat/1.jpe", "cat/2.jpg_large", "cat/3", "cat/4.JFIF", "cat/5.avif", "owl/odd.jpg", "owl/x.y")
    ]
    assert frame["target"].tolist() == ["cat"] * 6 + ["owl"] * 2
    assert capsys.readouterr().out.splitlines() == [
        "warning: 1 file is called pictures and hold none: owl/odd.jpg; training will stop at them, or leave them "
        "out with data.bad_images=skip",
        "toy/: 8 of 10 files are rows; left out: 2 hold no picture that can be read (cat/notes.txt, dog/a.txt)",
        "warning: 2 folders give no row: bird, dog",
    ]


def test_pictures_that_a_pattern_does_not_match_are_said(tmp_path: Path, capsys: Out) -> None:
    root = plant(tmp_path / "toy", {"cat/a_1.png": "", "dog/a_2.png": "", "dog/b.png": "", "dog/Thumbs.db": "x"})
    assert len(rows(root, pattern="{label}/{who}_{n}.png")) == 2
    assert capsys.readouterr().out == (
        "toy/: 2 of 3 files are rows; left out: 1 do not match the pattern (dog/b.png); 1 Thumbs.db\n"
    )
    rows(plant(tmp_path / "whole", {"cat/1.png": "", "dog/2.png": ""}))
    assert capsys.readouterr().out == "", "nothing is left out, so nothing is said"


@pytest.mark.parametrize("name", ["test", "Valid", "thumbnails"])
def test_a_folder_of_another_depth_that_is_hardly_a_class_is_asked_about(tmp_path: Path, name: str) -> None:
    root = plant(tmp_path / "toy", {"train/cat/1.png": "", "train/dog/1.png": "", f"{name}/1.png": ""})
    with pytest.raises(FoldlineError, match=f"the folder '{name}' would become a class.* 2 deep: cat") as error:
        rows(root)
    assert error.value.next.startswith('without it: pattern: "*/{label}/{stem}.{ext}"')
    assert rows(root, pattern="*/{label}/{stem}.{ext}")["target"].tolist() == ["cat", "dog"]
    assert rows(root, file="train")["target"].tolist() == ["cat", "dog"]
    assert name in rows(root, pattern="**/{label}/{stem}.{ext}")["target"].tolist(), "the pattern says that it is one"


def test_depths_and_names_that_may_be_meant_are_warned_about(tmp_path: Path, capsys: Out) -> None:
    rows(plant(tmp_path / "a", {"cat/1.png": "", "dog/1.png": "", "big/dog/1.png": ""}))
    rows(plant(tmp_path / "b", {"cat/1.png": "", "val/1.png": ""}))
    rows(plant(tmp_path / "c", {"train/cat/1.png": "", "train/dog/1.png": "", "test/cat/2.png": ""}))
    assert capsys.readouterr().out.splitlines() == [
        "warning: class folders lie at different depths: 1 deep: cat (1 picture), dog (1 picture); 2 deep: "
        "dog (1 picture)",
        "warning: the folders val are classes here; if they are none, set `file` or `pattern`",
        "warning: all of these folders are training rows: test (1 picture), train (2 pictures); if that is not wanted "
        "set train.file",
    ]


def test_a_linked_folder_is_a_class_like_others(tmp_path: Path) -> None:
    root, store = plant(tmp_path / "toy", {"cat/1.png": ""}), plant(tmp_path / "store", {"2.png": ""})
    (root / "owl").symlink_to(store)
    assert rows(root)["image"].tolist() == ["cat/1.png", "owl/2.png"]
