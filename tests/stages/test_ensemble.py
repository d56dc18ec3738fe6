"""The submission's labels: decided as fitted on OOF where that is honestly better, and the scores that stand beside."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import load_competition
from foldline.core.folds import load_folds
from foldline.core.tables import read_csv, read_json, write_json, write_parquet
from foldline.core.task import Array
from foldline.scoring.cv import cross_validation
from foldline.submission.form import sample_path
from tiny import FACTS, TinyProject

GRADES = ["none", "mild", "severe"]
Predict = Callable[[Array, np.random.Generator], Array]


def timid(truth: Array, rng: np.random.Generator) -> Array:
    """Probabilities of two classes that know the class, and never reach 0.5."""
    positive = 0.1 + 0.2 * truth + 0.15 * rng.random(len(truth))
    return np.stack([1 - positive, positive], axis=1)


def clueless(truth: Array, rng: np.random.Generator) -> Array:
    positive = rng.random(len(truth))
    return np.stack([1 - positive, positive], axis=1)


def low_grades(truth: Array, rng: np.random.Generator) -> Array:
    """Grades in the right order, all drawn towards the lowest one."""
    expected = 0.5 * truth + rng.normal(0, 0.12, len(truth))
    logits = -3 * np.abs(np.arange(3.0)[None] - expected[:, None])
    prob: Array = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return prob


def write_run(project: TinyProject, name: str, predict: Predict, seed: int = 0) -> None:
    """The three files of a predicted run; nothing is trained."""
    layout, rng = project.layout, np.random.default_rng(seed)
    facts, folds = load_competition(layout, "tiny"), load_folds(layout, "tiny")
    columns, outputs = folds.task.prediction_columns(folds.outputs), folds.outputs
    tables = {"oof": folds.frame, "test": read_csv(layout.holdout_solution("tiny"))}
    for kind, frame in tables.items():
        truth = np.array([outputs.index(word) for word in frame["target"]], dtype=float)
        ids = ["row_id", "fold", "group", *folds.task.target_columns(outputs)] if kind == "oof" else ["row_id"]
        found = pd.DataFrame(predict(truth, rng), columns=columns)
        tables[kind] = pd.concat([frame[ids], found], axis=1)
        write_parquet(layout.run("tiny", name) / f"{kind}.parquet", tables[kind])
    record: dict[str, Any] = {"schema": 1, "comp": "tiny", "run": name, "outputs": outputs}
    record["task"] = folds.task.as_json()
    record |= cross_validation(tables["oof"], facts, outputs)
    record |= {"views": ["identity", "hflip"], "members": [], "blend": None, "optimistic": [], "below_probe": []}
    record |= {"sha256": {"folds": folds.sha256, "run": "0" * 64, "members": {}}, "device": "cpu"}
    record |= {"seconds": {"train": 1.0, "predict": 1.0}}
    write_json(layout.run("tiny", name) / "cv.json", record)


@pytest.fixture
def f1_project(project: TinyProject) -> TinyProject:
    project.write_yaml("competition", {**FACTS, "metric": "f1", "metrics": ["accuracy", "auc"]})
    project.prepare()
    return project


def records(project: TinyProject, name: str = "quick") -> tuple[dict[str, Any], dict[str, Any]]:
    """(cv.json, the ledger entry)."""
    path = project.layout.submission("tiny", name).with_suffix(".json")
    return read_json(project.layout.run("tiny", name) / "cv.json"), read_json(path)


def test_a_rare_class_is_found_by_the_fitted_threshold(
    f1_project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(f1_project, "quick", timid)
    assert f1_project.run("ensemble") == 0
    assert "labels by the fitted threshold 0.2" in capsys.readouterr().out
    cv, entry = records(f1_project)
    assert cv["decision"] == entry["decision"]
    assert (cv["decision"]["kind"], cv["decision"]["used"]) == ("threshold", "fitted")
    assert cv["decision"]["default_score"] == 0
    assert cv["pooled"] == entry["cv"]["pooled"] == cv["decision"]["cross_fitted_score"] > 0.9
    assert cv["interval"][0] > 0.5
    assert min(cv["per_fold"]) > 0.5
    assert cv["metrics"]["f1"]["pooled"] == cv["pooled"]
    assert cv["metrics"]["accuracy"]["pooled"] > 0.9, "further metrics score the labels that are submitted too"
    assert f1_project.run("score") == 0
    assert records(f1_project)[1]["private"] > 0.9
    page = (f1_project.layout.run("tiny", "quick") / "report.html").read_text()
    assert "Labels by the fitted threshold" in page


def test_the_default_decision_on_demand(f1_project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(f1_project, "quick", timid)
    path = f1_project.layout.submission("tiny", "quick")
    assert f1_project.run("ensemble") == 0
    assert f1_project.run("ensemble", "--decide", "default") == 0
    cv, entry = records(f1_project)
    assert cv["pooled"] == entry["cv"]["pooled"] == 0
    assert cv["decision"]["used"] == cv["decision"]["asked"] == "default"
    assert set(read_csv(path)["target"]) == {"dark"}
    assert "DECIDE=default" in (f1_project.layout.run("tiny", "quick") / "report.html").read_text()
    assert f1_project.run("ensemble") == 0
    assert set(read_csv(path)["target"]) == {"dark", "bright"}
    capsys.readouterr()
    assert f1_project.run("ensemble") == 0
    assert "up to date" in capsys.readouterr().out


def test_a_submission_of_another_sample_is_made_anew(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.prepare()
    write_run(project, "quick", timid)
    assert project.run("ensemble") == 0
    sample = sample_path(project.layout, "tiny", load_competition(project.layout, "tiny"))
    head, *lines = sample.read_text().splitlines()
    sample.write_text("\n".join([head, *reversed(lines)]) + "\n")
    assert project.run("ensemble") == 0
    submitted = project.layout.submission("tiny", "quick").read_text().splitlines()
    assert [line.partition(",")[0] for line in submitted[1:]] == [line.partition(",")[0] for line in reversed(lines)]
    capsys.readouterr()
    assert project.run("ensemble") == 0
    assert "up to date" in capsys.readouterr().out


def test_what_was_sent_stays_in_the_ledger(f1_project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(f1_project, "quick", timid)
    path = f1_project.layout.submission("tiny", "quick").with_suffix(".json")
    assert f1_project.run("ensemble") == 0
    sent = {"kaggle": {"ref": "7", "status": "complete"}, "public": 0.75, "message": "first"}
    write_json(path, read_json(path) | sent)
    assert f1_project.run("ensemble", "--decide", "default") == 0
    entry = read_json(path)
    assert (entry["kaggle"], entry["public"]) == (None, None), "another file, which was not sent"
    assert [(old["public"], old["cv"]["pooled"] > 0.9) for old in entry["earlier"]] == [(0.75, True)]
    capsys.readouterr()
    assert f1_project.run("ledger") == 0
    assert ["0.75000" in line for line in capsys.readouterr().out.splitlines()].count(True) == 1
    assert f1_project.run("ensemble") == 0
    entry = read_json(path)
    assert {key: entry[key] for key in sent} == sent, "the very file that was sent: not again unasked"
    assert entry["earlier"] == []


def test_noise_keeps_the_default_decision(f1_project: TinyProject) -> None:
    """A threshold fitted on noise wins on its own rows; on the other folds' it does not, and is not used."""
    used = {"default": 0, "fitted": 0}
    for seed in range(8):
        write_run(f1_project, "quick", clueless, seed)
        assert f1_project.run("ensemble") == 0
        cv, _ = records(f1_project)
        decision = cv["decision"]
        used[decision["used"]] += 1
        honest = decision["cross_fitted_score"]
        assert cv["pooled"] == (honest if decision["used"] == "fitted" else decision["default_score"])
        assert cv["pooled"] >= decision["default_score"]
    assert used["default"] >= 2


def test_each_rows_label_is_decided_without_its_fold(f1_project: TinyProject) -> None:
    """A threshold that only fold 0's labels could teach is not there in the scores of fold 0."""
    write_run(f1_project, "quick", timid)
    oof = pd.read_parquet(f1_project.layout.run("tiny", "quick") / "oof.parquet")
    positive, inside = oof["target"] == "bright", oof["fold"] == 0
    oof["prob_bright"] = np.where(positive, np.where(inside, 0.2, 0.4), 0.05)
    oof["prob_dark"] = 1 - oof["prob_bright"]
    facts = load_competition(f1_project.layout, "tiny")
    cv = cross_validation(oof, facts, ["dark", "bright"], decide="fitted")
    assert cv["per_fold"] == [0, 1, 1]
    assert 0.05 < cv["decision"]["numbers"][0] < 0.2, "the submission's threshold knows all folds"


def test_grades_get_cut_points(project: TinyProject) -> None:
    frame = pd.read_csv(project.root / "raw" / "train.csv", dtype=str)
    frame["label"] = np.random.default_rng(1).choice(GRADES, len(frame), p=[0.6, 0.25, 0.15])
    frame.to_csv(project.root / "raw" / "train.csv", index=False)
    facts = {**FACTS, "task": "ordinal", "classes": GRADES, "metric": "quadratic_weighted_kappa", "metrics": []}
    project.write_yaml("competition", facts)
    project.prepare()
    write_run(project, "quick", low_grades)
    assert project.run("ensemble") == 0
    cv, _ = records(project)
    assert (cv["decision"]["kind"], cv["decision"]["used"]) == ("cuts", "fitted")
    assert cv["pooled"] > cv["decision"]["default_score"] + 0.2
    assert project.run("score") == 0
    private = records(project)[1]["private"]
    assert project.run("ensemble", "--decide", "default") == 0
    assert project.run("score") == 0
    assert private > records(project)[1]["private"] + 0.1
    for kind in ("value", "auto"):  # the same grades where the file holds numbers
        project.write_yaml("competition", {**facts, "submission": {"kind": kind}})
        assert project.run("folds") == 0
        project.layout.submission("tiny", "quick").unlink()
        assert project.run("ensemble") == 0
        assert project.run("score") == 0
        assert records(project)[1]["private"] == private


def test_an_ensemble_is_compared_with_its_members_by_one_decision(f1_project: TinyProject) -> None:
    write_run(f1_project, "quick", timid)
    write_run(f1_project, "other", timid, 1)
    (f1_project.root / "configs/tiny/other.yaml").write_text((f1_project.root / "configs/tiny/quick.yaml").read_text())
    assert f1_project.run("ensemble") == 0
    assert f1_project.run("ensemble", "--runs", "quick other", "--name", "both") == 0
    cv, entry = records(f1_project, "both")
    assert cv["decision"]["used"] == "fitted"
    assert cv["pooled"] == entry["cv"]["pooled"] > 0.9
    assert cv["metrics"].keys() == {"f1", "accuracy", "auc"}
    from foldline.report.run.reported_run import read_run
    from foldline.report.run.score_tables import member_lines

    lines = member_lines(read_run(f1_project.layout, "tiny", "both"))
    assert [(line["name"], line["pooled"], line["gain"]) for line in lines] == [("quick", 0, 0), ("other", 0, 0)]


def test_a_metric_of_probabilities_decides_nothing(project: TinyProject) -> None:
    project.prepare()
    write_run(project, "quick", timid)
    before = read_json(project.layout.run("tiny", "quick") / "cv.json")
    assert project.run("ensemble") == 0
    cv, entry = records(project)
    assert cv == before
    assert entry["decision"] is None
