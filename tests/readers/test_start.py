"""A first look at pictures: what is the label, the test set, a group, a copy; and what is asked where nothing tells."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.yaml_models import parse_yaml
from foldline.readers import find_outputs, read_rows
from foldline.readers.start.look import look
from foldline.readers.start.paths import UnclearLabelError
from foldline.readers.start.tables import _is_measured
from foldline.readers.start.understood import facts_text

PNG = b"\x89PNG\r\n\x1a\n"


def write(root: Path, *names: str) -> None:
    """Files that begin like pictures, each with another content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode() + bytes(200))


def folders(*classes: str, rows: int = 6, before: str = "", after: str = "", name: str = "{}.png") -> list[str]:
    return [f"{before}{one}/{after}{name.format(i)}" for one in classes for i in range(rows)]


# what lies there, --label -> rows of each class by the facts that are written, and what they say besides
LAYOUTS: dict[str, tuple[list[str], str, dict[str, int], dict[str, Any]]] = {
    "class folders": (folders("a", "b", "c"), "", {"a": 6, "b": 6, "c": 6}, {"task": "multiclass", "k": 4}),
    "endings and blanks": (folders("Größe 1", "Größe 2", name="B {}.JPG"), "", {"Größe 1": 6, "Größe 2": 6}, {}),
    "no and yes": (folders("yes", "no"), "", {"no": 6, "yes": 6}, {"classes": ["no", "yes"]}),
    "healthy is negative": (folders("healthy", "ill"), "", {"healthy": 6, "ill": 6}, {"classes": ["healthy", "ill"]}),
    "well is negative": (folders("sick", "well"), "", {"sick": 6, "well": 6}, {"classes": ["well", "sick"]}),
    "numbers": (folders("1", "2", "10", rows=5), "", {"1": 5, "2": 5, "10": 5}, {"task": "multiclass"}),
    "train and test": (
        [*folders("a", "b", before="train/"), *folders("a", "b", before="test/", rows=2)],
        "",
        {"a": 6, "b": 6},
        {"test": 4, "holdout": None},
    ),
    "train and val": (
        [*folders("a", "b", before="x/train/"), *folders("a", "b", before="x/val/", rows=3)],
        "",
        {"a": 6, "b": 6},
        {"test": 6},
    ),
    "train, val, and a test without labels": (
        [
            *folders("a", "b", before="train/"),
            *folders("a", "b", before="valid/", rows=2, name="v{}.png"),
            "test/1.png",
        ],
        "",
        {"a": 8, "b": 8},
        {"test": None},
    ),
    "a folder above and one below": (folders("a", "b", before="data/pics/", after="images/"), "", {"a": 6, "b": 6}, {}),
    "first of nested": (folders("x/1", "x/2", "y/1", "y/2", rows=3), "first-folder", {"x": 6, "y": 6}, {}),
    "last of nested": (folders("x/1", "x/2", "y/1", "y/2", rows=3), "last-folder", {"1": 6, "2": 6}, {}),
    "depths differ": ([*folders("a", "b"), *folders("a", "b", after="more/")], "", {"a": 12, "b": 12}, {}),
    "file names": ([f"{'cat' if i % 2 else 'dog'}_{i:03}.jpg" for i in range(20)], "", {"cat": 10, "dog": 10}, {}),
    "file names behind": (
        [f"{i:03}-{'cat' if i % 2 else 'dog'}.jpg" for i in range(20)],
        "",
        {"cat": 10, "dog": 10},
        {},
    ),
    "a pattern": ([f"{i:03}x{'AB'[i % 2]}9.jpg" for i in range(20)], "*x{label:[A-Z]}9.jpg", {"A": 10, "B": 10}, {}),
    "patients": (
        [f"{'ab'[p % 2]}/patient_{p:03}_{view}.png" for p in range(10) for view in "lr"],
        "",
        {"a": 10, "b": 10},
        {"groups": 10},
    ),
    "views of a number": (
        [f"{'ab'[p % 2]}/{p:04}-{view}.png" for p in range(10) for view in (1, 2)],
        "",
        {"a": 10, "b": 10},
        {"groups": 10},
    ),
    "numbers of each class are no groups": (folders("a", "b", name="img_{}.png"), "", {"a": 6, "b": 6}, {"groups": 0}),
    "a class called train": (folders("train", "plane", "car"), "", {"train": 6, "plane": 6, "car": 6}, {}),
    "blanks around a class": (folders("a ", "b"), "", {"a": 6, "b": 6}, {}),
    "slices of a patient": (
        [f"{'ab'[p % 2]}/P{p:03}c_Slice{n:04}.png" for p in range(10) for n in range(2)],
        "",
        {"a": 10, "b": 10},
        {"groups": 10},
    ),
    "Patients with a capital": (
        [f"{'ab'[p % 2]}/Patient{p}-day-{n:05}.png" for p in range(10) for n in range(2)],
        "",
        {"a": 10, "b": 10},
        {"groups": 10},
    ),
    "patients in folders": (
        [f"{'ab'[p % 2]}/p{p}/{i}.png" for p in range(12) for i in range(2)],
        "first-folder",
        {"a": 12, "b": 12},
        {"groups": 12},
    ),
}


def read_back(root: Path, label: str) -> tuple[Competition, Any]:
    """The facts that the look gives, written and read as YAML, and the training rows by them."""
    text = facts_text(
        look(root, label).found, title="t", source={"kind": "folder", "name": str(root)}, remark="", confirmed=False
    )
    facts = Competition.parse(parse_yaml(text, where=""), where="")
    return facts, read_rows(root, facts.train, facts, with_target=True)


@pytest.mark.parametrize("case", LAYOUTS)
def test_the_facts_read_the_rows_that_were_understood(case: str, tmp_path: Path) -> None:
    names, label, counts, more = LAYOUTS[case]
    write(tmp_path / "pics", *names)
    facts, frame = read_back(tmp_path / "pics", label)
    assert dict(Counter(frame["target"])) == counts
    assert sorted(find_outputs(frame, facts)) == sorted(counts)
    if "classes" in more:
        assert facts.classes == more["classes"]
    if more.get("test"):
        assert facts.test is not None
        assert len(read_rows(tmp_path / "pics", facts.test, facts, with_target=True)) == more["test"]
    else:
        assert facts.holdout is not None
    if "groups" in more:
        assert ("group" in frame.columns and frame["group"].nunique()) == more["groups"]
    assert facts.folds.k == more.get("k", facts.folds.k)
    assert str(facts.task) == more.get("task", str(facts.task))


CSV: dict[str, tuple[str, list[str], str, dict[str, Any]]] = {
    "ids keep their zeros": (
        "id,label\n", [f"{i:03},{'yn'[i % 2]}" for i in range(20)], "", {"task": "binary", "row": "img/003.png"},
    ),
    "a semicolon and a patient": (
        "image;patient_id;class\n", [f"{i:03}.png;{i // 2};{1 + i % 3}" for i in range(30)], "",
        {"task": "multiclass", "groups": 15},
    ),
    "a number": ("file,age\n", [f"img/{i:03}.png,{20 + i / 2}" for i in range(20)], "", {"task": "regression"}),
    "whole numbers of many values": (
        "file,age\n", [f"{i:03},{20 + i * 7 % 61}" for i in range(60)], "", {"task": "regression"},
    ),
    "missing labels": (
        "file,label,x\n",
        [f"{i:03},{'' if i < 3 else 'ab'[i % 2]},5" for i in range(20)],
        "",
        {"task": "binary", "rows": 17},
    ),
    "several labels a cell": (
        "file,tags\n", [f"{i:03},{('sun rain', 'sun', 'rain fog', 'fog')[i % 4]}" for i in range(20)], "",
        {"task": "multilabel"},
    ),
    "columns of flags": (
        "file,sun,rain\n", [f"{i:03},{i % 2},{int(i % 3 == 0)}" for i in range(20)], "", {"task": "multilabel"},
    ),
    "one of several columns": (
        "file,sex,age\n", [f"{i:03},{'fm'[i % 2]},{i * 1.5}" for i in range(20)], "sex", {"task": "binary"},
    ),
    "train and test in a column": (
        "file,split,cls\n", [f"{i:03},{'test' if i % 4 == 0 else 'train'},{'ab'[i % 2]}" for i in range(40)], "cls",
        {"rows": 30, "test": 10},
    ),
    "full paths of another machine": (
        "file,label\n", [f"C:\\my\\{i:03}.png,{'ab'[i % 2]}" for i in range(20)], "",
        {"task": "binary", "row": "003.png"},
    ),
    "some with folders, some with blanks": (
        "file,label\n", [f"{('/my/', '')[i % 2]}{i:03}.png ,{'ab'[i % 2]} " for i in range(20)], "",
        {"task": "binary", "row": "003.png"},
    ),
    "words for no label": (
        "file,label\n", [f"{i:03},{('a', 'b', 'nan', 'NA', '')[i % 5]}" for i in range(40)], "",
        {"task": "binary", "rows": 16},
    ),
    "sets of labels, and none": (
        "file,tags\n",
        [f"{i:03},{('sun rain', 'sun', '', 'fog rain', 'none', 'fog', 'rain')[i % 7]}" for i in range(42)], "",
        {"task": "multilabel", "rows": 36},
    ),
    "a picture named twice": ("file,label\n", [f"{i % 20:03},{'ab'[i % 2]}" for i in range(24)], "", {"rows": 20}),
}  # fmt: skip


@pytest.mark.parametrize("case", CSV)
def test_a_table_that_names_pictures(case: str, tmp_path: Path) -> None:
    header, lines, label, more = CSV[case]
    write(tmp_path / "pics", *(f"img/{i:03}.png" for i in range(60)))
    (tmp_path / "pics" / "labels.csv").write_text(header + "\n".join(lines) + "\n")
    for place in (tmp_path / "pics", tmp_path / "pics" / "labels.csv"):
        assert look(place, label).root == tmp_path / "pics"
    facts, frame = read_back(tmp_path / "pics", label)
    assert str(facts.task) == more.get("task", str(facts.task))
    assert len(frame) == more.get("rows", len(lines))
    assert more.get("row", frame["row_id"].iloc[0]) in set(frame["row_id"])
    if "groups" in more:
        assert frame["group"].nunique() == more["groups"]
    if "test" in more:
        assert facts.test is not None
        assert len(read_rows(tmp_path / "pics", facts.test, facts, with_target=True)) == more["test"]


@pytest.mark.parametrize(
    ("names", "table", "words"),
    [
        (folders("x/1", "x/2", "y/1", "y/2"), "", "either could be the class"),
        ([f"IMG_{i}.jpg" for i in range(20)], "", "nothing tells the classes"),
        (folders("a", "b", rows=4), "", "too few"),
        (["a.txt"], "", "no pictures"),
        (
            [f"{i}.png" for i in range(20)],
            "file,a,b\n" + "".join(f"{i},{i % 2},{i % 3}x\n" for i in range(20)),
            "could be",
        ),
        (folders("a", rows=20), "", "nothing tells the classes"),
        (
            folders("a", "b"),
            "file,camera\n" + "".join(f"{one}/{i},c{i % 2}\n" for i in range(6) for one in "ab"),
            "both",
        ),
        ([f"{i}.png" for i in range(20)], "".join(f"{i}.png,{i % 2}\n" for i in range(20)), "first line"),
        (
            [f"{i}.png" for i in range(20)],
            "file,a\n" + "".join(f"{i}.png,{i}x\n" for i in range(20)),
            "no column could",
        ),
        (
            folders("x", "y", rows=20),
            "file,label\n" + "".join(f"/m/{one}/{i}.png,{i % 2}\n" for i in range(20) for one in "xy"),
            "could mean several",
        ),
    ],
)
def test_what_nothing_tells_is_asked(names: list[str], table: str, words: str, tmp_path: Path) -> None:
    write(tmp_path / "pics", *names)
    if table:
        (tmp_path / "pics" / "labels.csv").write_text(table)
    with pytest.raises(FoldlineError, match=words) as raised:
        look(tmp_path / "pics", "")
    assert raised.value.next


def said_of(root: Path, label: str = "") -> str:
    found = look(root, label).found
    return "\n".join([*found.said, *found.guesses.values()])


def test_pictures_of_a_table_in_several_folders_are_all_found(tmp_path: Path) -> None:
    write(tmp_path / "pics", *(f"part_{i // 20}/{i:03}.png" for i in range(40)))
    (tmp_path / "pics" / "meta.csv").write_text("id,dx\n" + "".join(f"{i:03},{'ab'[i % 2]}\n" for i in range(40)))
    _, frame = read_back(tmp_path / "pics", "dx")
    assert len(frame) == 40
    assert set(frame["image"]) == {f"part_{i // 20}/{i:03}.png" for i in range(40)}


def test_what_a_table_leaves_out_is_said(tmp_path: Path) -> None:
    root = tmp_path / "pics"
    write(root, *folders("one", "two", rows=20, name="{:03}.png"), "one/more.png")
    (root / "labels.csv").write_text(
        "file,label,is_test\n" + "".join(f"{i:03}.png,{'ab'[i % 2]},{i % 3}\n" for i in range(20))
    )
    (root / "broken.csv").write_bytes("file,label\n000.png,Käfer\n".encode("latin-1"))
    words = said_of(root)
    for part in (
        "20 picture names lie in several folders (one/000.png, two/000.png)", "in 'one' are taken",
        "21 pictures that labels.csv does not name", "columns not used: 'is_test'",
        "broken.csv is not used: the table is not",
        "the folders are no classes here: one (21), two (20)",
    ):  # fmt: skip
        assert part in words, part


def test_labels_that_hardly_a_picture_has_are_said(tmp_path: Path) -> None:
    write(tmp_path / "pics", *(f"{i}.png" for i in range(20)))
    lines = "".join(f"{i}.png,{i % 2},0,{int(i == 3)}\n" for i in range(20))
    (tmp_path / "pics" / "labels.csv").write_text(f"file,sun,never,once\n{lines}")
    assert "fewer than 5 pictures: once (1), never (0)" in said_of(tmp_path / "pics", "sun,never,once")


def test_a_test_folder_of_other_classes_and_pictures_that_are_not_read_are_said(tmp_path: Path) -> None:
    root = tmp_path / "pics"
    write(root, *folders("a", "b", before="train/"), *folders("a", "d", before="test/", rows=2))
    (root / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    words = said_of(root)
    assert "classes that no training picture has: 'd'" in words
    assert "1 picture of a kind that is not read" in words
    write(tmp_path / "more", *folders("a", "b", "test"))
    assert "'test' is a class here" in said_of(tmp_path / "more")


def test_a_choice_says_what_the_classes_would_be(tmp_path: Path) -> None:
    write(tmp_path / "pics", *folders("x/1", "x/2", "y/1", "y/2"))
    with pytest.raises(UnclearLabelError) as raised:
        look(tmp_path / "pics", "")
    assert raised.value.choices == {
        "first-folder": "2 classes: x (12), y (12)",
        "last-folder": "2 classes: 1 (12), 2 (12)",
    }


def test_junk_broken_files_copies_and_rare_classes_are_said(tmp_path: Path) -> None:
    root = tmp_path / "pics"
    write(root, *folders("a", "b", rows=8), "c/1.png", "__MACOSX/a/._1.png", "a/.DS_Store", "a/Thumbs.db")
    (root / "b" / "broken.jpg").write_bytes(b"no picture")
    (root / "notes.txt").write_text("hello")
    (root / "a" / "copy.png").write_bytes((root / "a" / "0.png").read_bytes())
    (root / "b" / "copy.png").write_bytes((root / "a" / "1.png").read_bytes())
    found = look(root, "").found
    said = "\n".join(found.said)
    for words in (
        "3 classes, 19 pictures", "fewer than 5 pictures: c (1)", "a/0.png = a/copy.png", "a/1.png = b/copy.png; one",
        "holds none: b/broken.jpg", "1 other file not used: notes.txt", "1 in __MACOSX", "1 Thumbs.db",
    ):  # fmt: skip
        assert words in said, words
    assert found.facts["folds"]["group_duplicates"] is True
    assert found.facts["metric"] == "accuracy"


@pytest.mark.parametrize(("sites", "group", "k"), [(2, None, 5), (4, "site", 3), (10, "site", 5)])
def test_few_groups_make_few_folds_or_none(sites: int, group: str | None, k: int, tmp_path: Path) -> None:
    write(tmp_path / "pics", *(f"{i:03}.png" for i in range(60)))
    lines = [f"{i:03},{'ab'[i % 2]},s{i // 2 % sites}" for i in range(60)]
    (tmp_path / "pics" / "labels.csv").write_text("file,label,site\n" + "\n".join(lines) + "\n")
    found = look(tmp_path / "pics", "").found
    assert found.facts["train"].get("group") == group
    assert found.facts.get("folds", {}).get("k", 5) == k
    assert any("too few to be kept apart" in line for line in found.said) == (group is None)


def test_uneven_classes_get_another_metric_and_guesses_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "pics", *folders("a", rows=60), *folders("b", "c", "d"))
    found = look(tmp_path / "pics", "").found
    assert found.facts["metric"] == "balanced_accuracy"
    for confirmed in (True, False):
        text = facts_text(found, title="t", source={"kind": "placed"}, remark="", confirmed=confirmed)
        assert ("unconfirmed: [metric]" in text) != confirmed


def test_pictures_inside_a_parquet_table(tmp_path: Path) -> None:
    import pandas as pd

    cells = [{"bytes": PNG + bytes([i]), "path": None} for i in range(20)]
    (tmp_path / "pics").mkdir()
    pd.DataFrame({"image": cells, "label": [i % 2 for i in range(20)]}).to_parquet(tmp_path / "pics" / "train.parquet")
    facts, frame = read_back(tmp_path / "pics", "")
    assert facts.train.encoded == "image"
    assert dict(Counter(frame["target"])) == {"0": 10, "1": 10}


def test_a_number_that_is_always_the_same_is_refused(tmp_path: Path) -> None:
    write(tmp_path, *(f"{i}.png" for i in range(12)))
    (tmp_path / "t.csv").write_text("file,size,age\n" + "".join(f"{i}.png,7.5,{i}.5\n" for i in range(12)))
    assert look(tmp_path / "t.csv", "age").found.numbers
    with pytest.raises(FoldlineError, match=r"all 12 pictures have the number 7\.5"):
        look(tmp_path / "t.csv", "size")


def test_numbers_with_zeros_before_them_are_names() -> None:
    assert not _is_measured(pd.Series([f"{i:03d}" for i in range(40)]))
    assert _is_measured(pd.Series([str(3 * i) for i in range(40)]))
