"""Tables, templates, patterns and raw layouts: any cell and any byte gives rows, or is refused in words."""

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from foldline.core.tables import read_csv, read_parquet, write_csv
from foldline.readers import READERS, find_outputs, read_rows
from foldline.readers.files import tables_of
from foldline.readers.templates import Pattern, fill
from properties.mutations import ODD_TEXTS, many, mutated, words_or_success
from readers.layouts import facts, plant, png
from readers.test_layouts import LAYOUTS

CELLS = st.one_of(st.sampled_from(["a", "b", "0", "1", "7.0", "0.5", "-1", *ODD_TEXTS]), st.text(max_size=6))
FRAME = pd.DataFrame({"id": ["7", "08", ""], "path": ["a/b.png", "c", "é/²"], "a b": ["x", "y", "z"]}, dtype=str)
PIECES = [
    "{",
    "}",
    "{id",
    "{path.stem}",
    "{id:05d}",
    "{id:",
    ":99",
    "!r",
    ".x",
    "[0]",
    "*",
    "**/",
    "/",
    "é",
    "{a:x+}",
    "(",
    ")+",
    "\\",
]
PICTURE = png()


@many(30)
@given(st.one_of(st.text(max_size=20), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)))
def test_any_text_as_a_template_and_as_a_pattern(text: str) -> None:
    with words_or_success():
        assert len(fill(FRAME, text, where="row_id")) == 3
    with words_or_success():
        for texts in (["a/b.png", "x" * 50, ""], []):
            assert len(Pattern(text, where="pattern").matches(texts)) == len(texts)


@many(15)
@given(st.recursive(st.sampled_from(["a", "aa", ".", "a*", "(a|aa)", "[ab]"]), lambda inner: st.one_of(
    inner.map(lambda text: f"({text})+"), inner.map(lambda text: f"({text})*?"), st.tuples(inner, inner).map("".join),
    st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})")), max_leaves=6))  # fmt: skip
def test_any_regular_expression_ends(expression: str) -> None:
    with words_or_success():
        Pattern(f"{{x:{expression}}}z", where="pattern").matches(["a" * 70, "ab" * 40])


@many(25)
@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5),
    st.sampled_from([",", ";", "\t", "whitespace", " | "]),
)
def test_what_is_written_into_a_table_is_read_back(lines: list[list[str]], separator: str) -> None:
    frame = pd.DataFrame(lines, columns=["row_id", "x", "target"], dtype=str)
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        path = Path(folder, "t.csv")
        try:
            write_csv(path, frame)
        except UnicodeEncodeError:  # half of a surrogate pair: no text that a file can hold
            return
        read_csv(path, separator=separator)
        if not any(set("\r\n\0\ufeff") & set(cell) for line in lines for cell in line):
            assert read_csv(path).to_numpy().tolist() == lines


@many(25)
@given(st.sampled_from(["file", "row_id", "image", "target", "group", "pattern", "columns", "join", "extract"]),
       st.one_of(CELLS, st.sampled_from(["***/x", "**x", "x" * 300, "[", "?", "a\0", "**/" * 9, "*a" * 30, "t.csv:x"])),
       st.sampled_from(["csv", "folders", "parquet", "coco", "arrays"]))  # fmt: skip
def test_any_text_in_the_place_of_a_fact(setting: str, text: str, reader: str) -> None:
    value = {"columns": [text], "join": [{"file": text, "left": "id", "right": "id"}],
             "extract": {"id": text}, "where": {text: "a"}}.get(setting, text)  # fmt: skip
    usual = {"file": "t.csv", "row_id": "id", "image": "{id}.png", "target": "label"}
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        root = plant(Path(folder), {"t.csv": "id,label\na,x\nb,y\n", "a.png": PICTURE, "d/b.png": PICTURE})
        known = facts({**usual, "reader": reader, setting: value})
        tables_of(root, known.train)
        read_rows(root, known.train, known, with_target=True)


@many(25)
@given(
    st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from(["binary", "multiclass", "multilabel", "ordinal", "regression"]),
    st.sampled_from(["stop", "first", "set"]),
    st.sampled_from(["stop", "drop"]),
)
def test_any_cells_become_rows(lines: list[tuple[str, str, str]], task: str, repeated: str, missing: str) -> None:
    train = {"file": "t.csv", "row_id": "id", "image": "{id}.png", "target": "label", "group": "who",
             "repeated": repeated, "missing_targets": missing, "missing_images": missing}  # fmt: skip
    metric = {"multilabel": "map", "regression": "rmse"}.get(task, "accuracy")
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        root = plant(Path(folder), {f"{name}.png": PICTURE for name in ("a", "b", "0", "1")})
        try:
            write_csv(root / "t.csv", pd.DataFrame(lines, columns=["id", "label", "who"], dtype=str))
        except UnicodeEncodeError:
            return
        known = facts(train, task, metric=metric)
        frame = read_rows(root, known.train, known, with_target=True)
        assert frame["row_id"].is_unique
        assert (frame["image"] != "").all()
        known.task.of(outputs := find_outputs(frame, known)).truth(frame, outputs, where="t.csv")


@many(25)
@given(data=st.data())
def test_a_raw_layout_with_changed_bytes(data: st.DataObject) -> None:
    reader = data.draw(st.sampled_from([name for name in READERS if name != "python"]))
    files, train, _, _ = LAYOUTS[reader]
    name = data.draw(st.sampled_from([name for name, content in files.items() if content] or list(files)))
    content = files[name]
    good = content.encode() if isinstance(content, str) else content
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        root = plant(Path(folder), {**files, name: data.draw(mutated(good or PICTURE))})
        known = facts({"reader": reader, **train})
        frame = read_rows(root, known.train, known, with_target=True)
        assert frame["row_id"].is_unique


@many(15)
@given(data=st.data())
def test_a_parquet_table_with_changed_bytes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder, words_or_success():
        path = Path(folder, "t.parquet")
        FRAME.to_parquet(path)
        path.write_bytes(data.draw(mutated(path.read_bytes())))
        read_parquet(path, required=["id"])
