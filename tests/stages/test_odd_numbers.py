"""Labels and pixels that carry nothing: constants, NaN, infinity. Each ends in words or as the documents say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foldline.core.records.cv import Cv
from foldline.core.tables import read_csv, read_parquet
from tiny import FACTS, RUN, TinyProject

PLAIN = {key: value for key, value in FACTS.items() if key not in ("classes", "metrics")}
NUMBERS = {**PLAIN, "task": "regression", "metric": "r2", "folds": {"k": 2}}
CLASSES = {**PLAIN, "task": "multiclass", "metric": "accuracy", "folds": {"k": 2}}
CHOICES: dict[str, Any] = {
    **RUN,
    "model": {"name": "test_resnet", "weights": "none"},
    "train": {"epochs": 1, "batch_size": 8, "precision": "fp32", "probe": {"c": 0.01}, "keep_start": True},
    "predict": {"views": ["identity"]},
}


def odd(root: Path, facts: dict[str, Any], labels: list[str], *, nan: str = "") -> TinyProject:
    """Pictures with these labels, not yet split; with `nan` they are .npy, that one without a number."""
    project = TinyProject(root, rows=len(labels))
    train = root / "raw" / "train.csv"
    read_csv(train).assign(label=labels).to_csv(train, index=False)
    for i, path in enumerate(sorted((root / "raw").glob("*.png")) if nan else ()):
        path.unlink()
        pixels = np.random.default_rng(i).normal(size=(40, 36)).astype(np.float32)
        pixels[:2] = np.nan  # a few are no reason to stop
        np.save(path.with_suffix(".npy"), np.full_like(pixels, np.nan) if path.stem == nan else pixels)
    project.write_yaml("competition", facts)
    project.write_yaml("quick", CHOICES)
    assert project.run("download") == 0
    return project


def test_a_constant_is_learnt_as_it_is_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = odd(tmp_path, NUMBERS, ["3.5"] * 24)
    assert project.run("folds") == 0
    assert "warning: the target is one number in all rows" in capsys.readouterr().out
    for stage in ("train", "predict", "ensemble"):
        assert project.run(stage) == 0
    assert "fold 0: the probe is no better than a constant" in capsys.readouterr().out
    cells = read_csv(project.layout.submission("tiny", "quick"))["target"].astype(float)
    assert np.allclose(cells, 3.5, atol=1e-3)
    assert Cv.read(project.layout.run("tiny", "quick") / "cv.json").diverged == []


def test_a_classifier_frozen_at_a_constant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = odd(tmp_path, NUMBERS, ["3.5"] * 24)
    assert project.run("folds") == 0
    for freeze, warned in (("[conv1]", False), ("[fc]", True)):
        given = ["--set", f"train.freeze={freeze} train.epochs=1", "--name", f"frozen{warned}", "--fold", "0"]
        assert project.run("train", *given) == 0
        assert ("frozen at the constant, so nothing is learnt" in capsys.readouterr().out) == warned


def test_a_class_that_a_folds_training_rows_lack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = odd(tmp_path, CLASSES, ["rare"] * 3 + ["a", "b"] * 10 + ["a"])
    assert project.run("folds") == 0
    assert "warning: 1 class is in one fold alone, whose network never sees them: 'rare'" in capsys.readouterr().out
    for stage in ("train", "predict"):
        assert project.run(stage) == 0
    oof = read_parquet(project.layout.run("tiny", "quick") / "oof.parquet")
    rare = oof[oof["target"] == "rare"]
    assert len(rare) == 3
    assert (rare["prob_rare"] < 0.34).all()
    assert np.isfinite(oof.filter(like="prob_").to_numpy()).all()


@pytest.mark.parametrize(("cell", "words"), [("nan", "1 row has no label: p003"), ("inf", "no finite number: p003")])
def test_a_number_that_is_none_stops_the_folds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cell: str, words: str
) -> None:
    project = odd(tmp_path, NUMBERS, [*"123", cell, *"4567" * 5])
    assert project.run("folds") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "where: configs/tiny/competition.yaml: target" in error


def test_a_picture_of_nan_is_a_bad_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = {**CLASSES, "train": {**FACTS["train"], "image": "{id}.npy"}}
    project = odd(tmp_path, facts, ["a", "b", "c"] * 8, nan="p004")
    project.write_yaml("quick", {**CHOICES, "train": {**RUN["train"], "epochs": 1}})
    assert project.run("folds") == 0
    assert project.run("train", "--fold", "0") == 2
    assert "p004.npy: the picture holds no finite number" in capsys.readouterr().err
    assert project.run("train", "--fold", "0", "--name", "skip", "--set", "data.bad_images=skip") == 0
    assert "warning: 1 bad image is left out: p004.npy: the picture holds no finite number" in capsys.readouterr().out
