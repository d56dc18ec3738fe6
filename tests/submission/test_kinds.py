"""Samples of every kind: what is read from them, what is written, that the gate takes it, and the way back."""

import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import Competition, Submission
from foldline.core.errors import FoldlineError
from foldline.core.tables import read_csv, write_csv
from foldline.core.task import TASKS, Task
from foldline.scoring.decide import Decision, default_decision
from foldline.submission.decimals import text_column
from foldline.submission.form import Form, make_sample
from foldline.submission.kinds import KINDS
from foldline.submission.long import Long
from foldline.submission.made_sample import sample_text


def facts(
    task: str | Task | dict[str, str],
    metric: str,
    classes: list[str] | None = None,
    names: Any = None,
    target: Any = None,
    **submission: Any,
) -> Competition:
    content = {
        "source": {"kind": "folder", "name": "x"},
        "task": task,
        "metric": metric,
        "classes": classes,
        "train": {"target": target or {"column": "label", "names": names}},
        "test": {"reader": "folders"},
        "submission": submission,
    }
    return Competition.parse(content, where="test")


def table(text: str, tmp_path: Path) -> pd.DataFrame:
    path = tmp_path / "sample.csv"
    path.write_text(text)
    return read_csv(path)


def empty_sample(ids: list[str], columns: list[str]) -> pd.DataFrame:
    """A sample with one column for each output."""
    return pd.DataFrame({"id": ids, **{column: ["0.5"] * len(ids) for column in columns}}, dtype=str)


def predictions(ids: list[str], task: Any, outputs: list[str], values: Any = None) -> pd.DataFrame:
    """Predictions for the ids in another order, and one id more than the sample has."""
    rng = np.random.default_rng(0)
    numbers = rng.dirichlet(np.ones(len(outputs)), len(ids)) if values is None else np.array(values, dtype=float)
    frame = pd.DataFrame(
        numbers.astype(np.float32 if values is None else np.float64), columns=task.prediction_columns(outputs)
    )
    frame.insert(0, "id", ids)
    more = frame.iloc[:1].assign(id="another")
    return pd.concat([frame.iloc[::-1], more], ignore_index=True)


# name: sample, facts, outputs, predictions in the sample's order, expected file
CASES: dict[str, tuple[str, Competition, list[str], Any, str]] = {
    "one probability": (
        "id,has_cactus\na.jpg,0.5\nb.jpg,0.5\n",
        facts("binary", "auc"),
        ["0", "1"],
        [[0.75, 0.25], [0, 1]],
        "id,has_cactus\na.jpg,0.250000000000\nb.jpg,1.000000000000\n",
    ),
    "one probability with whole placeholders": (
        "BraTS21ID,MGMT_value\n00001,0\n00013,1\n",
        facts("binary", "auc"),
        ["0", "1"],
        [[0.75, 0.25], [0.5, 0.5]],
        "BraTS21ID,MGMT_value\n00001,0.250000000000\n00013,0.500000000000\n",
    ),
    "the class that the column is called after": (
        "id,cat\n1,0.5\n2,0.5\n",
        facts("binary", "log_loss"),
        ["cat", "dog"],
        [[0.75, 0.25], [0.5, 0.5]],
        "id,cat\n1,0.750000000000\n2,0.500000000000\n",
    ),
    "the class that the column is called after, though raw labels are mapped": (
        "id,cat\n1,0.5\n2,0.5\n",
        facts("binary", "log_loss", names={"7": "cat", "8": "dog"}),
        ["cat", "dog"],
        [[0.75, 0.25], [0.5, 0.5]],
        "id,cat\n1,0.750000000000\n2,0.500000000000\n",
    ),
    "one label that a row has or not": (
        "id,rust\na,0\nb,0\n",
        facts("multilabel", "f1_micro"),
        ["rust"],
        [[0.75], [0.25]],
        "id,rust\na,1\nb,0\n",
    ),
    "a column for each label, compared as a set": (
        "id,scab,rust\na,0,0\nb,0,0\n",
        facts("multilabel", "f1_micro"),
        ["rust", "scab"],
        [[0.75, 0.25], [0.5, 0.5]],
        "id,scab,rust\na,0,1\nb,1,1\n",
    ),
    "a line for each label, compared as a set": (
        "id,y\na_rust,0\na_scab,0\nb_rust,0\nb_scab,0\n",
        facts("multilabel", "f1_macro"),
        ["rust", "scab"],
        [[0.75, 0.25], [0.5, 0.5]],
        "id,y\na_rust,1\na_scab,0\nb_rust,1\nb_scab,1\n",
    ),
    "numbers of grades that are compared as labels": (
        "id,grade\na,0.0\nb,0.0\n",
        facts("ordinal", "quadratic_weighted_kappa", kind="value"),
        ["none", "mild", "severe"],
        [[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]],
        "id,grade\na,0\nb,2\n",
    ),
    "one score": (
        "Id,Label\n1.jpg,0\n2.jpg,0\n",
        facts("binary", "weighted_auc", kind="value"),
        ["no", "yes"],
        [[1.5, -0.5], [0.5, 0.5]],
        "Id,Label\n1.jpg,-0.5\n2.jpg,0.5\n",
    ),
    "a whole number of a class": (
        "id_code,diagnosis\nx,0\ny,0\n",
        facts("ordinal", "quadratic_weighted_kappa"),
        ["0", "1", "2"],
        [[0, 0.25, 0.75], [0.5, 0.25, 0.25]],
        "id_code,diagnosis\nx,2\ny,0\n",
    ),
    "a class name with an index column": (
        ",id,label\n0,a,cat\n1,b,cat\n",
        facts("multiclass", "accuracy"),
        ["cat", "dog", "1"],
        [[0, 0.25, 0.75], [0.25, 0.5, 0.25]],
        ",id,label\n0,a,1\n1,b,dog\n",
    ),
    "raw labels behind class names": (
        "id,label\na,4\nb,4\n",
        facts("multiclass", "accuracy", names={"0": "blight", "4": "healthy"}),
        ["blight", "healthy"],
        [[0.75, 0.25], [0.25, 0.75]],
        "id,label\na,0\nb,4\n",
    ),
    "class names although raw labels are mapped": (
        "id,label\na,healthy\nb,blight\n",
        facts("multiclass", "accuracy", names={"0": "blight", "4": "healthy"}),
        ["blight", "healthy"],
        [[0.75, 0.25], [0.25, 0.75]],
        "id,label\na,blight\nb,healthy\n",
    ),
    "numbers of classes in a written order": (
        "id,label\na,0\nb,0\n",
        facts("multiclass", "accuracy", classes=["zebra", "ape"]),
        ["zebra", "ape"],
        [[0.75, 0.25], [0.25, 0.75]],
        "id,label\na,0\nb,1\n",
    ),
    "empty label cells": (
        "id,label\na,\nb,\n",
        facts("multiclass", "accuracy"),
        ["1", "2", "10"],
        [[0, 0.25, 0.75], [0.25, 0.5, 0.25]],
        "id,label\na,10\nb,2\n",
    ),
    "placeholders that are no class": (
        "Id,Predicted\n0,0\n1,0\n",
        facts("multiclass", "f1_macro"),
        ["17", "23", "5"],
        [[0, 0.25, 0.75], [0.25, 0.5, 0.25]],
        "Id,Predicted\n0,5\n1,23\n",
    ),
    "K probabilities in another order": (
        'id,beagle,akita,"boxer, big"\nx,0.3,0.3,0.4\ny,0.3,0.3,0.4\n',
        facts("multiclass", "log_loss"),
        ["akita", "beagle", "boxer, big"],
        [[0.5, 0.25, 0.25], [0, 0, 1]],
        'id,beagle,akita,"boxer, big"\nx,0.250000000000,0.500000000000,0.250000000000\n'
        "y,0.000000000000,0.000000000000,1.000000000000\n",
    ),
    "fewer columns than outputs": (
        "StudyInstanceUID,b,a\n1.2.3,0,0\n1.2.4,0,0\n",
        facts("multilabel", "mean_column_auc"),
        ["a", "b", "c"],
        [[0.5, 0.25, 0.125], [1, 1, 1]],
        "StudyInstanceUID,b,a\n1.2.3,0.250000000000,0.500000000000\n1.2.4,1.000000000000,1.000000000000\n",
    ),
    "sets": (
        "image,labels\na,healthy\nb,healthy\nc,healthy\n",
        facts("multilabel", "f1_micro"),
        ["healthy", "rust", "scab"],
        [[0.25, 0.5, 0.75], [0, 0, 0], [1, 0, 0]],
        "image,labels\na,rust scab\nb,\nc,healthy\n",
    ),
    "the best three, ranked": (
        "Image,Id\na,w1 w2 w3\nb,w1 w2 w3\n",
        facts("multiclass", "map@3"),
        ["w1", "w2", "w3", "w4"],
        [[0.125, 0.25, 0.0, 0.625], [0.25, 0.25, 0.25, 0.25]],
        "Image,Id\na,w4 w2 w1\nb,w1 w2 w3\n",
    ),
    "long rows": (
        "ID,Label\nid_1_any,0.5\nid_1_sub_dural,0.5\nid_2_any,0.5\nid_2_sub_dural,0.5\n",
        facts("multilabel", "log_loss"),
        ["any", "sub_dural"],
        [[0.5, 0.25], [0.125, 1]],
        "ID,Label\nid_1_any,0.500000000000\nid_1_sub_dural,0.250000000000\nid_2_any,0.125000000000\n"
        "id_2_sub_dural,1.000000000000\n",
    ),
    "long rows, the output first": (
        "ID,Label\nany-id-1,0.5\nsub-dural-id-1,0.5\nany-id-2,0.5\nsub-dural-id-2,0.5\n",
        facts("multilabel", "log_loss"),
        ["any", "sub-dural"],
        [[0.5, 0.25], [0.125, 1]],
        "ID,Label\nany-id-1,0.500000000000\nsub-dural-id-1,0.250000000000\nany-id-2,0.125000000000\n"
        "sub-dural-id-2,1.000000000000\n",
    ),
    "long rows, another separator": (
        "ID,Value\na_1/y,0\na_1/x,0\na_2/x,0\na_2/y,0\n",
        facts("regression", "rmse"),
        ["x", "y"],
        [[1.5, 2.5], [3.5, -4.5]],
        "ID,Value\na_1/y,2.5\na_1/x,1.5\na_2/x,3.5\na_2/y,-4.5\n",
    ),
    "long rows with raw labels": (
        "ID,p\na_0,0\na_4,0\nb_0,0\nb_4,0\n",
        facts("multilabel", "log_loss", names={"0": "blight", "4": "rot"}),
        ["blight", "rot"],
        [[0.5, 0.25], [0.125, 1]],
        "ID,p\na_0,0.500000000000\na_4,0.250000000000\nb_0,0.125000000000\nb_4,1.000000000000\n",
    ),
    "long rows in two columns": (
        "image_id,class_name,probability\n7,rust,0.5\n7,scab,0.25\n8,scab,0.125\n8,rust,0.1\n",
        facts("multilabel", "mean_column_auc"),
        ["rust", "scab"],
        [[0.5, 0.25], [0.125, 1]],
        "image_id,class_name,probability\n7,rust,0.500000000000\n7,scab,0.250000000000\n8,scab,1.000000000000\n"
        "8,rust,0.125000000000\n",
    ),
    "long rows in two columns, the output first, and an index": (
        ",Feature,ImageId,Value\n0,x,a,0\n1,x,b,0\n2,y,a,0\n3,y,b,0\n",
        facts("regression", "rmse", kind="long"),
        ["x", "y"],
        [[1.5, 2.5], [3.5, -4.5]],
        ",Feature,ImageId,Value\n0,x,a,1.5\n1,x,b,3.5\n2,y,a,2.5\n3,y,b,-4.5\n",
    ),
    "a class and how sure it is": (
        "id,landmarks\na,137790 0.1\nb,137790 0.1\n",
        facts("multiclass", "gap"),
        ["6", "8815", "90"],
        [[0.0, 0.25, 0.75], [0.25, 0.5, 0.25]],
        "id,landmarks\na,90 0.750000000000\nb,8815 0.500000000000\n",
    ),
    "a class of two words and how sure it is": (
        "id,place\na,New York 0.5\nb,\n",
        facts("multiclass", "accuracy"),
        ["New York", "Rome"],
        [[0.25, 0.75], [0.625, 0.375]],
        "id,place\na,Rome 0.750000000000\nb,New York 0.625000000000\n",
    ),
    "columns of several targets": (
        "id,mm,colour\na,0.0,2\nb,0.0,2\n",
        facts({"hue": "multiclass", "width": "regression"}, "accuracy(hue)", target={"columns": ["colour", "mm"]}),
        ["hue=2", "hue=10", "width="],
        [[0.25, 0.75, 1.5], [0.5, 0.5, -2]],
        "id,mm,colour\na,1.5,10\nb,-2.0,2\n",
    ),
    "a class and a whole number": (
        "id,hue,grade\na,2,0\nb,2,0\n",
        facts({"hue": "multiclass", "grade": "regression"}, "quadratic_weighted_kappa", bounds=[0, 4]),
        ["hue=2", "hue=10", "grade="],
        [[0.25, 0.75, 1.5], [0.5, 0.5, 7.25]],
        "id,hue,grade\na,10,2\nb,2,4\n",
    ),
    "lines of several targets": (
        "row_id,target\na_1_width,0\na_1_hue,0\nb_1_width,0\nb_1_hue,0\n",
        facts({"hue": "multiclass", "width": "regression"}, "accuracy(hue)"),
        ["hue=2", "hue=10", "width="],
        [[0.25, 0.75, 1.5], [0.5, 0.5, -2]],
        "row_id,target\na_1_width,1.5\na_1_hue,10\nb_1_width,-2.0\nb_1_hue,2\n",
    ),
    "a bounded number": (
        "Id,Pawpularity\na,50.0\nb,50.0\n",
        facts("regression", "rmse", bounds=[1, 100]),
        [""],
        [[250.0], [33.25]],
        "Id,Pawpularity\na,100.0\nb,33.25\n",
    ),
    "numbers in columns": (
        "id,y,x\na,0,0\nb,0,0\n",
        facts("regression", "mean_column_rmse"),
        ["x", "y"],
        [[-0.5, 2.0], [1.5, 3.0]],
        "id,y,x\na,2.0,-0.5\nb,3.0,1.5\n",
    ),
    "a number of an ordinal task": (
        "id,grade\na,0\nb,0\n",
        facts("ordinal", "rmse"),
        ["low", "mid", "high"],
        [[0.5, 0.5, 0], [0, 0.25, 0.75]],
        "id,grade\na,0.5\nb,1.75\n",
    ),
    "a whole number of a regression": (
        "id,grade\na,0\nb,0\n",
        facts("regression", "quadratic_weighted_kappa", bounds=[0, 4]),
        [""],
        [[1.5], [7.25]],
        "id,grade\na,2\nb,4\n",
    ),
}


ENTITIES = {
    "long rows": ["id_1", "id_2"],
    "a line for each label, compared as a set": ["a", "b"],
    "lines of several targets": ["a_1", "b_1"],
    "long rows, the output first": ["id-1", "id-2"],
    "long rows, another separator": ["a_1", "a_2"],
    "long rows with raw labels": ["a", "b"],
    "long rows in two columns": ["7", "8"],
    "long rows in two columns, the output first, and an index": ["a", "b"],
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_submission(case: str, tmp_path: Path) -> None:
    text, about, outputs, values, expected = CASES[case]
    sample = table(text, tmp_path)
    entities = ENTITIES.get(case) or list(Form.open(sample, about, outputs).kind.lines.entities)
    form = Form.open(sample, about, outputs)
    found = form.write(predictions(entities, about.task, outputs, values))
    path = tmp_path / "submission.csv"
    write_csv(path, found)
    assert path.read_text() == expected
    again = read_csv(path)
    form.check(again, "submission.csv")
    back_ids, back = form.read_back(again)
    assert back_ids == entities
    assert len(back) == len(entities)
    assert form.write(predictions(entities, about.task, outputs, values)).equals(found)


def test_the_cases_hold_every_kind(tmp_path: Path) -> None:
    kinds = {Form.open(table(case[0], tmp_path), case[1], case[2]).kind.name for case in CASES.values()}
    assert kinds == set(KINDS)


# kind: task, metric, outputs, predictions that the cells can hold exactly, cells that no grader takes
EXACT: dict[str, tuple[Any, str, list[str], list[list[float]], list[str]]] = {
    "probability": ("binary", "auc", ["n", "y"], [[0.75, 0.25], [0, 1]], ["", "yes", "nan", "1.5", "-inf"]),
    "probabilities": ("multiclass", "log_loss", ["a", "b"], [[0.75, 0.25], [0, 1]], ["", "x", "NaN", "2", "0.6"]),
    "value": ("regression", "rmse", [""], [[-1.5], [0.1]], ["", "much", "NA", "inf"]),
    "values": ("regression", "rmse", ["x", "y"], [[-1.5, 2], [1e-9, 3e9]], ["", "far", "null", "inf"]),
    "label": ("multiclass", "accuracy", ["a b", "c"], [[1, 0], [0, 1]], ["", "d", "a"]),
    "label_score": ("multiclass", "gap", ["a b", "c"], [[0.625, 0], [0, 1]], ["c", "d 0.5", "c x", "c 2", "c nan"]),
    "labels": ("multilabel", "f1_micro", ["a", "b", "c"], [[1, 0, 1], [0, 0, 0]], ["d", "a,b", "a a"]),
    "ranked": ("multiclass", "map@2", ["a", "b", "c"], [[0, 1, 0.5], [0.5, 0, 1]], ["", "d", "a a", "a b c"]),
    "targets": (
        {"hue": "binary", "width": "regression"},
        "accuracy(hue)",
        ["hue=n", "hue=y", "width="],
        [[1, 0, -1.5], [0, 1, 1e-9]],
        ["", "wide", "nan", "inf"],
    ),
    "long": ("multilabel", "auc", ["a", "b"], [[0.75, 0.25], [0, 1]], ["", "yes", "nan", "1.5", "-inf"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_every_kind_keeps(kind: str) -> None:
    """Its own sample is one; what is written passes the gate and reads back as it was; broken cells are refused."""
    task, metric, outputs, values, broken = EXACT[kind]
    about, ids = facts(task, metric, kind=kind), ["007", "008"]
    sample = make_sample(pd.DataFrame({"row_id": ids}), about, outputs).map(str).astype(str)
    form = Form.open(sample, about, outputs)
    assert form.kind.name == kind
    assert (form.kind.lines.ids(sample).is_unique, list(form.kind.ids)) == (True, ids)
    form.check(sample, "the sample itself")
    written = form.write(predictions(ids, about.task, outputs, values))
    form.check(written, "submission.csv")
    back_ids, back = form.read_back(written)
    assert back_ids == ids
    assert back.tolist() == values
    again = pd.DataFrame(back, columns=about.task.prediction_columns(outputs)).assign(id=back_ids)
    assert form.write(again).equals(written)
    wide = form.kind.wide if isinstance(form.kind, Long) else form.kind
    anywhere = pd.DataFrame(wide.write(np.array(values[::-1] * 3), default_decision(about.task, len(outputs))))
    assert wide.read(anywhere).tolist() == values[::-1] * 3, "rows of another table than the sample"
    for cell in broken:
        column = form.kind.columns[-1]
        bad = written.assign(**{column: [*written[column][:-1], cell]}).astype(str)
        with pytest.raises(FoldlineError, match=f"line {len(bad) + 1} ") as caught:
            form.check(bad, "submission.csv")
        assert (caught.value.where, ids[-1] in str(caught.value)) == ("submission.csv", True)


def test_the_facts_name_every_kind() -> None:
    known = str(Submission.model_fields["kind"].description)
    assert all(f"{kind}," in known or f"{kind};" in known for kind in KINDS)


ROUND_TRIPS = {
    "one probability": [[0.75, 0.25], [0, 1]],
    "the class that the column is called after": [[0.75, 0.25], [0.5, 0.5]],
    "the class that the column is called after, though raw labels are mapped": [[0.75, 0.25], [0.5, 0.5]],
    "a whole number of a class": [[0, 0, 1], [1, 0, 0]],
    "raw labels behind class names": [[1, 0], [0, 1]],
    "fewer columns than outputs": [[0.5, 0.25, 0], [1, 1, 0]],
    "sets": [[0, 1, 1], [0, 0, 0], [1, 0, 0]],
    "the best three, ranked": [[1 / 3, 1 / 2, 0, 1], [1, 1 / 2, 1 / 3, 0]],
    "long rows": [[0.5, 0.25], [0.125, 1]],
    "long rows, the output first": [[0.5, 0.25], [0.125, 1]],
    "long rows, another separator": [[1.5, 2.5], [3.5, -4.5]],
    "long rows in two columns, the output first, and an index": [[1.5, 2.5], [3.5, -4.5]],
    "a class and how sure it is": [[0, 0, 0.75], [0, 0.5, 0]],
    "numbers in columns": [[-0.5, 2.0], [1.5, 3.0]],
    "a number of an ordinal task": [[0.5], [1.75]],
    "a whole number of a regression": [[2], [4]],
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_a_submission_reads_back_as_predictions(case: str, tmp_path: Path) -> None:
    text, about, outputs, _, expected = CASES[case]
    sample = table(text, tmp_path)
    _, back = Form.open(sample, about, outputs).read_back(table(expected, tmp_path))
    assert back == pytest.approx(np.array(ROUND_TRIPS[case]))


def test_decisions_reach_the_cells(tmp_path: Path) -> None:
    text, about, outputs, values, _ = CASES["sets"]
    sample = table(text, tmp_path)
    decision = Decision("thresholds", (0.2, 0.6, 0.9), minimum=1)
    found = Form.open(sample, about, outputs).write(predictions(["a", "b", "c"], about.task, outputs, values), decision)
    assert found["labels"].tolist() == ["healthy", "healthy", "healthy"]


@pytest.mark.parametrize("classes", [2, 7, 120, 1010])
def test_rows_sum_to_one_after_rounding(classes: int, tmp_path: Path) -> None:
    outputs = [f"c{j}" for j in range(classes)]
    ids = [f"{i:04d}" for i in range(50)]
    about = facts("multiclass", "log_loss")
    sample = empty_sample(ids, outputs)
    form, frame = Form.open(sample, about, outputs), predictions(ids, about.task, outputs)
    frame["prob_c0"] = 0.0  # float32 rows that no longer sum to 1
    path = tmp_path / "submission.csv"
    write_csv(path, form.write(frame))
    found = read_csv(path)
    form.check(found, "x")
    numbers = found[outputs].astype(float).to_numpy()
    assert np.abs(numbers.sum(axis=1) - 1).max() < 1e-9
    assert all(sum(map(Decimal, row)) == 1 for row in found[outputs].head(3).to_numpy().tolist())  # exactly
    expected = frame.set_index("id").loc[ids].to_numpy(dtype=float)
    expected /= expected.sum(axis=1, keepdims=True)
    assert numbers == pytest.approx(expected, abs=1e-9)


def test_another_row_sum_is_met(tmp_path: Path) -> None:
    about = facts("soft", "rmse", row_sum=100.0, bounds=[0, 100])
    sample = table("id,a,b,c\n1,30,30,40\n2,30,30,40\n", tmp_path)
    form = Form.open(sample, about, list("abc"))
    found = form.write(predictions(["1", "2"], about.task, ["a", "b", "c"], [[1, 1, 1], [0, 0, 1]]))
    numbers = found[["a", "b", "c"]].astype(float).to_numpy()
    assert numbers.sum(axis=1) == pytest.approx(100, abs=1e-9)
    assert numbers[1].tolist() == [0, 0, 100]
    form.check(found, "x")


def test_independent_columns_are_not_scaled(tmp_path: Path) -> None:
    about = facts("multiclass", "mean_column_auc")
    sample = empty_sample(["a"], ["x", "y"])
    form = Form.open(sample, about, ["x", "y"])
    found = form.write(predictions(["a"], about.task, ["x", "y"], [[0.25, 0.25]]))
    assert found.to_numpy().tolist() == [["a", "0.250000000000", "0.250000000000"]]


def test_text_of_numbers() -> None:
    units = np.array([0, 1, 999_999_999_999, 10**12, 9_999_999_999_999])
    expected = [f"{unit / 1e12:.12f}" for unit in units.tolist()]
    assert text_column(units).tolist() == expected
    assert text_column(np.array([-5, 25 * 10**12])).tolist() == ["-0.000000000005", "25.000000000000"]


def test_fifty_thousand_rows_of_a_hundred_classes_take_less_than_two_seconds() -> None:
    outputs = [f"c{j}" for j in range(100)]
    ids = [f"{i:06d}" for i in range(50_000)]
    about = facts("multiclass", "log_loss")
    sample = empty_sample(ids, outputs)
    frame = predictions(ids, about.task, outputs)
    start = time.process_time()
    found = Form.open(sample, about, outputs).write(frame)
    assert time.process_time() - start < 2.0
    assert found["id"].tolist() == ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "1 of its 2 ids have no prediction: b.jpg"),
        ("twice", "1 id occurs more than once: a.jpg"),
        ("nan", "1 predictions are not finite: a.jpg"),
    ],
)
def test_predictions_that_do_not_fit(change: str, message: str, tmp_path: Path) -> None:
    text, about, outputs, values, _ = CASES["one probability"]
    frame = predictions(["a.jpg", "b.jpg"], about.task, outputs, values)
    if change == "missing":
        frame = frame[frame["id"] != "b.jpg"]
    elif change == "twice":
        frame = pd.concat([frame, frame[frame["id"] == "a.jpg"]])
    else:
        frame.loc[frame["id"] == "a.jpg", "prob_1"] = np.nan
    with pytest.raises(FoldlineError, match=message):
        Form.open(table(text, tmp_path), about, outputs).write(frame)


@pytest.mark.parametrize(
    ("text", "about", "outputs", "message"),
    [
        ("id\na\n", facts("binary", "auc"), ["0", "1"], "no column for answers"),
        ("id,p\na,0\na,0\n", facts("binary", "auc"), ["0", "1"], "no column has another id in each row"),
        ("id,x,z\na,0,0\n", facts("multiclass", "log_loss"), ["x", "y"], "called after its column z"),
        ("id,l\na,0\nb,0\n", facts("multiclass", "accuracy"), ["cat", "dog"], "whole numbers"),
        ("id,l\na,0\nb,0\n", facts("binary", "auc", kind="prob"), ["0", "1"], "unknown submission kind 'prob'"),
        ("id,l\na,x y\nb,x\n", facts("multilabel", "f1_micro"), ["x", "y z"], "hold the separator"),
        ("id,l\na,0\nb,0\n", facts("multiclass", "auc", kind="probability"), ["x", "y", "z"], "cannot hold 3 numbers"),
    ],
)
def test_samples_that_cannot_be_understood(
    text: str, about: Competition, outputs: list[str], message: str, tmp_path: Path
) -> None:
    sample = table(text, tmp_path)
    with pytest.raises(FoldlineError, match=message):
        Form.open(sample, about, outputs).write(predictions(sample["id"].unique().tolist(), about.task, outputs))


def test_ids_that_only_look_long_are_not(tmp_path: Path) -> None:
    """img_0 ... img_9 of a task whose classes are the digits."""
    digits = [str(i) for i in range(10)]
    sample = table("id,label\n" + "".join(f"img_{i},0\n" for i in range(10)), tmp_path)
    assert Form.open(sample, facts("multiclass", "accuracy"), digits).kind.name == "label"


@pytest.mark.parametrize(
    ("task", "outputs", "kind", "header", "cells"),
    [
        (TASKS["binary"], ["no", "yes"], "auto", ["row_id", "target"], [0.5]),
        (TASKS["binary"], ["no", "yes"], "label", ["row_id", "target"], ["no"]),
        (TASKS["multiclass"], ["a", "b", "c", "d"], "auto", ["row_id", "a", "b", "c", "d"], [0.25] * 4),
        (TASKS["multiclass"], ["a", "b"], "ranked", ["row_id", "target"], ["a b"]),
        (TASKS["soft"], ["a", "b"], "auto", ["row_id", "a", "b"], [0.5, 0.5]),
        (TASKS["multilabel"], ["a", "b", "c"], "auto", ["row_id", "a", "b", "c"], [0.5] * 3),
        (TASKS["multilabel"], ["a", "b", "c"], "labels", ["row_id", "target"], ["a"]),
        (TASKS["ordinal"], ["0", "1"], "auto", ["row_id", "target"], ["0"]),
        (TASKS["ordinal"], ["0", "1"], "value", ["row_id", "target"], [0.0]),
        (TASKS["regression"], [""], "auto", ["row_id", "target"], [0.0]),
        (TASKS["regression"], ["x", "y"], "auto", ["row_id", "x", "y"], [0.0, 0.0]),
    ],
)
def test_sample_submission(task: Any, outputs: list[str], kind: str, header: list[str], cells: list[Any]) -> None:
    sample = make_sample(pd.DataFrame({"row_id": ["b", "a"]}), facts(task, "", kind=kind), outputs)
    assert sample.columns.tolist() == header
    assert sample.iloc[:, 0].tolist() == ["b", "a"]
    assert sample.iloc[0, 1:].tolist() == cells
    ids = pd.DataFrame({"row_id": ["b", "a", 'a "quoted", one', "c"]})
    whole = make_sample(ids, facts(task, "", kind=kind), outputs).to_csv(index=False, lineterminator="\n")
    assert "".join(sample_text(ids, facts(task, "", kind=kind), outputs, rows=3)) == whole


def test_a_sample_of_an_unknown_kind() -> None:
    with pytest.raises(FoldlineError, match="unknown submission kind 'probabilty'"):
        make_sample(pd.DataFrame({"row_id": ["a"]}), facts("binary", "auc", kind="probabilty"), ["n", "y"])


def test_a_sample_has_one_line_for_each_entity() -> None:
    test = pd.DataFrame({"row_id": ["1", "2", "3"], "entity": ["p", "p", "q"]})
    assert "".join(sample_text(test, facts("binary", "auc"), ["n", "y"], rows=1)).splitlines()[1:] == ["p,0.5", "q,0.5"]
    assert make_sample(test, facts("binary", "auc"), ["n", "y"])["entity"].tolist() == ["p", "q"]


@pytest.mark.parametrize(
    ("task", "metric", "outputs", "kind"),
    [
        (TASKS["binary"], "auc", ["0", "1"], "probability"),
        (TASKS["binary"], "accuracy", ["no", "yes"], "label"),
        (TASKS["multiclass"], "log_loss", ["a", "b", "c"], "probabilities"),
        (TASKS["multiclass"], "map@5", ["a", "b", "c"], "probabilities"),
        (TASKS["multiclass"], "accuracy", ["0", "1", "2"], "probabilities"),
        (TASKS["ordinal"], "quadratic_weighted_kappa", ["0", "1", "2"], "label"),
        (TASKS["multilabel"], "f1_samples", ["a", "b"], "probabilities"),
        (TASKS["multilabel"], "auc", ["a", "b"], "probabilities"),
        (TASKS["soft"], "kl_divergence", ["a", "b"], "probabilities"),
        (TASKS["regression"], "rmse", [""], "value"),
        (TASKS["regression"], "rmse", ["x", "y"], "values"),
    ],
)
def test_the_sample_of_a_holdout_is_understood(task: Any, metric: str, outputs: list[str], kind: str) -> None:
    about = facts(task, metric)
    ids = ["007", "008", "009"]
    sample = make_sample(pd.DataFrame({"row_id": ids}), about, outputs).map(str).astype(str)
    form = Form.open(sample, about, outputs)
    assert form.kind.name == kind
    assert sample["row_id"].tolist() == ids
    form.check(form.write(predictions(ids, task, outputs)), "x")


@pytest.mark.parametrize(
    ("task", "metric", "outputs", "kind"),
    [
        (TASKS["multilabel"], "auc", ["a", "b"], "long"),
        (TASKS["regression"], "rmse", ["x", "y"], "long"),
        (TASKS["multiclass"], "log_loss", ["0", "1", "2"], "long"),
        (TASKS["multiclass"], "gap", ["a", "b", "c"], "label_score"),
    ],
)
def test_a_holdout_may_ask_for_other_kinds(task: Any, metric: str, outputs: list[str], kind: str) -> None:
    about, ids = facts(task, metric, kind=kind), ["0", "1", "2"]
    sample = make_sample(pd.DataFrame({"row_id": ids}), about, outputs).map(str).astype(str)
    values = np.random.default_rng(1).dirichlet(np.ones(len(outputs)), 3)
    form = Form.open(sample, about, outputs)
    found = form.write(predictions(ids, task, outputs, values))
    assert len(found) == (3 * len(outputs) if kind == "long" else 3)
    form.check(found, "x")
    back_ids, back = form.read_back(found)
    assert back_ids == ids
    best = np.eye(len(outputs))[values.argmax(axis=1)]
    assert back == pytest.approx(values if kind == "long" else values * best, abs=1e-6)


# what is done to a good submission, and what the gate must say
BROKEN: dict[str, tuple[str, Any, str]] = {
    "other column": (
        "one probability",
        lambda f: f.rename(columns={"has_cactus": "label"}),
        "lacks the column 'has_cactus' and has the column 'label'",
    ),
    "columns swapped": ("one probability", lambda f: f[["has_cactus", "id"]], "columns in another order"),
    "row missing": ("one probability", lambda f: f.iloc[:1], "1 id of the sample is missing: b.jpg"),
    "row too many": (
        "one probability",
        lambda f: pd.concat([f, f.assign(id=["c", "d"])]),
        "2 ids are not in the sample: c, d",
    ),
    "row twice": ("one probability", lambda f: pd.concat([f, f]), "2 ids occur more than once: a.jpg, b.jpg"),
    "other order": ("one probability", lambda f: f.iloc[::-1], "line 2 has 'b.jpg', the sample has 'a.jpg'"),
    "zeros lost": ("one probability with whole placeholders", {"BraTS21ID": ["1", "13"]}, "leading zeros were lost"),
    "extension lost": ("one probability", {"id": ["a", "b"]}, "have a file extension"),
    "empty cell": ("one probability", {"has_cactus": ["0.5", ""]}, r"empty cells: line 3 \(id b.jpg\)"),
    "not a number": ("one probability", {"has_cactus": ["0.5", "0,5"]}, "no numbers: line 3 .*'0,5'"),
    "nan": ("one probability", {"has_cactus": ["NaN", "0.5"]}, r"\(NaN\): line 2 \(id a.jpg\)"),
    "infinite": ("one score", {"Label": ["inf", "0.5"]}, "infinite numbers: line 2"),
    "above one": ("one probability", {"has_cactus": ["0.5", "1.01"]}, "outside 0 to 1: line 3 .*'1.01'"),
    "out of bounds": ("a bounded number", {"Pawpularity": ["0.5", "3"]}, "outside 1 to 100: line 2"),
    "long out of range": ("long rows", {"Label": ["-0.1", "0", "0", "0"]}, "outside 0 to 1: line 2"),
    "unknown class": (
        "a class name with an index column",
        {"label": ["cat", "cow"]},
        "unknown classes: line 3 .*'cow'(.|\n)*known: cat, dog, 1",
    ),
    "float for a class": ("a whole number of a class", {"diagnosis": ["2.0", "0.0"]}, "without '.0'"),
    "empty class": ("a whole number of a class", {"diagnosis": ["2", " "]}, "empty cells: line 3"),
    "other index": ("a class name with an index column", {"": ["1", "2"]}, "index column '' is not"),
    "row sums": (
        "K probabilities in another order",
        {"akita": ["0.6", "0"]},
        r"1 row does not add up to 1: line 2 \(id x\): 1.1",
    ),
    "unknown in a set": ("sets", {"labels": ["rust", "", "rust,scab"]}, "unknown classes: line 4 .*'rust,scab'"),
    "twice in a set": ("sets", {"labels": ["rust rust", "", ""]}, "a class twice in one cell: line 2"),
    "too many ranked": (
        "the best three, ranked",
        {"Id": ["w1 w2 w3 w4", "w1"]},
        "more than 3 classes in one cell: line 2",
    ),
    "no ranked": ("the best three, ranked", {"Id": ["w1", ""]}, "empty cells: line 3"),
    "other entity of a pair": (
        "long rows in two columns",
        {"image_id": ["7", "7", "8", "9"]},
        "1 id of the sample is missing: 8 / rust; 1 id is not in the sample: 9 / rust",
    ),
    "a pair twice": ("long rows in two columns", {"class_name": ["rust", "rust", "scab", "rust"]}, "once: 7 / rust"),
    "pairs in another order": ("long rows in two columns", lambda f: f.iloc[::-1], "line 2 has '8 / rust'"),
    "number of a pair": ("long rows in two columns", {"probability": ["2", "0", "0", "0"]}, r"line 2 \(id 7 / rust\)"),
    "no confidence": ("a class and how sure it is", {"landmarks": ["90", ""]}, "no known class .*line 2"),
    "an unknown class with confidence": (
        "a class and how sure it is",
        {"landmarks": ["", "7 0.5"]},
        "line 3 .*'7 0.5'",
    ),
    "a confidence that is none": ("a class and how sure it is", {"landmarks": ["90 sure", ""]}, "no numbers: line 2"),
    "too sure": ("a class and how sure it is", {"landmarks": ["90 0.5", "6 1.5"]}, "outside 0 to 1: line 3"),
    "fraction for a whole number": ("a whole number of a regression", {"grade": ["1.5", "2"]}, "not whole: line 2"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_gate_refuses(broken: str, tmp_path: Path) -> None:
    case, change, message = BROKEN[broken]
    text, about, outputs, _, expected = CASES[case]
    form = Form.open(table(text, tmp_path), about, outputs)
    good = table(expected, tmp_path)
    form.check(good, "submissions/x.csv")
    path = tmp_path / "bad.csv"
    write_csv(path, good.assign(**change) if isinstance(change, dict) else change(good))
    with pytest.raises(FoldlineError) as caught:
        form.check(read_csv(path), "submissions/x.csv")
    assert re.search(message, str(caught.value))
    assert caught.value.where == "submissions/x.csv"


def test_a_row_with_more_cells_than_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FoldlineError, match="more cells than the header"):
        table("id,p\na,0.5,7\nb,0.5\n", tmp_path)


def test_a_users_own_file_need_not_be_written_like_ours(tmp_path: Path) -> None:
    text, about, outputs, _, _ = CASES["K probabilities in another order"]
    sample = table(text, tmp_path)
    theirs = table('id,beagle,akita,"boxer, big"\nx,1e-3, .5,0.499\ny,1,0,0.0\n', tmp_path)
    Form.open(sample, about, outputs).check(theirs, "x")
