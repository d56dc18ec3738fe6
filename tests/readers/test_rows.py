"""The way from raw lines to rows: parts of cells, joins, filters, and the id-to-file rule."""

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.readers import read_rows
from foldline.readers import rows as rows_module
from foldline.readers.files import clean_path, tables_of
from foldline.readers.templates import Pattern, fill, match
from readers.layouts import bson, facts, plant, png

TABLE = "id,label,patient,age\n01,a,p1,7\n02,b,p1,8\n03,a,p2,9\n"
IMAGES: dict[str, str | bytes] = {f"train/{i}.png": "" for i in ("01", "02", "03")}
TRAIN = {"file": "t.csv", "row_id": "id", "image": "train/{id}.png", "target": "label"}


def rows(root: Path, more: dict[str, Any], task: str = "binary", **rest: Any) -> pd.DataFrame:
    known: Competition = facts({**TRAIN, **more}, task, **rest)
    return read_rows(root, known.train, known, with_target=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "input" / "toy", {"t.csv": TABLE, **IMAGES})


def test_group_entity_and_metadata_ride_along_in_this_order(root: Path) -> None:
    frame = rows(root, {"group": "patient", "entity": "{patient}_x", "metadata": ["age"]})
    assert frame.columns.tolist() == ["row_id", "image", "target", "group", "entity", "age"]
    assert frame.iloc[1].tolist() == ["02", "train/02.png", "b", "p1", "p1_x", "8"]


def test_rows_without_an_entity_are_no_entity_together(root: Path) -> None:
    (root / "t.csv").write_text(TABLE.replace("p2", ""))
    with pytest.raises(FoldlineError, match="1 row has no entity"):
        rows(root, {"entity": "patient"})
    known = facts({**TRAIN, "entity": "patient"}, "binary")
    assert "" in read_rows(root, known.train, known, with_target=False, nameless=True)["entity"].tolist()


def test_lines_are_chosen_by_cells(root: Path) -> None:
    assert rows(root, {"where": {"patient": "p1"}})["row_id"].tolist() == ["01", "02"]
    assert rows(root, {"without": {"id": ["01", "03"]}})["row_id"].tolist() == ["02"]
    with pytest.raises(FoldlineError, match="no line is left"):
        rows(root, {"where": {"patient": "p9"}})


def test_several_tables_are_read_one_after_the_other(root: Path) -> None:
    plant(root, {"t2.csv": "id,label,patient,age\n04,b,p3,1\n", "train/04.png": ""})
    assert rows(root, {"file": "t*.csv"})["row_id"].tolist() == ["01", "02", "03", "04"]
    plant(root, {"t3.csv": "id,label\n05,b\n"})
    with pytest.raises(FoldlineError, match="different columns"):
        rows(root, {"file": "t*.csv"})


def test_a_list_of_tables_is_read_in_its_order_and_no_file_twice(root: Path) -> None:
    plant(root, {"old/a.csv": "id,label,patient,age\n04,b,p3,1\n", "train/04.png": ""})
    assert rows(root, {"file": ["old/a.csv", "t.csv", "t*.csv"]})["row_id"].tolist() == ["04", "01", "02", "03"]
    with pytest.raises(FoldlineError, match=r"no such file: none\.csv"):
        rows(root, {"file": ["t.csv", "none.csv"]})
    with pytest.raises(FoldlineError, match="no such file: none"):
        rows(root, {"file": ["t.csv", "none*.csv"]})
    with pytest.raises(FoldlineError, match="reads one array, not 2"):
        rows(root, {"reader": "arrays", "file": ["a.npy", "b.npy"]})


def test_a_list_of_folders_is_read_one_after_the_other(tmp_path: Path) -> None:
    root = plant(tmp_path, {"new/a/1.png": "", "old/b/2.png": "", "old/deep/a/3.png": "", "test/4.png": ""})
    known = facts({"reader": "folders", "file": ["old", "new"], "target": "label"})
    frame = read_rows(root, known.train, known, with_target=True)
    assert frame["row_id"].tolist() == ["old/b/2.png", "old/deep/a/3.png", "new/a/1.png"]
    assert frame["target"].tolist() == ["b", "a", "a"]


def test_a_joined_table_adds_its_columns_by_id_not_by_position(root: Path) -> None:
    plant(root, {"names.csv": "key,file\n03,train/03.png\n01,train/01.png\n02,train/02.png\n"})
    join = [{"file": "names.csv", "left": "id", "right": "key"}]
    assert rows(root, {"join": join, "image": "file"})["image"].tolist() == [f"train/0{i}.png" for i in (1, 2, 3)]


def test_a_json_map_is_a_lookup_table(root: Path) -> None:
    plant(root, {"map.json": json.dumps({"01": "train/03.png", "02": "train/01.png"})})
    join = {"file": "map.json", "left": "id", "right": "key"}
    with pytest.raises(FoldlineError, match=r"1 id has no line in map\.json: 03"):
        rows(root, {"join": [join], "image": "value"})
    frame = rows(root, {"join": [{**join, "optional": True}], "where": {"label": "a"}, "metadata": ["value"]})
    assert frame["value"].tolist() == ["train/03.png", ""]


def test_parts_of_a_cell_become_columns(root: Path) -> None:
    plant(root, {"t.csv": "key,label\n01_left,a\n02_right,b\n"})
    frame = rows(root, {"extract": {"key": "{id}_{side}"}, "metadata": ["side"]})
    assert frame["side"].tolist() == ["left", "right"]
    with pytest.raises(FoldlineError, match="do not match"):
        rows(root, {"extract": {"key": "{id}-{side}"}})


def test_ids_that_stand_twice(root: Path) -> None:
    plant(root, {"t.csv": "id,label\n01,a\n01,b\n02,b\n"})
    with pytest.raises(FoldlineError, match="more than once: 01"):
        rows(root, {})
    assert rows(root, {"repeated": "first"})["target"].tolist() == ["a", "b"]
    several = rows(root, {"repeated": "set"}, "multilabel")
    assert several[["target_a", "target_b"]].to_numpy().tolist() == [["1", "1"], ["0", "1"]]


def test_lines_without_ids_are_counted(root: Path) -> None:
    plant(root, {"t.csv": "label,pixel0,pixel1\na,1,2\nb,3,4\na,5,6\n"})
    pixels = {"columns": ["pixel*"], "height_width": [1, 2]}
    frame = rows(root, {"row_id": "line", "image": "picture", "pixels": pixels, "without": {"label": "b"}})
    assert frame["row_id"].tolist() == ["1", "3"]
    plant(root, {"t.csv": "label,line,id\na,x,01\nb,y,02\n"})
    assert rows(root, {"row_id": "line"})["row_id"].tolist() == ["x", "y"]


def test_the_users_own_folds_may_stand_in_a_column_called_fold(root: Path) -> None:
    plant(root, {"t.csv": "id,label,fold\n01,a,0\n02,b,1\n03,a,0\n"})
    folds = {"splitter": "column", "column": "fold", "k": 2}
    assert rows(root, {"metadata": ["fold"]}, folds=folds)["fold"].tolist() == ["0", "1", "0"]
    with pytest.raises(FoldlineError, match="'fold' has a name that rows use"):
        rows(root, {"metadata": ["fold"]})


@pytest.mark.parametrize("name", ["row_id", "image", "target", "group", "fold", "target_x"])
def test_metadata_may_not_take_a_row_column(name: str, root: Path) -> None:
    plant(root, {"t.csv": f"id,label,{name}\n01,a,1\n"})
    with pytest.raises(FoldlineError, match="use themselves"):
        rows(root, {"metadata": [name]})


def test_the_template_may_leave_the_ending_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(root, {"image": "train/{id}"})["image"].tolist() == list(IMAGES)
    assert capsys.readouterr().out == ""


def test_other_endings_and_cases_are_found_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = plant(tmp_path, {"t.csv": TABLE, "Train/01.PNG": "", "Train/02.jpeg": "", "Train/03.png": ""})
    assert rows(root, {})["image"].tolist() == ["Train/01.PNG", "Train/02.jpeg", "Train/03.png"]
    assert "3 image files differ" in capsys.readouterr().out


def test_a_picture_is_found_in_any_folder_below(tmp_path: Path) -> None:
    root = plant(
        tmp_path, {"t.csv": TABLE, "tr/a/b/01.png": "", "tr/c/02.png": "", "tr/03.png": "", "other/01.png": ""}
    )
    frame = rows(root, {"image": "tr/**/{id}.png"})
    assert frame["image"].tolist() == ["tr/a/b/01.png", "tr/c/02.png", "tr/03.png"]


def test_a_path_that_may_mean_two_files_is_refused(root: Path) -> None:
    plant(root, {"train/01.jpg": ""})
    assert rows(root, {})["image"][0] == "train/01.png"  # the exact path wins
    with pytest.raises(FoldlineError, match="may mean several files"):
        rows(root, {"image": "train/{id}"})


def test_dotted_ids_have_no_ending(tmp_path: Path) -> None:
    root = plant(
        tmp_path, {"t.csv": "id,label\n1.2.826,a\n1.2.827,b\n", "train/1.2.826.png": "", "train/1.2.827.png": ""}
    )
    assert rows(root, {"image": "train/{id}"})["image"].tolist() == ["train/1.2.826.png", "train/1.2.827.png"]


def test_missing_pictures_stop_or_are_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "train/02.png").unlink()
    with pytest.raises(FoldlineError, match="1 of 3 rows have no image file: 02"):
        rows(root, {})
    assert rows(root, {"missing_images": "drop"})["row_id"].tolist() == ["01", "03"]
    assert "left out" in capsys.readouterr().out


def test_all_pictures_missing_is_an_error_in_any_case(root: Path) -> None:
    with pytest.raises(FoldlineError, match="3 of 3"):
        rows(root, {"image": "elsewhere/{id}.png", "missing_images": "drop"})


def test_several_files_are_stacked(tmp_path: Path) -> None:
    pictures: dict[str, str | bytes] = {f"{i}/{band}.png": "" for i in ("01", "02", "03") for band in "rg"}
    root = plant(tmp_path, {"t.csv": TABLE, **pictures})
    frame = rows(root, {"image": ["{id}/r.png", "{id}/g.png"]})
    assert frame["image"].tolist() == ["01/r.png|01/g.png", "02/r.png|02/g.png", "03/r.png|03/g.png"]


@pytest.mark.parametrize("cell", ["../secret.png", "/../secret.png", "a|b.png", "train/../../x.png"])
def test_paths_of_a_table_cannot_leave_the_folder(cell: str, root: Path) -> None:
    plant(root, {"t.csv": f"id,label\n{cell},a\n"})
    with pytest.raises(FoldlineError, match="leave the folder"):
        rows(root, {"image": "id"})


def test_windows_paths_of_a_table_are_understood(root: Path) -> None:
    plant(root, {"t.csv": "id,label,file\n01,a,.\\train\\01.png\n"})
    assert rows(root, {"image": "file"})["image"].tolist() == ["train/01.png"]


def test_without_an_image_the_error_names_the_columns(root: Path) -> None:
    with pytest.raises(FoldlineError, match="'image' is missing") as caught:
        rows(root, {"image": None})
    assert "patient" in caught.value.next


def test_an_unknown_column_is_named(root: Path) -> None:
    with pytest.raises(FoldlineError, match="'idd' is no column") as caught:
        rows(root, {"image": "train/{idd}.png"})
    assert "id, label" in caught.value.next


def test_test_rows_from_the_sample_submission(root: Path) -> None:
    plant(root, {"sample.csv": "id,label\n77,0.5\n", "test/77.png": ""})
    test = {"file": "sample.csv", "row_id": "id", "image": "test/{id}.png"}
    known = facts(TRAIN, test=test)
    assert known.test is not None
    frame = read_rows(root, known.test, known, with_target=False)
    assert frame.to_numpy().tolist() == [["77", "test/77.png"]]


def test_names_take_as_much_as_they_can() -> None:
    found = match(pd.Series(["homer_simpson_3.jpg"]), "{who}_{n}.jpg", where="")
    assert found.iloc[0].to_dict() == {"who": "homer_simpson", "n": "3"}


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("**/{name}.png", "a/b/c.png", True),
        ("**/{name}.png", "c.png", True),
        ("*/{name}.png", "a/b/c.png", False),
        ("{label}.{n}.jpg", "cat.0.jpg", True),
        ("{label}.{n}.jpg", "cat0xjpg", False),
        (r"{label:[a-z]+}{n:\d+}.png", "cat12.png", True),
        ("{label}/{label} GT/{n}.png", "bass/bass GT/1.png", True),
        ("{label}/{label} GT/{n}.png", "bass/trout GT/1.png", False),
        ("a[1]/{n}.png", "a[1]/2.png", True),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert (Pattern(pattern, where="").matches([path])[0] is not None) == fits


def test_a_template_needs_numbers_to_pad_them() -> None:
    frame = pd.DataFrame({"id": ["x"]})
    with pytest.raises(FoldlineError, match="whole numbers"):
        fill(frame, "{id:05d}", where="row_id")


FRAME = pd.DataFrame({"id": ["7"], "path": ["a/b.png"]})


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{id:>1000000000}", "format that is not read"),
        ("{id:1000000000d}", "format that is not read"),
        ("{id:.1000000000f}", "format that is not read"),
        ("{id:{path}}", "format that is not read"),
        ("{id!r}", "format that is not read"),
        ("{id", "is no template"),
        ("id}{", "is no template"),
        ("{id.__class__}", "is no column"),
        ("{id.__class__.__mro__}", "is no column"),
        ("{id[0]}", "is no column"),
        ("{}", "is no column"),
        ("{0}", "is no column"),
    ],
)
def test_a_template_holds_columns_and_widths_alone(template: str, words: str) -> None:
    with pytest.raises(FoldlineError, match=words):
        fill(FRAME, template, where="row_id")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{a:(}", "no regular expression"),
        ("{a:[}.png", "no regular expression"),
        ("{a:*}", "no regular expression"),
        ("{a:(?P<b>x)(?P<b>x)}", "no regular expression"),
        ("{a:(?R)}", "no regular expression"),
        ("{a:" + "(" * 5000 + ")" * 5000 + "}", "no regular expression"),
        ("{a:(x|xx)+y}", "takes too long"),
        ("{1a}", "no name for a column"),
    ],
)
def test_a_pattern_that_is_none_or_takes_for_ever(pattern: str, words: str) -> None:
    started = time.process_time()
    with pytest.raises(FoldlineError, match=words):
        match(pd.Series(["x" * 80]), pattern, where="extract")
    assert time.process_time() - started < 2


def test_names_of_files_in_another_spelling_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    table = f"id,label\n{composed},a\n100.0,b\n 7,a\n"
    names = {f"train/{decomposed}.png": "", "train/100.png": "", "train/7.png": ""}
    root = plant(tmp_path, {"t.csv": table, **names})
    assert rows(root, {})["image"].tolist() == list(names)
    assert "3 image files differ from their ids in case, ending or spelling" in capsys.readouterr().out
    assert rows(root, {"image": "**/{id}.png"})["image"].tolist() == list(names)
    plant(root, {"train/100.0.png": ""})
    assert rows(root, {})["image"][1] == "train/100.0.png", "the very name wins"


def test_ids_of_two_spellings_are_warned_about(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(root, {"t.csv": "id,label\n1,a\n1.0,b\n2,a\n", "train/1.png": "", "train/2.png": ""})
    assert len(rows(root, {})) == 3
    assert "row_ids that differ in spelling alone, taken for different rows: '1.0' and '1'" in capsys.readouterr().out


def test_a_slash_before_a_path_is_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(root, {"t.csv": "path,label\n/train/01.png,a\n//train/02.png,b\n"})
    frame = rows(root, {"row_id": "path", "image": "path"})
    assert frame[["row_id", "image"]].to_numpy().tolist() == [
        ["/train/01.png", "train/01.png"],
        ["//train/02.png", "train/02.png"],
    ]
    assert "2 image paths begin with a slash, which is left out: /train/01.png" in capsys.readouterr().out
    plant(root, {"t.csv": "path,label\n/etc/passwd,a\n/train/02.png,b\n"})
    with pytest.raises(FoldlineError, match="1 of 2 rows have no image file: /etc/passwd"):
        rows(root, {"row_id": "path", "image": "path"})


def test_brackets_in_names_are_no_patterns_and_their_files_are_hashed(root: Path) -> None:
    plant(root, {"a[1]?.csv": TABLE, "a1x.csv": "id,label,patient,age\n09,a,p,1\n", "train/09.png": ""})
    assert rows(root, {"file": "a[1]?.csv"})["row_id"].tolist() == ["01", "02", "03"]
    assert rows(root, {"file": "a[1]*.csv"})["row_id"].tolist() == ["01", "02", "03"]
    known = facts({**TRAIN, "file": ["a[1]?.csv", "t*.csv"], "labels": "labels.npy:x"})
    plant(root, {"labels.npy": "x"})
    assert [path.name for path in tables_of(root, known.train)] == ["a[1]?.csv", "labels.npy", "t.csv"]


def test_a_table_of_another_encoding_is_named_and_can_be_stated(root: Path) -> None:
    table = "id,label\n01,H\u00e4user\n02,B\u00e4ume\n"
    plant(root, {"t.csv": table.encode("cp1252"), "u.csv": table.encode("utf-16")})
    with pytest.raises(FoldlineError, match=r"it looks like cp1252 \('01,H\u00e4user'\)") as error:
        rows(root, {})
    assert "encoding: cp1252" in error.value.next
    assert rows(root, {"encoding": "cp1252"})["target"].tolist() == ["H\u00e4user", "B\u00e4ume"]
    with pytest.raises(FoldlineError, match="it looks like utf-16"):
        rows(root, {"file": "u.csv"})
    assert rows(root, {"file": "u.csv", "encoding": "utf-16"})["target"].tolist() == ["H\u00e4user", "B\u00e4ume"]
    with pytest.raises(FoldlineError, match="no such encoding"):
        rows(root, {"encoding": "utf-17"})
    plant(root, {"j.csv": "key,file\n01,Ä\n02,B\n".encode("cp1252"), "t.csv": "id,label\n01,a\n02,b\n"})
    join = {"file": "j.csv", "left": "id", "right": "key", "encoding": "cp1252"}
    assert rows(root, {"join": [join], "metadata": ["file"]})["file"].tolist() == ["Ä", "B"]


@pytest.mark.parametrize("separator", ["|", "§", "||", " | ", "\\t", ".*", "$"])
def test_the_separator_of_a_table_is_text(separator: str, root: Path) -> None:
    plant(root, {"t.csv": TABLE.replace(",", separator)})
    assert rows(root, {"separator": separator, "metadata": ["age"]})["age"].tolist() == ["7", "8", "9"]
    plant(root, {"t.csv": (TABLE + "03,a,p,1,2\n").replace(",", separator)})
    with pytest.raises(FoldlineError):
        rows(root, {"separator": separator})


BIG = 2**53


def test_whole_numbers_with_holes_stay_what_they_are_in_every_reader(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"id": i, "label": i % 2, **({"patient": BIG + i} if i else {})} for i in range(4)]
    table = pa.table({name: [line.get(name) for line in lines] for name in ("id", "label", "patient")})
    parquet = pa.BufferOutputStream()
    pq.write_table(table, parquet)
    names = table.column_names
    columns = {name: {str(i): line[name] for i, line in enumerate(lines) if name in line} for name in names}
    files = {f"{i}.png": "" for i in range(4)}
    contents = {
        "t.parquet": parquet.getvalue().to_pybytes(),
        "t.json": json.dumps(lines),
        "columns.json": json.dumps(columns),
        "t.bson": b"".join(bson({**line, "picture": png(i)}) for i, line in enumerate(lines)),
    }
    root = plant(tmp_path, {**files, **contents, "ids.csv": "id,label\n0,a\n1,b\n2,a\n3,b\n"})
    expected = ["", *[str(BIG + i) for i in (1, 2, 3)]]
    for name in contents:
        reader = {"reader": name.partition(".")[2], "file": name, "metadata": ["patient"]}
        assert rows(root, {**reader, "image": "{id}.png"})["patient"].tolist() == expected, name
    for name in ("t.parquet", "t.json"):
        join = {"file": name, "left": "id", "right": "id"}
        more = {"file": "ids.csv", "image": "{id}.png", "join": [join], "metadata": ["patient"]}
        assert rows(root, more)["patient"].tolist() == expected, name


def test_cells_and_ids_of_another_spelling_are_chosen_and_joined_and_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(root, {"t.csv": "id,label,patient\n01,a,7\n02,b,7.0\n03,a,8\n", "p.csv": "key,sex\n7.0,f\n9,m\n"})
    assert rows(root, {"where": {"patient": "7"}})["row_id"].tolist() == ["01", "02"]
    assert rows(root, {"without": {"patient": ["7"]}})["row_id"].tolist() == ["03"]
    assert capsys.readouterr().out.count("1 cell of patient is other spellings of the wanted: '7.0'") == 2
    join = {"file": "p.csv", "left": "patient", "right": "key", "optional": True}
    assert rows(root, {"join": [join], "metadata": ["sex"]})["sex"].tolist() == ["f", "f", ""]
    said = capsys.readouterr().out
    assert "ids that p.csv spells otherwise: '7' -> '7.0' (1 row)" in said
    assert "1 id has no line in p.csv and get empty cells: 8" in said


def test_lines_and_columns_that_a_table_swallows_are_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(root, {"t.csv": 'id,label,age,age\n01,"a,1,2\n02,b",3,4\n03,b\n03,a,5,6\n'})
    assert len(rows(root, {"repeated": "first", "metadata": ["age.1"]})) == 2
    assert capsys.readouterr().out.splitlines() == [
        "warning: t.csv: 1 cell holds several lines of the file, that of row 1 first; a quote that is not closed makes "
        "rows vanish so",
        "warning: t.csv: several columns are called 'age'; the later ones are 'age.1' ...",
        "configs/toy/competition.yaml: 1 of 3 lines repeat a row_id; the first of each counts",
    ]
    plant(root, {"t.csv": "id||label||v||v.1\n01||a||1||2\n02||b\n"})
    frame = rows(root, {"separator": "||", "metadata": ["v", "v.1"]})
    assert frame[["v", "v.1"]].to_numpy().tolist() == [["1", "2"], ["", ""]], "cells that a short line lacks are empty"
    assert capsys.readouterr().out == ""


ODD_PATHS = [
    "./a.png", "/a.png", ".//a.png", " a.png", "a.png ", "a.png\u00a0", "\u3000a.png", "b\\a.png", "\ta.png", "a.png\n",
    "\u00e9.png", "",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_PATHS)
def test_every_path_is_cleaned_where_few_are_not_clean(odd: str) -> None:
    paths = pd.Series(["x/y.png", odd, "z.png"], index=["r2", "r1", "r1"], dtype="str")
    found = rows_module._cleaned(paths)
    assert found.tolist() == [clean_path(path) for path in paths]
    assert found.index.tolist() == paths.index.tolist()
