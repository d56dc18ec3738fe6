"""Every reader on a layout of its own, and what all readers have in common."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import RowFacts
from foldline.core.errors import FoldlineError
from foldline.readers import READERS, find_outputs, read_rows
from readers.layouts import bson, facts, idx, npy, plant, png, read_picture

PIXELS = np.random.default_rng(3).integers(0, 256, (4, 2, 3), dtype=np.uint8)
CIFAR = np.random.default_rng(4).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def cifar_batch(rows: slice) -> bytes:
    labels = [0, 1, 0, 1][rows]
    return pickle.dumps({"data": CIFAR[rows].reshape(-1, 3072), "labels": labels, "filenames": ["f"] * len(labels)})


COCO = {
    "images": [{"id": i, "file_name": f"{i}.png", "location": i // 2, "width": 4} for i in range(4)],
    "annotations": [{"id": 90 + i, "image_id": i, "category_id": i % 2, "bbox": [1, 2]} for i in (3, 2, 1, 0)],
    "categories": [{"id": 0, "name": "cat", "family": "felidae"}, {"id": 1, "name": "dog", "family": "canidae"}],
}
JSON_PIXELS = [
    {"id": f"00{i}", "band": PIXELS[i].ravel().astype(float).tolist(), "angle": "na" if i else 4.5, "kind": "ab"[i % 2]}
    for i in range(4)
]
PICTURES: dict[str, str | bytes] = {f"{i}.png": "" for i in range(4)}
HOOK = """import pandas as pd
def rows(root):
    return pd.DataFrame({"id": [path.stem for path in sorted(root.glob("*.png"))]})
"""

# reader: files, facts of `train`, the row_ids, the targets
LAYOUTS: dict[str, tuple[dict[str, str | bytes], dict[str, Any], list[str], list[str]]] = {
    "csv": (
        {"t.csv": "id,label\n000,a\n1e5,b\nNA,a\n", "train/000.png": "", "train/1e5.png": "", "train/NA.png": ""},
        {"file": "t.csv", "row_id": "id", "image": "train/{id}.png", "target": "label"},
        ["000", "1e5", "NA"],
        ["a", "b", "a"],
    ),
    "tsv": (
        {"t.tsv": "0.png\ta b\n1.png\tc\n", **PICTURES},
        {"file": "t.tsv", "columns": ["image", "label"], "image": "image", "target": "label"},
        ["0.png", "1.png"],
        ["a b", "c"],
    ),
    "parquet": (
        {"t.parquet": parquet(pd.DataFrame({"pic": [{"bytes": png(i), "path": "x"} for i in range(2)], "y": [0, 1]}))},
        {"file": "t.parquet", "encoded": "pic", "image": "picture", "target": "y", "row_id": "{y}"},
        ["0", "1"],
        ["0", "1"],
    ),
    "folders": (
        {"Fish/Sea Bass/Sea Bass/1.png": "", "Fish/Sea Bass/Sea Bass GT/1.png": "", "Fish/Trout/Trout/1.PNG": ""},
        {"file": "Fish", "pattern": "{label}/{label}/{name}.{ext}", "target": "label", "row_id": "{label} {stem}"},
        ["Sea Bass 1", "Trout 1"],
        ["Sea Bass", "Trout"],
    ),
    "coco": (
        {"m.json": json.dumps(COCO), **PICTURES},
        {"file": "m.json", "row_id": "id", "image": "file_name", "target": "category", "group": "location"},
        ["0", "1", "2", "3"],
        ["cat", "dog", "cat", "dog"],
    ),
    "json": (
        {"t.json": json.dumps(JSON_PIXELS)},
        {
            "file": "t.json",
            "row_id": "id",
            "target": "kind",
            "metadata": ["angle"],
            "pixels": {"columns": ["band"], "height_width": [2, 3]},
        },
        ["000", "001", "002", "003"],
        ["a", "b", "a", "b"],
    ),
    "arrays": (
        {"images-idx3-ubyte": idx(PIXELS), "labels-idx1-ubyte": idx(np.array([7, 1, 7, 1], dtype=np.uint8))},
        {"file": "images-idx3-ubyte", "labels": "labels-idx1-ubyte", "row_id": "train_{index}", "target": "label"},
        [f"train_{i}" for i in range(4)],
        ["7", "1", "7", "1"],
    ),
    "cifar": (
        {
            "c/data_batch_1": cifar_batch(slice(0, 3)),
            "c/data_batch_2": cifar_batch(slice(3, 4)),
            "c/batches.meta": pickle.dumps({"label_names": ["plane", "car"]}),
        },
        {"file": "c/data_batch_*", "row_id": "{index:05d}", "target": "label_name"},
        ["00000", "00001", "00002", "00003"],
        ["plane", "car", "plane", "car"],
    ),
    "bson": (
        {
            "t.bson": bson({"_id": 5, "category_id": 100, "imgs": [{"picture": png(1)}, {"picture": png(2)}]})
            + bson({"_id": 6, "category_id": 200, "imgs": [{"picture": png(3)}]})
        },
        {"file": "t.bson", "row_id": "{_id}_{number}", "entity": "_id", "target": "category_id"},
        ["5_0", "5_1", "6_0"],
        ["100", "100", "200"],
    ),
    "python": (
        {"../../configs/toy/rows.py": HOOK, "cat.png": "", "dog.png": ""},
        {"function": "rows.py:rows", "row_id": "id", "image": "{id}.png", "target": "id"},
        ["cat", "dog"],
        ["cat", "dog"],
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "input" / "toy").mkdir(parents=True)
    return tmp_path / "input" / "toy"


def test_every_reader_has_a_layout() -> None:
    assert LAYOUTS.keys() == READERS.keys()


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_gives_rows_of_strings_whose_images_exist(reader: str, root: Path) -> None:
    files, train, ids, targets = LAYOUTS[reader]
    plant(root, files)
    known = facts({"reader": reader, **train})
    frame = read_rows(root, known.train, known, with_target=True)
    assert frame["row_id"].tolist() == ids
    assert frame["target"].tolist() == targets
    assert frame.columns[:3].tolist() == ["row_id", "image", "target"]
    assert all(isinstance(cell, str) for cell in frame.to_numpy().ravel())
    assert all((root / image).is_file() for image in frame["image"])
    assert find_outputs(frame, known) == sorted(set(targets))
    again = read_rows(root, known.train, known, with_target=True)
    pd.testing.assert_frame_equal(frame, again)
    without = read_rows(root, known.train, known, with_target=False)
    assert not [name for name in without.columns if name.startswith("target")]


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_says_what_is_missing(reader: str, root: Path) -> None:
    train = {"reader": reader, **LAYOUTS[reader][1]}
    known = facts(train)
    with pytest.raises(FoldlineError) as caught:
        read_rows(root, known.train, known, with_target=True)
    assert caught.value.where


@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("folders", "python")])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\xff broken", b"[1, 2", b"{}"])
def test_a_reader_names_a_broken_file(reader: str, content: bytes, root: Path) -> None:
    files, train, _, _ = LAYOUTS[reader]
    plant(root, files)
    for name in files:
        if not name.endswith((".png", ".meta")):
            (root / name).write_bytes(content)
    known = facts({"reader": reader, **train})
    with pytest.raises(FoldlineError):
        read_rows(root, known.train, known, with_target=True)


def test_an_unknown_reader_lists_the_known_ones(root: Path) -> None:
    known = facts({"reader": "folder", "target": "label"})
    with pytest.raises(FoldlineError, match="did you mean 'folders'"):
        read_rows(root, known.train, known, with_target=True)


def test_pictures_of_test_rows_need_no_folder_of_a_label(root: Path) -> None:
    plant(root, {"train/cat/1.png": "", "train/dog/1.png": "", "test/1.png": "", "test/deep/2.png": ""})
    test = {"reader": "folders", "file": "test", "row_id": "stem"}
    known = facts({"reader": "folders", "file": "train", "target": "label"}, test=test)
    assert read_rows(root, known.train, known, with_target=True)["target"].tolist() == ["cat", "dog"]
    assert known.test is not None
    assert read_rows(root, known.test, known, with_target=False)["row_id"].tolist() == ["1", "2"]


@pytest.mark.parametrize("reader", ["arrays", "json"])
def test_pixels_are_written_as_they_are(reader: str, root: Path) -> None:
    files, train, _, _ = LAYOUTS[reader]
    plant(root, files)
    known = facts({"reader": reader, **train})
    frame = read_rows(root, known.train, known, with_target=True)
    for image, pixels in zip(frame["image"], PIXELS, strict=True):
        np.testing.assert_array_equal(read_picture(root, image), pixels)


def test_pictures_are_written_anew_where_the_file_is_another_of_the_same_size(root: Path) -> None:
    files, train, _, _ = LAYOUTS["bson"]
    plant(root, files)
    known = facts({"reader": "bson", **train})
    before = read_rows(root, known.train, known, with_target=True)["image"].tolist()
    assert read_rows(root, known.train, known, with_target=True)["image"].tolist() == before
    (name,) = files
    content = (root / name).read_bytes()
    (root / name).write_bytes(content.replace(png(2), png(2)[:-1] + b"\0"))
    after = read_rows(root, known.train, known, with_target=True)["image"].tolist()
    assert not set(after) & set(before)
    assert (root / after[1]).read_bytes() != (root / before[1]).read_bytes()


def test_cifar_colours_are_right(root: Path) -> None:
    files, train, _, _ = LAYOUTS["cifar"]
    plant(root, files)
    known = facts({"reader": "cifar", **train})
    image = read_rows(root, known.train, known, with_target=True)["image"][2]
    np.testing.assert_array_equal(read_picture(root, image), CIFAR[2].transpose(1, 2, 0))


def test_a_pickle_that_would_act_is_refused(root: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (root / "touched",))

    plant(root, {"data_batch_1": pickle.dumps({"data": Evil()})})
    known = facts({"reader": "cifar", "file": "data_batch_1", "target": "label"})
    with pytest.raises(FoldlineError, match="refused"):
        read_rows(root, known.train, known, with_target=True)
    assert not (root / "touched").exists()


def test_bson_pictures_keep_their_bytes(root: Path) -> None:
    files, train, _, _ = LAYOUTS["bson"]
    plant(root, files)
    known = facts({"reader": "bson", **train})
    frame = read_rows(root, known.train, known, with_target=True)
    assert [(root / image).read_bytes() for image in frame["image"]] == [png(1), png(2), png(3)]
    assert frame["entity"].tolist() == ["5", "5", "6"]


def test_pixels_in_many_columns_and_in_one_text_cell(root: Path) -> None:
    wide = "label," + ",".join(f"pixel{i}" for i in range(12)) + "\n"
    wide += "a," + ",".join(map(str, range(12))) + "\nb," + ",".join(map(str, range(12, 24))) + "\n"
    plant(root, {"wide.csv": wide, "text.csv": f"label,pixels\na,{' '.join(map(str, range(12)))}\n"})
    for file, column, shape in (("wide.csv", "pixel*", (2, 2, 3)), ("text.csv", "pixels", (3, 4, 1))):
        pixels = {"columns": [column], "height_width": shape[:2], "channels": shape[2]}
        known = facts({"file": file, "row_id": "label", "target": "label", "pixels": pixels})
        frame = read_rows(root, known.train, known, with_target=True)
        expected = np.arange(12, dtype=np.uint8).reshape(shape).squeeze()
        np.testing.assert_array_equal(read_picture(root, frame["image"][0]), expected)


def test_float_bands_are_scaled_and_stacked(root: Path) -> None:
    records = [{"id": "x", "b1": [-45.0, 0.0], "b2": [35.0, -5.0], "y": "1"}]
    plant(root, {"t.json": json.dumps(records)})
    pixels = {"columns": ["b1", "b2"], "height_width": [1, 2], "range": [-45, 35]}
    known = facts({"reader": "json", "file": "t.json", "row_id": "id", "target": "y", "pixels": pixels})
    image = read_rows(root, known.train, known, with_target=True)["image"][0]
    assert read_picture(root, image).tolist() == [[[0, 255], [143, 128]]]


def test_pixels_out_of_range_say_what_to_set(root: Path) -> None:
    plant(root, {"t.json": json.dumps([{"id": "x", "b": [-1.5, 300.0], "y": "1"}])})
    pixels = {"columns": ["b"], "height_width": [1, 2]}
    known = facts({"reader": "json", "file": "t.json", "row_id": "id", "target": "y", "pixels": pixels})
    with pytest.raises(FoldlineError) as caught:
        read_rows(root, known.train, known, with_target=True)
    assert "pixels.range" in caught.value.next
    assert not list(root.rglob("*.part"))


@pytest.mark.parametrize(
    ("numbers", "range_", "words"),
    [
        ("NaN 7", None, "the numbers run from 7 to 7, 1 of 2 are NaN or infinite"),
        ("NaN inf", None, "no pixel is a finite number"),
        ("NaN inf", [0, 1], "no pixel is a finite number"),
    ],
)
def test_pixels_that_are_no_numbers(root: Path, numbers: str, range_: Any, words: str) -> None:
    plant(root, {"t.csv": f"id,b,y\nx,{numbers},1\n"})
    pixels = {"columns": ["b"], "height_width": [1, 2]} | ({"range": range_} if range_ else {})
    known = facts({"file": "t.csv", "row_id": "id", "target": "y", "pixels": pixels})
    with pytest.raises(FoldlineError, match=words) as caught:
        read_rows(root, known.train, known, with_target=True)
    assert caught.value.where.endswith("pixels, line 1")


def test_a_test_file_of_coco_has_no_annotations(root: Path) -> None:
    plant(root, {"test.json": json.dumps({"images": COCO["images"], "categories": []}), **PICTURES})
    rows = RowFacts.model_validate({"reader": "coco", "file": "test.json", "row_id": "id", "image": "file_name"})
    frame = read_rows(root, rows, facts({"target": "x"}), with_target=False)
    assert frame["row_id"].tolist() == ["0", "1", "2", "3"]


def test_arrays_inside_an_npz(root: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, train_images=PIXELS, train_labels=np.array([[0], [1], [0], [1]]))
    plant(root, {"toy.npz": buffer.getvalue(), "objects.npy": pickle.dumps([1])})
    train = {"reader": "arrays", "file": "toy.npz:train_images", "labels": "toy.npz:train_labels", "row_id": "index"}
    known = facts({**train, "target": "label"})
    assert read_rows(root, known.train, known, with_target=True)["target"].tolist() == ["0", "1", "0", "1"]
    with pytest.raises(FoldlineError, match="no array 'x'") as caught:
        read_rows(root, facts({**train, "file": "toy.npz:x", "target": "y"}).train, known, with_target=True)
    assert "train_images" in caught.value.next
    for content in (pickle.dumps([1]), npy(np.array([{}], dtype=object))):
        (root / "objects.npy").write_bytes(content)
        bad = RowFacts.model_validate({**train, "file": "objects.npy"})
        with pytest.raises(FoldlineError):
            read_rows(root, bad, known, with_target=False)


def test_a_coco_id_of_two_categories_is_refused_and_of_one_said_twice_is_not(root: Path) -> None:
    known = facts({"reader": "coco", **LAYOUTS["coco"][1]})
    cat = {"id": 0, "name": "cat", "family": "felidae"}
    kinds: Any = COCO["categories"]
    plant(root, {**PICTURES, "m.json": json.dumps({**COCO, "categories": [*kinds, cat]})})
    assert read_rows(root, known.train, known, with_target=True)["target"].tolist() == ["cat", "dog", "cat", "dog"]
    plant(root, {"m.json": json.dumps({**COCO, "categories": [*kinds, {**cat, "name": "lynx"}]})})
    with pytest.raises(FoldlineError, match="1 id stands for several categories: 0"):
        read_rows(root, known.train, known, with_target=True)
