"""Raw labels of every task become label columns."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, task_from
from foldline.readers import class_names, find_outputs, read_rows
from readers.layouts import facts, plant

# task, further facts, the target's facts, the table (without ids), the label columns, the outputs
CASES: dict[str, tuple[str, dict[str, Any], Any, str, dict[str, list[str]], list[str]]] = {
    "plain": ("binary", {}, "y", "y\n1\n0\n1", {"target": ["1", "0", "1"]}, ["0", "1"]),
    "ten classes": ("multiclass", {}, "y", "y\n10\n9\n1", {"target": ["10", "9", "1"]}, ["1", "9", "10"]),
    "named": (
        "binary",
        {"classes": ["fine", "ill"]},
        {"column": "y", "names": {"0": "fine", "1": "ill"}},
        "y\n1\n0\n0",
        {"target": ["ill", "fine", "fine"]},
        ["fine", "ill"],
    ),
    "threshold": (
        "binary",
        {"classes": ["no", "yes"]},
        {"column": "p", "thresholds": [0.5]},
        "p\n0.3333333333333333\n0.5\n1.0",
        {"target": ["no", "yes", "yes"]},
        ["no", "yes"],
    ),
    "template": (
        "multiclass",
        {},
        "{a}-{b}",
        "a,b\nx,1\ny,1\nx,2",
        {"target": ["x-1", "y-1", "x-2"]},
        ["x-1", "x-2", "y-1"],
    ),
    "one-hot": (
        "multiclass",
        {"classes": ["rust", "scab", "none"]},
        {"columns": ["none", "rust", "scab"]},
        "none,rust,scab\n0,1,0\n0,0,1\n1.0,0.0,0.0",
        {"target": ["rust", "scab", "none"]},
        ["rust", "scab", "none"],
    ),
    "multi-label columns": (
        "multilabel",
        {},
        {"columns": ["b", "a"], "names": {"b": "bee"}},
        "a,b\nTrue,0\nfalse,1\n0,0",
        {"target_bee": ["0", "1", "0"], "target_a": ["1", "0", "0"]},
        ["bee", "a"],
    ),
    "separated": (
        "multilabel",
        {},
        {"column": "y", "separator": " ", "names": {"s": "scab"}},
        'y\nrust s\n""\ns',
        {"target_rust": ["1", "0", "0"], "target_scab": ["1", "0", "1"]},
        ["rust", "scab"],
    ),
    "separated and listed": (
        "multilabel",
        {"classes": ["c", "a"]},
        {"column": "y", "separator": "|"},
        "y\na | c\nc\na",
        {"target_c": ["1", "1", "0"], "target_a": ["1", "0", "1"]},
        ["c", "a"],
    ),
    "votes": (
        "soft",
        {},
        {"columns": ["seizure_vote", "other_vote"], "names": {"seizure_vote": "seizure", "other_vote": "other"}},
        "seizure_vote,other_vote\n3,1\n0,2\n1,0",
        {"target_seizure": ["3", "0", "1"], "target_other": ["1", "2", "0"]},
        ["seizure", "other"],
    ),
    "number": ("regression", {}, "y", "y\n1e-3\n-2\n3.50", {"target": ["1e-3", "-2", "3.50"]}, [""]),
    "numbers": (
        "regression",
        {},
        {"columns": ["x", "y"]},
        "x,y\n1,2\n3,4\n5,6",
        {"target_x": ["1", "3", "5"], "target_y": ["2", "4", "6"]},
        ["x", "y"],
    ),
    "ordinal": ("ordinal", {}, "y", "y\n2\n0\n1", {"target": ["2", "0", "1"]}, ["0", "1", "2"]),
}


def table(root: Path, text: str) -> Path:
    head, *lines = text.split("\n")
    content = "\n".join([f"id,{head}", *[f"r{i},{line}" for i, line in enumerate(lines)]])
    return plant(root, {"t.csv": content + "\n", **{f"r{i}.png": "" for i in range(len(lines))}})


def read(root: Path, task: Any, more: dict[str, Any], target: Any) -> tuple[pd.DataFrame, list[str]]:
    known = facts({"file": "t.csv", "row_id": "id", "image": "{id}.png", "target": target}, task, **more)
    frame = read_rows(root, known.train, known, with_target=True)
    return frame, find_outputs(frame, known)


@pytest.mark.parametrize("case", CASES)
def test_labels_become_columns_that_the_tasks_understand(case: str, tmp_path: Path) -> None:
    task, more, target, text, columns, outputs = CASES[case]
    frame, found = read(table(tmp_path, text), task, more, target)
    assert {name: frame[name].tolist() for name in frame.columns[2:]} == columns
    assert list(frame.columns[2:]) == list(columns)
    assert found == outputs
    TASKS[task].truth(frame, found, where="test")


def test_a_long_table_becomes_a_column_for_each_class(tmp_path: Path) -> None:
    lines = [f"r{row}_{name},{int(name == kind)}" for name in ("any", "sub") for row, kind in enumerate(("sub", "any"))]
    plant(tmp_path, {"t.csv": "ID,Label\n" + "\n".join(lines) + "\n", "r0.png": "", "r1.png": ""})
    train: dict[str, Any] = {"file": "t.csv", "extract": {"ID": "{id}_{kind}"}, "row_id": "id", "image": "{id}.png"}
    train["target"] = {"column": "Label", "per": "kind"}
    known = facts(train, "multilabel")
    frame = read_rows(tmp_path, known.train, known, with_target=True)
    assert frame.to_numpy().tolist() == [["r0", "r0.png", "0", "1"], ["r1", "r1.png", "1", "0"]]
    assert frame.columns[2:].tolist() == ["target_any", "target_sub"]
    plant(tmp_path, {"t.csv": "ID,Label\n" + "\n".join(lines[:-1]) + "\n"})
    with pytest.raises(FoldlineError, match="no line for one of the classes: r1"):
        read_rows(tmp_path, known.train, known, with_target=True)


@pytest.mark.parametrize("name", ["names.json", "names.csv"])
def test_class_names_from_a_file(name: str, tmp_path: Path) -> None:
    names = {"0": "Bacterial Blight", "1": "Healthy"}
    content = json.dumps(names) if name.endswith("json") else "label,name\n0,Bacterial Blight\n1,Healthy\n"
    plant(table(tmp_path, "y\n1\n0\n1"), {name: content})
    frame, outputs = read(tmp_path, "binary", {}, {"column": "y", "names_file": name})
    assert frame["target"].tolist() == ["Healthy", "Bacterial Blight", "Healthy"]
    assert outputs == ["Bacterial Blight", "Healthy"]
    known = facts({"target": {"column": "y", "names_file": name}})
    assert class_names(tmp_path, known) == names


BAD: dict[str, tuple[str, dict[str, Any], Any, str, str]] = {
    "an empty label": ("binary", {}, "y", 'y\n1\n""\n0', "1 row has no label: r1"),
    "an unknown class": ("binary", {"classes": ["0", "1"]}, "y", "y\n1\n0\n2", "none of 0, 1: r2"),
    "a word for a number": ("regression", {}, "y", "y\n1\none\n2", "no finite number: r1"),
    "an infinite number": (
        "regression",
        {},
        "y",
        "y\n1\n2\n-inf",
        "1 row has a label that is no finite number: r2\n.*: target",
    ),
    "a number that float32 lacks": ("regression", {}, "y", "y\n1e39\n2\n3", "no finite number: r0"),
    "one infinite share": ("soft", {}, {"columns": ["a", "b"]}, "a,b\n1,0\n0,inf", "no finite number: r1"),
    "a missing number": ("regression", {}, "y", "y\n1\nna\n2", "1 row has no label: r1"),
    "numbers missing in two rows": (
        "regression",
        {},
        {"columns": ["x", "y"]},
        "x,y\n1,\n2,3\n,NaN",
        r"2 rows have not all of their 2 labels \(1 of them none at all\): r0, r2",
    ),
    "several targets with classes each": (
        "multiclass",
        {},
        {"columns": ["root", "vowel"]},
        "root,vowel\n168,0\n7,1\n0,11",
        r"root \(3 classes\), vowel \(3 classes\) hold classes each",
    ),
    "uncertain labels": ("multilabel", {}, {"columns": ["a", "b"]}, "a,b\n1,0\n0,-1\n-1,1", "neither 0 nor 1: r1, r2"),
    "no number to compare": (
        "binary",
        {},
        {"column": "y", "thresholds": [0.5]},
        "y\n1\nlow\n2",
        "no finite number: r1",
    ),
    "no finite number to compare": (
        "binary",
        {},
        {"column": "y", "thresholds": [0.5]},
        "y\n1\ninf\n2",
        "no finite number: r1",
    ),
    "an infinite flag": ("multilabel", {}, {"columns": ["a", "b"]}, "a,b\n1,0\ninf,1", "neither 0 nor 1: r1"),
    "one of several flags missing": (
        "multilabel",
        {},
        {"columns": ["a", "b"]},
        "a,b\n1,0\n,1\n1,NaN",
        r"2 rows have not all of their 2 labels \(0 of them none at all\): r1, r2",
    ),
    "two classes of one row": ("multiclass", {}, {"columns": ["a", "b"]}, "a,b\n1,1\n0,1", "not exactly one class: r0"),
    "neither 0 nor 1": ("multilabel", {}, {"columns": ["a", "b"]}, "a,b\n1,2\n0,1", "neither 0 nor 1: r0"),
    "an unknown label of a set": (
        "multilabel",
        {"classes": ["a"]},
        {"column": "y", "separator": " "},
        "y\na\na b",
        "none of a: r1",
    ),
    "a class without a column": (
        "multilabel",
        {"classes": ["a", "z"]},
        {"columns": ["a"]},
        "a\n1",
        "no target column for the classes z",
    ),
    "too many thresholds": (
        "binary",
        {"classes": ["a", "b"]},
        {"column": "y", "thresholds": [1, 2]},
        "y\n1",
        "3 classes",
    ),
    "three classes of two": ("binary", {}, "y", "y\n1\n0\n2", "a binary task has two classes"),
    "one class": ("multiclass", {}, "y", "y\n1\n1", "one class only"),
    "words without an order": ("ordinal", {}, "y", "y\nlow\nhigh", "needs the order"),
    "soft labels in one cell": ("soft", {}, "y", "y\n1\n0", "target.columns"),
    "no such column": ("binary", {}, "z", "y\n1\n0", "'z' is no column"),
}


@pytest.mark.parametrize("case", BAD)
def test_labels_that_cannot_be_used_are_refused_with_their_ids(case: str, tmp_path: Path) -> None:
    task, more, target, text, words = BAD[case]
    with pytest.raises(FoldlineError, match=words):
        read(table(tmp_path, text), task, more, target)


@pytest.mark.parametrize(
    ("task", "target", "text", "whole"),
    [
        (TASKS["regression"], {"columns": ["x", "y"]}, "x,y\n1,\n2,3\n,NaN\n4,5", ["r1", "r3"]),
        (TASKS["regression"], "y", "y\n1\n\n3", ["r0", "r2"]),
        (TASKS["binary"], "y", "y\n1\n\n0\nNA", ["r0", "r2", "r3"]),  # a class may be called NA
        (TASKS["multilabel"], {"columns": ["a", "b"]}, "a,b\n1,0\n,1\n0,1", ["r0", "r2"]),
    ],
)
def test_rows_without_all_labels_are_dropped_and_reported(
    task: str, target: Any, text: str, whole: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = table(tmp_path, text)
    train = {"file": "t.csv", "row_id": "id", "image": "{id}.png", "target": target, "metadata": ["id"]}
    known = facts({**train, "missing_targets": "drop"}, task)
    frame = read_rows(root, known.train, known, with_target=True)
    assert frame["row_id"].tolist() == whole
    assert frame["id"].tolist() == whole
    assert frame["image"].tolist() == [f"{name}.png" for name in whole]
    dropped = len(text.split("\n")) - 1 - len(whole)
    assert f"{dropped} of {dropped + len(whole)} rows have no" in capsys.readouterr().out


def test_a_long_table_with_missing_lines_loses_the_rows_that_lack_one(tmp_path: Path) -> None:
    plant(tmp_path, {"t.csv": "id,kind,n\na,x,1\na,y,2\nb,x,3\n", "a.png": "", "b.png": ""})
    train: dict[str, Any] = {"file": "t.csv", "row_id": "id", "image": "{id}.png", "missing_targets": "drop"}
    known = facts({**train, "target": {"column": "n", "per": "kind"}}, "regression")
    frame = read_rows(tmp_path, known.train, known, with_target=True)
    assert frame.to_numpy().tolist() == [["a", "a.png", "1", "2"]]


KINDS = {"size": "ordinal", "site": "multiclass", "kg": "regression"}
SEVERAL = "size,site,kg\nsmall,10,1.5\nlarge,9,2\nsmall,9,-1"
SIZES = ["size=small", "size=large"]


@pytest.mark.parametrize("target", [None, {"columns": ["size", "site", "kg"]}])
def test_several_targets_have_a_column_each(target: Any, tmp_path: Path) -> None:
    frame, outputs = read(table(tmp_path, SEVERAL), KINDS, {"classes": SIZES, "metric": "accuracy(size)"}, target)
    assert frame.columns[2:].tolist() == ["target_size", "target_site", "target_kg"]
    assert outputs == [*SIZES, "site=9", "site=10", "kg="]
    truth = task_from(KINDS).truth(frame, outputs, where="test")
    assert truth.tolist() == [[0, 1, 1.5], [1, 0, 2], [0, 0, -1]]


@pytest.mark.parametrize(
    ("classes", "target", "text", "words"),
    [
        ([], None, SEVERAL, r"needs the order of its classes"),
        (SIZES, {"columns": ["size", "kg"]}, SEVERAL, "a column each: target.columns, in the order size, site, kg"),
        (SIZES, {"column": "size"}, SEVERAL, "a column each"),
        (SIZES, {"columns": ["size", "site", "lb"]}, SEVERAL, "'lb' is no column"),
        (SIZES, None, SEVERAL.replace("large", "huge"), "none of small, large: r1"),
        (SIZES, None, SEVERAL.replace("-1", "?"), "a label that is no finite number: r2"),
        (SIZES, None, SEVERAL.replace("-1", "inf"), "a label that is no finite number: r2"),
        (SIZES, None, SEVERAL.replace("-1", "na"), "not all of their 3 labels"),
        (SIZES, None, SEVERAL.replace(",10,", ",9,"), "one class only: 9"),
    ],
)
def test_several_targets_that_cannot_be_read_are_refused(
    classes: list[str], target: Any, text: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(FoldlineError, match=words) as caught:
        read(table(tmp_path, text), KINDS, {"classes": classes or None, "metric": "accuracy(size)"}, target)
    assert "classes: [size=large, size=small]" in caught.value.next or "order of its" not in words


def test_classes_that_would_share_a_column_are_refused(tmp_path: Path) -> None:
    names = {"a": "multiclass", "a_b": "multiclass"}
    with pytest.raises(FoldlineError, match="two classes would share the column prob_a_b_c"):
        read(table(tmp_path, "a,a_b\nb_c,c\nd,e"), names, {"metric": "accuracy(a)"}, None)


def labels(root: Path, cells: list[str], task: str = "multiclass", target: Any = "y", **more: Any) -> list[str]:
    """The label of each row, for a table of these cells."""
    train = {"file": "t.csv", "row_id": "id", "image": "{id}.png", "target": target, **more.pop("train", {})}
    plant(root, {"t.csv": "id,y\n" + "".join(f'{i},"{cell}"\n' for i, cell in enumerate(cells))})
    plant(root, {f"{i}.png": "" for i in range(len(cells))})
    known = facts(train, task, **more)
    return read_rows(root, known.train, known, with_target=True).iloc[:, 2:].to_numpy().ravel().tolist()


@pytest.mark.parametrize(
    ("cells", "more", "expected", "words"),
    [
        (["cat", "cat ", " dog"], {}, ["cat", "cat", "dog"], "'cat ' -> 'cat' (1 row), ' dog' -> 'dog' (1 row)"),
        (["1", "1.0", "2"], {}, ["1", "1", "2"], "'1.0' -> '1' (1 row)"),
        (["1.0", "2.0", "1.0"], {}, ["1.0", "2.0", "1.0"], ""),
        (["1.0", "2.0"], {"classes": ["1", "2"]}, ["1", "2"], "'1.0' -> '1' (1 row), '2.0' -> '2' (1 row)"),
        (["1.0", "2"], {"target": {"column": "y", "names": {"1": "a"}}}, ["a", "2"], "'1.0' -> '1' (1 row)"),
        (["caf\u00e9", "cafe\u0301"], {}, ["caf\u00e9"] * 2, "'cafe\\u0301' -> 'caf\u00e9' (1 row)"),
        (["Cat", "cat", "NA"], {}, ["Cat", "cat", "NA"], ""),
    ],
)
def test_spellings_of_one_label(
    cells: list[str], more: Any, expected: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert labels(tmp_path / "toy", cells, **more) == expected
    said = f"configs/toy/competition.yaml: labels are read without blanks and in one spelling: {words}\n"
    assert capsys.readouterr().out == (said if words else "")


def test_a_separator_means_its_characters(tmp_path: Path) -> None:
    cells = ["Pleural Thickening | Mass", "Mass", "No|Finding"]
    labels(tmp_path, cells, "multilabel", target={"column": "y", "separator": " | "})
    known = facts({"file": "t.csv", "row_id": "id", "image": "{id}.png", "target": {"column": "y", "separator": " | "}},
                  "multilabel")  # fmt: skip
    frame = read_rows(tmp_path, known.train, known, with_target=True)
    assert frame.columns[2:].tolist() == ["target_Mass", "target_No|Finding", "target_Pleural Thickening"]
    assert frame["target_Mass"].tolist() == ["1", "1", "0"]


@pytest.mark.parametrize("word", ["", "NA", " none ", "<NA>"])
def test_one_list_of_words_for_a_missing_number_or_flag(word: str, tmp_path: Path) -> None:
    drop = {"missing_targets": "drop"}
    assert labels(tmp_path / "a", ["1.5", word], "regression", train=drop) == ["1.5"]
    threshold = {"column": "y", "thresholds": [1]}
    assert labels(tmp_path / "b", ["2", word], "binary", threshold, train=drop, classes=["n", "y"]) == ["y"]
    assert labels(tmp_path / "c", ["1", word], "multilabel", {"columns": ["y"]}, train=drop) == ["1"]
