"""Long samples that facts describe: two id columns, a lookup table, composed ids; and those that nobody can read."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv
from foldline.core.task import TASKS, Task
from foldline.submission.form import Form, read_sample
from foldline.submission.lines import find_composed

LOOKUP = "RowId,ImageId,FeatureName,Location\n1,1,left_x,\n2,1,nose_y,\n3,2,nose_y,\n"
BY_NUMBER: dict[str, Any] = {"join": [{"file": "IdLookupTable.csv", "left": "RowId", "right": "RowId"}]}
PAIR: dict[str, Any] = {"entity": "ImageId", "output": "FeatureName"}
ONE_ID = {"extract": {"Id": "{feature:x|left-eye}-{image}"}, "entity": "image", "output": "feature"}

# the sample, the facts of its submission, the outputs, the predictions of two entities, the file
STATED: dict[str, tuple[str, dict[str, Any], list[str], dict[str, list[float]], str]] = {
    "row numbers and a lookup table": (
        "RowId,Location\n1,0\n2,0\n3,0\n",
        {**BY_NUMBER, **PAIR, "bounds": [0, 96]},
        ["left_x", "nose_y"],
        {"1": [60.5, 40.25], "2": [100, 97.5]},
        "RowId,Location\n1,60.5\n2,40.25\n3,96.0\n",
    ),
    "row numbers beside entity and output": (
        "RowId,ImageId,FeatureName,Location\n1,1,left_x,0\n2,1,nose_y,0\n3,2,nose_y,0\n",
        PAIR,
        ["left_x", "nose_y"],
        {"1": [60.5, 40.25], "2": [100, 97.5]},
        "RowId,ImageId,FeatureName,Location\n1,1,left_x,60.5\n2,1,nose_y,40.25\n3,2,nose_y,97.5\n",
    ),
    "two columns whose cells are both names of outputs": (
        "FeatureName,ImageId,Value\n1,0,0\n0,0,0\n1,1,0\n0,1,0\n",
        PAIR,
        ["0", "1"],
        {"0": [0.5, 1.5], "1": [2.5, 3.5]},
        "FeatureName,ImageId,Value\n1,0,1.5\n0,0,0.5\n1,1,3.5\n0,1,2.5\n",
    ),
    "ids in parts that a pattern names": (
        "Id,Value\nleft-eye-a-1,0\nx-a-1,0\nx-b,0\n",
        ONE_ID,
        ["left-eye", "x"],
        {"a-1": [0.5, 1.5], "b": [2.5, 3.5]},
        "Id,Value\nleft-eye-a-1,0.5\nx-a-1,1.5\nx-b,3.5\n",
    ),
    "the lines of one output": (
        "Id,Value\nleft-eye-a,7\nx-a,7\nx-b,7\n",
        {"extract": ONE_ID["extract"], "where": {"feature": "x"}, "entity": "image"},
        [""],
        {"a": [0.5], "b": [1.5]},
        "Id,Value\nx-a,0.5\nx-b,1.5\n",
    ),
    "two columns name the entity": (
        "patient,side,Value\np,L,0\np,R,0\nq,L,0\n",
        {"entity": "{patient}_{side}"},
        [""],
        {"p_L": [0.5], "p_R": [1.5], "q_L": [2.5]},
        "patient,side,Value\np,L,0.5\np,R,1.5\nq,L,2.5\n",
    ),
}


def facts(task: str = "regression", metric: str = "rmse", **submission: Any) -> Competition:
    train: dict[str, Any] = {"target": "y"}
    base = {"source": {"kind": "placed"}, "task": task, "metric": metric, "train": train, "test": {"reader": "folders"}}
    return Competition.parse({**base, "submission": submission}, where="test")


def predicted(rows: dict[str, list[float]], outputs: list[str], task: Task = TASKS["regression"]) -> pd.DataFrame:
    """In another order than any sample."""
    frame = pd.DataFrame(list(rows.values()), columns=task.prediction_columns(outputs))
    frame.insert(0, "id", list(rows))
    return frame.iloc[::-1].reset_index(drop=True)


def table(text: str, folder: Path) -> pd.DataFrame:
    path = folder / "table.csv"
    path.write_text(text)
    return read_csv(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "IdLookupTable.csv").write_text(LOOKUP)
    return tmp_path


@pytest.mark.parametrize("case", STATED)
def test_lines_that_the_facts_describe(case: str, root: Path) -> None:
    text, stated, outputs, rows, expected = STATED[case]
    about = facts(**stated)
    (root / "sample.csv").write_text(text)
    sample, lines = read_sample(root / "sample.csv", root, about)
    form = Form.open(sample, about, outputs, lines=lines)
    found = form.write(predicted(rows, outputs))
    wanted = table(expected, root)
    assert found.to_dict("list") == wanted.to_dict("list")
    form.check(found, "x")
    assert not form.holds_labels
    with pytest.raises(FoldlineError, match="in another order than in the sample"):
        form.check(found.iloc[::-1], "x")


@pytest.mark.parametrize("case", ["two columns whose cells are both names of outputs", "the lines of one output"])
def test_described_lines_read_back_by_id(case: str, root: Path) -> None:
    text, stated, outputs, rows, expected = STATED[case]
    about = facts(**stated)
    (root / "sample.csv").write_text(text)
    sample, lines = read_sample(root / "sample.csv", root, about)
    shuffled = table(expected, root).iloc[::-1]
    ids, back = Form.open(sample, about, outputs, lines=lines).read_back(shuffled)
    assert dict(zip(ids, back.tolist(), strict=True)) == rows


def test_a_sample_that_asks_for_some_pairs_only_cannot_be_graded(root: Path) -> None:
    text, stated, outputs, _, expected = STATED["row numbers and a lookup table"]
    about = facts(**stated)
    (root / "sample.csv").write_text(text)
    sample, lines = read_sample(root / "sample.csv", root, about)
    with pytest.raises(FoldlineError, match=r"'left_x' of some entities only \(not of 2\)"):
        Form.open(sample, about, outputs, lines=lines).read_back(table(expected, root))


def test_facts_that_do_not_fit_the_sample(root: Path) -> None:
    (root / "sample.csv").write_text("RowId,Location\n1,0\n4,0\n")
    with pytest.raises(FoldlineError, match=r"1 id has no line in IdLookupTable\.csv: 4"):
        read_sample(root / "sample.csv", root, facts(**BY_NUMBER, **PAIR))
    (root / "sample.csv").write_text("RowId,Location\n1,0\n2,0\n")
    about = facts(**BY_NUMBER, **PAIR)
    sample, lines = read_sample(root / "sample.csv", root, about)
    with pytest.raises(FoldlineError, match="no class or number is called left_x"):
        Form.open(sample, about, ["eye", "nose_y"], lines=lines)
    with pytest.raises(FoldlineError, match="'ImageId' is no column"):
        read_sample(root / "sample.csv", root, facts(**PAIR))
    for form, words in (({"output": "a"}, "needs 'entity'"), ({**PAIR, "kind": "label"}, "is for kind long")):
        with pytest.raises(FoldlineError, match=words):
            facts(**form)


def test_a_sample_that_is_described_but_made_here_is_refused() -> None:
    base = {"source": {"kind": "placed"}, "task": "regression", "metric": "rmse", "train": {"target": "y"}}
    with pytest.raises(FoldlineError, match="foldline writes it itself"):
        Competition.parse({**base, "holdout": {"fraction": 0.5}, "submission": PAIR}, where="test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,Value\n0,0,0\n0,1,0\n1,0,0\n1,1,0\n", "'a' and 'b' both hold names of outputs"),
        ("id,Value\n0_0,0\n0_1,0\n1_0,0\n1_1,0\n", "'0_0' can be read in two ways"),
    ],
)
def test_two_readings_are_an_error_that_says_what_to_state(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match=message) as caught:
        Form.open(table(text, tmp_path), facts(), ["0", "1"])
    assert "submission.output" in caught.value.next


def test_of_two_readings_the_kind_takes_the_entity_first(tmp_path: Path) -> None:
    form = Form.open(table("id,v\n0_1,0\n1_1,0\n0_0,0\n1_0,0\n", tmp_path), facts(kind="long"), ["0", "1"])
    assert (form.kind.lines.entities, tuple(form.kind.lines.places)) == (("0", "1", "0", "1"), (1, 1, 0, 0))


def test_row_numbers_before_two_columns_of_ids(tmp_path: Path) -> None:
    text = "RowId,ImageId,FeatureName,Location\n1,1,x,0\n2,1,y,0\n3,2,x,0\n"
    form = Form.open(table(text, tmp_path), facts(), ["x", "y"])
    assert (form.kind.name, form.kind.lines.keys) == ("long", ("RowId", "ImageId", "FeatureName"))
    assert (form.kind.lines.entities, tuple(form.kind.lines.places), form.kind.columns) == (
        ("1", "1", "2"),
        (0, 1, 0),
        ("Location",),
    )
    probabilities = table("id,0,1,2\na,1,0,0\nb,1,1,0\nc,0,1,0\nd,0,0,1\n", tmp_path)
    assert Form.open(probabilities, facts("multilabel", "auc"), ["0", "1", "2"]).kind.name == "probabilities"


def test_ids_without_outputs_are_not_long_where_the_facts_say_so(tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="neither begin nor end with the name of an output: a, b"):
        Form.open(table("id,v\na,0\nb,0\n", tmp_path), facts(kind="long"), ["x", "y"])


@pytest.mark.parametrize("answers", [["0", "0", "0", "0"], ["0.1", "0.2", "0.3", "0.4"]])
def test_two_columns_are_seen_whatever_the_placeholders_are(answers: list[str], tmp_path: Path) -> None:
    pairs = [f"{image},{name}" for image in "ab" for name in ("x", "y")]
    text = "image,name,p\n" + "".join(f"{pair},{cell}\n" for pair, cell in zip(pairs, answers, strict=True))
    form = Form.open(table(text, tmp_path), facts("multilabel", "auc"), ["x", "y"])
    assert (form.kind.name, form.kind.lines.keys, form.kind.lines.columns) == ("long", ("image", "name"), ("p",))
    assert (form.kind.lines.entities, tuple(form.kind.lines.places)) == (("a", "a", "b", "b"), (0, 1, 0, 1))


def test_a_million_long_ids_are_taken_apart_in_seconds() -> None:
    import time

    outputs = [f"out_{j}" for j in range(10)]
    ids = [f"id_{i}_{name}" for i in range(30_000) for name in outputs]
    start = time.process_time()
    found = find_composed(ids, [outputs], "id")
    assert time.process_time() - start < 3
    assert found is not None
    assert found.parts[-1] == ("id_29999", "out_9")


def test_a_gap_submission_keeps_what_it_says(tmp_path: Path) -> None:
    about, outputs = facts("multiclass", "gap"), ["6", "8815", "90"]
    sample = table("id,landmarks\na,6 0.1\nb,6 0.1\nc,6 0.1\n", tmp_path)
    theirs = table("id,landmarks\na,\nb,8815 0.03\nc,90 1\n", tmp_path)
    form = Form.open(sample, about, outputs)
    form.check(theirs, "x")
    ids, back = form.read_back(theirs)
    assert ids == ["a", "b", "c"]
    assert back == pytest.approx(np.array([[0, 0, 0], [0, 0.03, 0], [0, 0, 1]]))
    form = Form.open(sample, facts("multilabel", "auc", kind="label_score"), outputs)
    with pytest.raises(FoldlineError, match="not for the task multilabel"):
        form.write(predicted({name: [0.5, 0.5, 0.5] for name in "abc"}, outputs, TASKS["multilabel"]))
