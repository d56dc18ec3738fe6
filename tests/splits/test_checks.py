"""The checks let sound folds pass and stop every broken splitter: each rule has a negative control."""

from typing import Any

import pandas as pd
import pytest

from foldline.core.errors import FoldlineError
from foldline.core.task import TASKS, task_from
from foldline.splits.checks import check_folds, class_counts

NO_TEST = pd.DataFrame({"row_id": pd.Series(dtype=str), "image": pd.Series(dtype=str)})


def sound(rows: int = 60, groups: bool = False) -> pd.DataFrame:
    """Two classes, the second in every third row; folds dealt in turn inside each class."""
    target = ["b" if i % 3 == 0 else "a" for i in range(rows)]
    frame = pd.DataFrame({"row_id": [f"r{i}" for i in range(rows)], "image": [f"{i}.png" for i in range(rows)]})
    frame["target"] = target
    frame["fold"] = frame.groupby("target").cumcount() % 5
    if groups:
        frame["group"] = frame["row_id"] + "g"
    return frame


def check(frame: pd.DataFrame, test: pd.DataFrame = NO_TEST, **options: Any) -> list[str]:
    task, outputs = TASKS[options.pop("task", "binary")], options.pop("outputs", ["a", "b"])
    return check_folds(frame, test, task, outputs, 5, where="folds/x.csv", **{"hashes": {}, **options})


def test_sound_folds_pass_and_are_described() -> None:
    findings = check(sound(groups=True))
    assert findings[0] == "60 rows in 5 folds of 12 to 12 rows"
    assert "smallest class: 'b' with 20 rows" in findings
    assert "60 groups; the largest has 1 row" in findings
    assert not [line for line in findings if line.startswith("warning")]


def test_an_id_twice() -> None:
    frame = sound()
    frame.loc[7, "row_id"] = "r3"
    with pytest.raises(FoldlineError, match="1 id occurs more than once: r3"):
        check(frame)


def test_a_group_in_two_folds() -> None:
    frame = sound(groups=True)
    frame.loc[[0, 3], "group"] = "torn"
    assert frame["fold"][0] != frame["fold"][3]
    with pytest.raises(FoldlineError, match="1 group is in two folds: torn"):
        check(frame)


def test_an_empty_fold() -> None:
    frame = sound()
    frame.loc[frame["fold"] == 2, "fold"] = 1
    with pytest.raises(FoldlineError, match="fold 2 has no rows"):
        check(frame)


@pytest.mark.parametrize("fold", [-1, 5])
def test_a_fold_out_of_range(fold: int) -> None:
    frame = sound()
    frame.loc[0, "fold"] = fold
    with pytest.raises(FoldlineError, match=r"folds outside 0\.\.4"):
        check(frame)


def lacking() -> pd.DataFrame:
    frame = sound()
    frame.loc[(frame["target"] == "b") & (frame["fold"] == 3), "fold"] = 1
    return frame


def test_a_fold_without_a_class() -> None:
    with pytest.raises(FoldlineError, match=r"fold 3 lacks 'b' \(20 rows\)"):
        check(lacking())
    findings = check(lacking(), allow_missing_class=True)
    assert any("accepted by folds.allow_missing_class: fold 3 lacks 'b'" in line for line in findings)


def test_a_fold_without_a_multilabel_class() -> None:
    frame = lacking().rename(columns={"target": "target_b"})
    frame["target_b"] = (frame["target_b"] == "b").map({True: "1", False: "0"})
    with pytest.raises(FoldlineError, match="fold 3 lacks 'b'"):
        check(frame, task="multilabel", outputs=["b"])


def test_a_class_in_fewer_groups_than_folds_cannot_be_everywhere() -> None:
    """20 rows of class b, but all in 4 patients: no split into 5 has it everywhere. With 5 patients it is an error."""
    frame = sound(groups=True)
    rare = frame["target"] == "b"
    frame.loc[rare, "group"] = [f"p{i % 4}" for i in range(int(rare.sum()))]
    frame.loc[rare, "fold"] = frame.loc[rare, "group"].str[1:].astype(int)
    assert any("1 class has fewer groups than folds, so some folds lack them: b (4)" in line for line in check(frame))
    frame.loc[frame.index[rare][0], "group"] = "p9"
    with pytest.raises(FoldlineError, match=r"fold 4 lacks 'b' \(5 groups\)"):
        check(frame)


def test_a_class_rarer_than_k_is_reported() -> None:
    frame = sound()
    frame["target"] = ["b"] * 3 + ["a"] * 57
    frame["fold"] = [i % 5 for i in range(60)]
    assert "1 class has fewer rows than folds, so some folds lack them: b (3)" in check(frame)
    assert "1 class has no training rows at all: c" in check(frame, task="multiclass", outputs=["a", "b", "c"])


def test_a_soft_class_that_never_leads_has_rows_all_the_same() -> None:
    frame = sound().drop(columns="target").assign(target_a="0.6", target_b="0.4")
    found = check(frame, task="soft", outputs=["a", "b"])
    assert "1 class is the largest share of no training row: b" in found


def test_a_broken_label() -> None:
    frame = sound()
    frame.loc[4, "target"] = ""
    with pytest.raises(FoldlineError, match="a label that is empty or no known class: r4"):
        check(frame)


@pytest.mark.parametrize("column", ["row_id", "group"])
def test_a_holdout_shares_no_id_and_no_group(column: str) -> None:
    frame = sound(groups=True)
    test = pd.DataFrame({"row_id": ["t"], "image": ["t.png"], "group": ["tg"]})
    assert check(frame, test, held_out=True)
    test[column] = frame[column].tolist()[5]
    with pytest.raises(FoldlineError, match=f"1 value of {column} is in both training and test rows"):
        check(frame, test, held_out=True)
    assert any(f"1 value of {column} is in both" in line for line in check(frame, test))


def test_byte_identical_images_are_reported() -> None:
    frame = sound()
    hashes = {image: f"hash of {image}" for image in frame["image"]}
    same = frame.index[(frame["target"] == "a") & (frame["fold"] == 0)][:2]
    hashes[frame.loc[same[0], "image"]] = hashes[frame.loc[same[1], "image"]] = "same"
    assert not [line for line in check(frame, hashes=hashes) if "two folds" in line]
    frame.loc[same[0], "fold"] = 1
    assert any("1 image occurs byte for byte in two folds" in line for line in check(frame, hashes=hashes))
    assert not [line for line in check(frame, hashes=hashes) if "different labels" in line]
    frame.loc[same[0], "target"] = "b"
    assert any("1 image occurs twice with different labels" in line for line in check(frame, hashes=hashes))
    test = pd.DataFrame({"row_id": ["t"], "image": ["t.png"]})
    hashes["t.png"] = "same"
    assert any(
        "1 test image is byte for byte training images: t.png" in line for line in check(frame, test, hashes=hashes)
    )


def test_an_image_that_two_rows_name_is_reported_though_no_two_files_are_alike() -> None:
    frame = sound()
    hashes = {image: f"hash of {image}" for image in frame["image"]}
    assert not [line for line in check(frame, hashes=hashes) if "byte for byte" in line]
    one, other = frame.index[frame["fold"] == 0][0], frame.index[frame["fold"] == 1][0]
    frame.loc[one, "image"] = frame.loc[other, "image"]
    assert any("1 image occurs byte for byte in two folds" in line for line in check(frame, hashes=hashes))
    test = pd.DataFrame({"row_id": ["t"], "image": [frame.loc[other, "image"]]})
    assert any("1 test image is byte for byte" in line for line in check(frame, test, hashes=hashes))


def test_a_group_that_is_most_of_a_fold_is_reported() -> None:
    frame = sound(groups=True)
    frame.loc[frame["fold"] == 2, "group"] = "big"
    assert "group 'big' alone is 100% of an average fold" in check(frame)


def test_values_of_a_regression_are_described() -> None:
    frame = sound().assign(target=[str(i / 10) for i in range(60)])
    assert check(frame, task="regression", outputs=[""])[1].startswith("mean of the target: ")


def test_numbers_that_are_all_the_same_are_said() -> None:
    frame = sound().assign(target=[str(i / 10) for i in range(60)])
    assert not [line for line in check(frame, task="regression", outputs=[""]) if "is one number" in line]
    (line,) = check(frame.assign(target="3"), task="regression", outputs=[""])[2:]
    assert line.startswith("warning: the target is one number in all rows: scores there say nothing")
    frame.loc[frame["fold"].isin([1, 3]), "target"] = "7"
    (line,) = check(frame, task="regression", outputs=[""])[2:]
    assert line.startswith("warning: the target is one number in all rows of fold 1, 3: ")


def test_a_class_that_a_fold_never_trains_on_is_said() -> None:
    frame = sound()
    frame["target"] = ["b"] * 3 + ["a"] * 57
    frame["fold"] = [1] * 3 + [i % 5 for i in range(57)]
    never = "warning: 1 class is in one fold alone, whose network never sees them: 'b' in fold 1 (3 rows)"
    assert never in check(frame)
    frame.loc[0, "fold"] = 2
    assert not [line for line in check(frame) if "never sees" in line]


def several(rows: int = 60) -> pd.DataFrame:
    frame = sound(rows)
    return frame.rename(columns={"target": "target_kind"}).assign(target_cm=[str(i % 7) for i in range(rows)])


def test_every_target_is_checked() -> None:
    task, outputs = task_from({"kind": "binary", "cm": "regression"}), ["kind=a", "kind=b", "cm="]
    findings = "; ".join(check_folds(several(), NO_TEST, task, outputs, 5, where="folds/x.csv", hashes={}))
    for words in ("smallest class: 'kind=b' with 20 rows", "most uneven class: 'kind", "mean of cm: "):
        assert words in findings
    missing = several().assign(target_kind=["nan", *several()["target_kind"][1:]])
    found = check_folds(missing, NO_TEST, task_from({"kind": "multiclass", "cm": "regression"}),
                           ["kind=a", "kind=b", "kind=nan", "cm="], 5, where="folds/x.csv", hashes={})  # fmt: skip
    assert [line for line in found if line.startswith("warning: 'kind=nan' (1 row) is a class")]
    assert class_counts(several(), task, outputs, 5, where="x").tolist() == [[8, 4]] * 5
    lacking = several().assign(fold=lambda rows: rows["fold"].where(rows["target_kind"] == "a", rows["fold"] % 4))
    with pytest.raises(FoldlineError, match="fold 4 lacks 'kind=b'"):
        check_folds(lacking, NO_TEST, task, outputs, 5, where="folds/x.csv", hashes={})


def test_names_that_hardly_mean_two_classes_or_none() -> None:
    frame = sound().assign(target=["Cat", "cat", "nan"] * 20, fold=[i // 3 % 5 for i in range(60)])
    findings = check(frame, task="multiclass", outputs=["Cat", "cat", "nan"])
    assert "rows of the 3 classes: Cat 20, cat 20, nan 20" in findings
    twins = "warning: classes differ in spelling alone: 'Cat' (20 rows) and 'cat' (20 rows)"
    assert [line for line in findings if line.startswith(twins)]
    assert [line for line in findings if line.startswith("warning: 'nan' (20 rows) is a class")]


def test_the_rows_of_many_classes_are_shortened() -> None:
    names = [f"c{i:02d}" for i in range(20)]
    frame = sound(100).assign(target=names * 5, fold=[i // 20 for i in range(100)])
    (line,) = [line for line in check(frame, task="multiclass", outputs=names) if line.startswith("rows of")]
    shown = [*names[:6], *names[-6:]]
    assert line == (
        f"rows of the 20 classes: {', '.join(f'{name} 5' for name in shown[:6])}, ..., "
        f"{', '.join(f'{name} 5' for name in shown[6:])} (all: `counts` of the JSON beside the folds)"
    )


def test_groups_of_two_spellings_are_seen() -> None:
    frame = sound().assign(group=[f"P{i}" if i else "p1" for i in range(60)])
    (line,) = [line for line in check(frame) if "groups differ" in line]
    assert "'p1' (1 row) and 'P1' (1 row)" in line
    test = pd.DataFrame({"row_id": ["t"], "image": ["t.png"], "group": ["100.0"]})
    findings = check(sound().assign(group=["100", *[f"g{i}" for i in range(59)]]), test)
    assert "1 value of group is in both training and test rows: 100" in findings


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("5", "5", []),
        ("", "5", ["3 of 60 cells of 'age' are missing in the training rows"]),
        ("nan", "", [
            "3 of 60 cells of 'age' are missing in the training rows",
            "1 of 1 cells of 'age' are missing in the test rows",
        ]),
        ("5", "", [
            "warning: 1 of 1 cells of 'age' are missing in the test rows, and none in the training rows: a network "
            "takes their mean there, or no word"
        ]),
    ],
)  # fmt: skip
def test_missing_metadata_are_counted(train: str, test: str, said: list[str]) -> None:
    rows = pd.DataFrame({"row_id": ["t"], "image": ["t.png"], "age": [test]})
    findings = check(sound().assign(age=[*[train] * 3, *map(str, range(57))]), rows)
    assert [line for line in findings if "are missing in" in line] == said


@pytest.mark.parametrize(("odd", "said"), [(["?"], True), (["None", ""], False), (["x"] * 40, False)])
def test_a_few_words_among_numbers_are_seen(odd: list[str], said: bool) -> None:
    ages = [str(20 + i) for i in range(60)]
    findings = check(sound().assign(age=[*odd, *ages[len(odd) :]]))
    words = "warning: 59 cells of 'age' are numbers and 1 are none (?), so a network reads all as words"
    assert [line for line in findings if "are numbers" in line] == [words] * said
