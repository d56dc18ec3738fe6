"""Layouts whose submission the facts describe, from files to a checked submission; predictions are made up here.

facial-keypoints (pixels in cells, missing numbers, a lookup table), bengali (three targets in one long sample), a
landmark competition (a label with its confidence, a class that no training row has).
"""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from foldline.cli import main
from foldline.core.competition import load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import load_folds
from foldline.core.paths import Layout
from foldline.core.tables import read_csv, read_json, write_json, write_parquet
from foldline.scoring.cv import cross_validation
from foldline.stages.submit import submit
from foldline.submission import form

PARTS = ("consonant_diacritic", "grapheme_root", "vowel_diacritic")


class Project:
    """A folder with raw files, and the command line run in it."""

    def __init__(self, root: Path, raw: dict[str, str | bytes]) -> None:
        self.layout, self.raw = Layout(root), root / "raw"
        for name, content in raw.items():
            path = self.raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def run(self, stage: str, comp: str, *more: str) -> int:
        """The exit code of a stage."""
        return main([stage, "--root", str(self.layout.root), "--comp", comp, *more])

    def folds(self, comp: str, facts: dict[str, Any]) -> pd.DataFrame:
        """Writes the facts and makes the folds."""
        source = {"source": {"kind": "folder", "name": str(self.raw)}}
        path = self.layout.competition_config(comp)
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump({**source, **facts}))
        assert self.run("download", comp) == 0
        assert self.run("folds", comp) == 0
        return read_csv(self.layout.folds(comp))

    def submit(self, comp: str, predicted: dict[str, list[float]]) -> list[str]:
        """The lines of the submission that the line makes of these predictions; it has passed the gate twice."""
        facts, folds = load_competition(self.layout, comp), load_folds(self.layout, comp)
        columns = folds.task.prediction_columns(folds.outputs)
        folder = self.layout.run(comp, "made")
        flat = np.full((len(folds.frame), len(columns)), 1 / len(columns))
        known = folds.frame[["row_id", "fold", *folds.task.target_columns(folds.outputs)]]
        oof = pd.concat([known, pd.DataFrame(flat, columns=columns)], axis=1)
        test = pd.DataFrame(list(predicted.values()), columns=columns)
        write_parquet(folder / "oof.parquet", oof)
        write_parquet(folder / "test.parquet", pd.concat([pd.Series(list(predicted), name="row_id"), test], axis=1))
        record: dict[str, Any] = {"schema": 1, "comp": comp, "run": "made", "members": ["trained"]}
        record |= {"task": folds.task.as_json()}
        record |= cross_validation(oof, facts, folds.outputs)
        record |= {"outputs": folds.outputs, "views": ["identity"], "blend": None, "optimistic": [], "below_probe": []}
        record |= {"sha256": {"folds": folds.sha256, "run": None, "members": {}}, "device": "cpu"}
        write_json(folder / "cv.json", {**record, "seconds": {"train": 1.0, "predict": 1.0}})
        assert self.run("ensemble", comp, "--run", "made") == 0
        path = self.layout.submission(comp, "made")
        assert self.run("check", comp, str(path)) == 0
        return path.read_text().splitlines()


def png(seed: int) -> bytes:
    done, content = cv2.imencode(".png", np.random.default_rng(seed).integers(0, 256, (4, 4), dtype=np.uint8))
    assert done
    return content.tobytes()


def test_facial_keypoints_row_numbers_and_missing_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = [" ".join(str(n) for n in np.random.default_rng(i).integers(0, 256, 9)) for i in range(8)]
    spots = ["1.5,2.5", "2.5,3.5", ",", "3.5,", "4.5,5.5", "5.5,6.5"]
    train = "".join(f"{spot},{cell}\n" for spot, cell in zip(spots, pixels, strict=False))
    project = Project(
        tmp_path,
        {
            "training.csv": f"left_x,nose_y,Image\n{train}",
            "test.csv": f"ImageId,Image\n1,{pixels[6]}\n2,{pixels[7]}\n",
            "IdLookupTable.csv": "RowId,ImageId,FeatureName,Location\n1,1,left_x,\n2,1,nose_y,\n3,2,nose_y,\n",
            "SampleSubmission.csv": "RowId,Location\n1,0\n2,0\n3,0\n",
        },
    )
    shown = {"pixels": {"columns": ["Image"], "height_width": [3, 3]}}
    rows = project.folds(
        "faces",
        {
            "task": "regression",
            "metric": "rmse",
            "train": {
                "file": "training.csv",
                "row_id": "line",
                **shown,
                "target": {"columns": ["left_x", "nose_y"]},
                "missing_targets": "drop",
            },
            "test": {"file": "test.csv", "row_id": "ImageId", **shown},
            "folds": {"k": 2},
            "submission": {
                "sample": "SampleSubmission.csv",
                "bounds": [0, 96],
                "join": [{"file": "IdLookupTable.csv", "left": "RowId", "right": "RowId"}],
                "entity": "ImageId",
                "output": "FeatureName",
            },
        },
    )
    assert sorted(rows["row_id"]) == ["1", "2", "5", "6"]
    assert "2 of 6 rows have not all of their 2 labels (1 of them none at all): 3, 4" in capsys.readouterr().out
    lines = project.submit("faces", {"1": [60.5, 40.25], "2": [7.0, 100.0]})
    assert lines == ["RowId,Location", "1,60.5", "2,40.25", "3,96.0"]
    path = project.layout.competition_config("faces")
    facts = yaml.safe_load(path.read_text())
    facts["submission"]["bounds"] = [0, 50]
    path.write_text(yaml.safe_dump(facts))
    assert project.run("ensemble", "faces", "--run", "made") == 0
    written = project.layout.submission("faces", "made").read_text().splitlines()
    assert written == ["RowId,Location", "1,50.0", "2,40.25", "3,50.0"]


def test_bengali_one_facts_file_for_each_target_and_the_submissions_joined(tmp_path: Path) -> None:
    header = "image_id," + ",".join(PARTS)
    train = "".join(f"Train_{i},{i % 2},{i % 3},{i % 4}\n" for i in range(24))
    asked = [f"Test_{i}_{part}" for i in range(2) for part in PARTS]
    project = Project(
        tmp_path,
        {
            "train.csv": f"{header}\n{train}",
            "sample_submission.csv": "row_id,target\n" + "".join(f"{name},0\n" for name in asked),
            **{f"images/{kind}_{i}.png": png(i) for kind, n in (("Train", 24), ("Test", 2)) for i in range(n)},
        },
    )
    written: list[str] = []
    for part, classes in zip(PARTS, (2, 3, 4), strict=True):
        if part != PARTS[0]:  # the raw files lie there once
            project.layout.input(part).symlink_to(PARTS[0])
        project.folds(
            part,
            {
                "task": "multiclass",
                "metric": "recall_macro",
                "train": {"file": "train.csv", "row_id": "image_id", "image": "images/{image_id}.png", "target": part},
                "test": {"reader": "folders", "pattern": "images/{id:Test_.*}.png", "row_id": "id"},
                "folds": {"k": 2},
                "submission": {
                    "extract": {"row_id": "{image}_{part:" + "|".join(PARTS) + "}"},
                    "where": {"part": part},
                    "entity": "image",
                },
            },
        )
        last = np.eye(classes)[-1].tolist()
        written += project.submit(part, {"Test_0": [1.0] + [0.0] * (classes - 1), "Test_1": last})[1:]
    answers = dict(line.split(",") for line in written)
    assert len(answers) == len(written)
    assert set(answers) == set(asked)
    assert [answers[name] for name in asked] == ["0", "0", "0", "1", "2", "3"]
    path = project.layout.competition_config(PARTS[0])
    facts = {**yaml.safe_load(path.read_text()), "source": {"kind": "kaggle", "name": "bengaliai-cv19"}}
    path.write_text(yaml.safe_dump(facts))
    with pytest.raises(FoldlineError, match="only some lines of the sample"):
        submit(project.layout, PARTS[0], "made", "", yes=True)


def test_landmarks_with_their_confidence_and_a_class_without_training_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(
        tmp_path,
        {
            "old.csv": "id,landmark_id\na0,6\na1,6\na2,8815\n",
            "new.csv": "id,landmark_id\na3,8815\na4,6\na5,8815\n",
            "sample_submission.csv": "id,landmarks\nt0,6 0.1\nt1,\n",
            **{f"{name}.png": png(i) for i, name in enumerate(["a0", "a1", "a2", "a3", "a4", "a5", "t0", "t1"])},
        },
    )
    rows = project.folds(
        "marks",
        {
            "task": "multiclass",
            "metric": "gap",
            "metrics": ["accuracy", "balanced_accuracy", "f1_macro", "log_loss", "auc"],
            "classes": ["6", "8815", "new"],
            "train": {"file": ["old.csv", "new.csv"], "row_id": "id", "image": "{id}.png", "target": "landmark_id"},
            "test": {"file": "sample_submission.csv", "row_id": "id", "image": "{id}.png"},
            "folds": {"k": 2},
            "submission": {"sample": "sample_submission.csv"},
        },
    )
    assert len(rows) == 6
    assert "1 class has no training rows at all: new" in capsys.readouterr().out
    assert read_json(project.layout.folds_meta("marks"))["outputs"] == ["6", "8815", "new"]
    reads = Mock(wraps=form.read_sample)
    monkeypatch.setattr(form, "read_sample", reads)
    lines = project.submit("marks", {"t0": [0.125, 0.625, 0.25], "t1": [0.25, 0.25, 0.5]})
    assert lines == ["id,landmarks", "t0,8815 0.625000000000", "t1,new 0.500000000000"]
    assert reads.call_count == 2, "once by ensemble, which writes and checks, and once by check"
