"""What folds says and refuses of a submission before anything is trained, and ensemble before anything is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldline.core.tables import read_json, write_json
from foldline.core.task import Array
from foldline.scoring.decide import Decision
from foldline.submission.kind import Cells
from foldline.submission.numbers import Probability
from stages.test_ensemble import timid, write_run
from submission.test_projects import Project, png
from tiny import RUN, TinyProject

RAW = {f"{number:02d}.png": png(number) for number in range(18)}


def competition(root: Path, labels: list[str], column: str = "prediction", ending: str = "") -> Project:
    """Twelve training rows and six test rows of a sample."""
    train = "".join(f"{number:02d},{labels[number % len(labels)]}\n" for number in range(12))
    ids = [f"{number:02d}" for number in range(12, 18)]
    tables = {
        "train.csv": f"id,label\n{train}",
        "test.csv": "id\n" + "".join(f"{name}\n" for name in ids),
        "sample_submission.csv": f"id,{column}\n" + "".join(f"{name}{ending},0\n" for name in ids),
    }
    return Project(root, {**RAW, **tables})


def stated(task: str, metric: str, **more: Any) -> dict[str, Any]:
    rows = {"row_id": "id", "image": "{id}.png"}
    return {
        "task": task, "metric": metric, "train": {"file": "train.csv", "target": "label", **rows},
        "test": {"file": "test.csv", **rows}, "folds": {"k": 2}, **more,
    }  # fmt: skip


def refused(made: Project, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """What folds says where it refuses; no folds are there then."""
    with pytest.raises(AssertionError):
        made.folds("x", facts)
    assert not made.layout.folds("x").exists()
    return capsys.readouterr().err


def test_ids_of_the_sample_that_are_no_test_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = competition(tmp_path, ["0", "1"], ending=".png")
    said = refused(made, stated("binary", "auc"), capsys)
    assert "6 of its 6 ids are no test rows: 12.png" in said
    assert 'such as "{id.stem}"' in said
    made = competition(tmp_path / "2", ["0", "1"], ending=".png")
    assert len(made.folds("x", stated("binary", "auc", submission={"entity": "{id.stem}"}))) == 12


def test_doubtful_words_ask_for_classes_and_are_said_then(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, facts = competition(tmp_path, ["abnormal", "normal"]), stated("binary", "auc")
    assert 'classes: ["normal", "abnormal"]' in refused(made, facts, capsys)
    made = competition(tmp_path / "2", ["abnormal", "normal"])
    made.folds("x", {**facts, "classes": ["normal", "abnormal"]})
    assert "column 'prediction' = probability of 'abnormal'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (stated("binary", "auc", submission={"kind": "label"}), "can such cells hold what the metric reads"),
        (stated("binary", "auc", submission={"kind": "ranked", "separator": "0"}), "class names hold the separator"),
        (stated("binary", "weighted_log_loss@1,2,3"), "3 weights"),
        (stated("binary", "auc", metrics=["mae"]), "metric 'mae' has no meaning"),
    ],
)
def test_what_ensemble_would_refuse_is_found_by_folds(
    facts: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(competition(tmp_path, ["0", "1"]), facts, capsys)


def test_classes_that_say_what_was_found_keep_the_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = competition(tmp_path, ["1", "3", "2"], "stars")
    made.folds("x", stated("ordinal", "mae"))
    assert "column 'stars' = the expected class as a number: 1, 2, 3" in capsys.readouterr().out
    config = made.layout.competition_config("x")
    text = config.read_text()
    config.write_text(text + "classes: ['1', '2', '3']\n")
    assert made.run("folds", "x") == 0
    assert "is up to date" in capsys.readouterr().out
    config.write_text(text + "classes: ['3', '2', '1']\n")
    assert made.run("folds", "x") == 2


def test_grades_are_handed_in_as_they_are_graded(tmp_path: Path) -> None:
    made = competition(tmp_path, ["0", "10", "100"], "grade")
    made.folds("x", stated("ordinal", "mae"))
    lines = made.submit("x", {f"{number:02d}": [0.0, 0.5, 0.5] for number in range(12, 18)})
    assert {line.split(",")[1] for line in lines[1:]} == {"55.0"}
    entry = read_json(made.layout.submission("x", "made").with_suffix(".json"))
    assert entry["meaning"] == ["column 'grade' = the expected class as a number: 0, 10, 100"]
    assert entry["cv"]["pooled"] == pytest.approx(np.abs(np.array([0, 10, 100]) - 110 / 3).mean())


def shifted(self: Probability, values: Array, decision: Decision) -> Cells:
    """Each row's answer in the line after its own."""
    return super(Probability, self).write(np.roll(values, 1, axis=0), decision)


def test_a_submission_that_means_something_else_is_not_written(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.prepare()
    for name in ("quick", "other"):
        project.write_yaml(name, RUN)
        write_run(project, name, timid)
    with monkeypatch.context() as broken:
        broken.setattr(Probability, "write", shifted)
        for arguments in ([], ["--runs", "quick other", "--name", "both"]):
            assert project.run("ensemble", *arguments) == 2
            assert "auc of the validation rows is 1 by their predictions, and 0." in capsys.readouterr().err
    assert not list((project.root / "submissions").rglob("*.csv"))
    assert project.run("ensemble", "--runs", "quick other", "--name", "both") == 0
    assert "read back as a grader would, auc is 1 on the validation rows" in capsys.readouterr().out


def test_labels_whose_numbers_count_are_scored_as_labels(tmp_path: Path) -> None:
    made = competition(tmp_path, ["0", "10", "100"], "grade")
    made.folds("x", stated("ordinal", "mae", metrics=["accuracy"], submission={"kind": "label"}))
    lines = made.submit("x", {f"{number:02d}": [0.0, 0.4, 0.6] for number in range(12, 18)})
    assert {line.split(",")[1] for line in lines[1:]} == {"100"}
    entry = read_json(made.layout.submission("x", "made").with_suffix(".json"))
    assert entry["cv"]["pooled"] == pytest.approx(110 / 3), "each validation row is called 0"


def test_a_score_in_another_unit_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An earlier version scored grades by their places."""
    made = competition(tmp_path, ["0", "10", "100"], "grade")
    made.folds("x", stated("ordinal", "mae"))
    made.submit("x", {f"{number:02d}": [0.0, 0.5, 0.5] for number in range(12, 18)})
    path = made.layout.run("x", "made") / "cv.json"
    right = read_json(path)
    write_json(path, {**right, "pooled": 0.667})
    made.layout.submission("x", "made").unlink()
    capsys.readouterr()
    assert made.run("ensemble", "x", "--run", "made") == 0
    assert f"scored anew, {right['pooled']:.4f}; cv.json said 0.6670" in capsys.readouterr().out
    assert read_json(path)["pooled"] == pytest.approx(right["pooled"], abs=1e-6)  # read as float32
