"""Numbers are learnt standardised, whatever their unit, and predicted in their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from foldline.core.records.cv import Cv
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Loss
from foldline.core.tables import read_csv, read_json, read_parquet, write_json
from foldline.core.task import TASKS
from foldline.engine.finished.model import load
from foldline.engine.losses import Teacher, build_objective
from foldline.models.architecture import Preprocessing
from tiny import FACTS, RUN, TinyProject

REGRESSION = {**FACTS, "task": "regression", "metric": "r2", "metrics": [], "folds": {"k": 2}}
NUMBERS = {key: value for key, value in REGRESSION.items() if key != "classes"}
CHOICES = {
    **RUN,
    "augment": {"recipe": "none"},
    "predict": {"views": ["identity"]},
    "model": {**RUN["model"], "name": "test_resnet", "drop_rate": 0},
}


def of_numbers(folder: Path, mean: float, std: float, **choices: Any) -> TinyProject:
    """A project whose label says how bright a picture's middle is, in some unit."""
    folder.mkdir()
    project = TinyProject(folder, rows=48)
    table = read_csv(folder / "raw" / "train.csv")
    unit = (table["label"] == "bright").astype(float) * 2 - 1 + np.arange(48) / 100
    table.assign(label=(mean + std * unit).map(repr)).to_csv(folder / "raw" / "train.csv", index=False)
    project.write_yaml("competition", NUMBERS)
    project.write_yaml("quick", {**CHOICES, **choices})
    project.prepare()
    return project


def oof(project: TinyProject) -> tuple[pd.DataFrame, Cv]:
    assert project.run("train") == 0
    assert project.run("predict") == 0
    folder = project.layout.run("tiny", "quick")
    return read_parquet(folder / "oof.parquet"), Cv.read(folder / "cv.json")


def scale_of(activation: str) -> tuple[float, ...]:
    return tuple(map(float, activation[len("scaled(") : -1].split(",")))


def test_the_unit_of_a_number_changes_nothing(tmp_path: Path) -> None:
    plain, cv = oof(of_numbers(tmp_path / "plain", 0, 1))
    other, other_cv = oof(of_numbers(tmp_path / "other", 1000, 200))
    assert np.allclose((other["value"] - 1000) / 200, plain["value"], atol=2e-3)
    assert cv.pooled == pytest.approx(other_cv.pooled, abs=1e-3)


def test_mean_and_deviation_are_of_the_folds_training_rows_and_stand_in_its_meta(tmp_path: Path) -> None:
    project = of_numbers(tmp_path / "p", 1000, 200)
    predictions, _ = oof(project)
    rows = read_csv(project.layout.folds("tiny")).set_index("row_id")
    for fold in (0, 1):
        others = rows.loc[rows["fold"] != str(fold), "target"].astype(float)
        meta = FoldMeta.read(project.fold(fold) / "meta.json")
        assert scale_of(meta.activation) == pytest.approx((others.mean(), others.std(ddof=0)), rel=1e-12)
    test = read_parquet(project.layout.run("tiny", "quick") / "test.parquet").set_index("row_id")["value"]
    files = [project.layout.input("tiny") / f"{row}.png" for row in test.index]
    assert np.allclose(load(project.layout.run("tiny", "quick"), device="cpu").predict(files)["value"], test, rtol=1e-4)
    first_scale = scale_of(FoldMeta.read(project.fold(0) / "meta.json").activation)
    path = project.fold(0) / "meta.json"  # as a version wrote it that learnt numbers as they are
    write_json(path, {**read_json(path), "activation": "identity"})
    (project.fold(0) / "valid.parquet").unlink()
    (project.layout.run("tiny", "quick") / "cv.json").unlink()
    assert project.run("predict") == 0
    old = read_parquet(project.layout.run("tiny", "quick") / "oof.parquet").set_index("row_id")["value"]
    new = predictions.set_index("row_id")["value"]
    mean, std = first_scale
    first = rows.index[rows["fold"] == "0"].intersection(new.index)
    assert np.allclose(mean + std * old[first], new[first], rtol=1e-4)
    assert np.allclose(old.drop(first), new.drop(first))


def test_a_warm_start_keeps_its_numbers_in_another_unit(tmp_path: Path) -> None:
    """Epoch 0 of the new run says what the other run says, also where that one's scale was another one."""
    project = of_numbers(tmp_path / "p", 38, 20)
    assert project.run("train", "--fold", "0") == 0
    path = project.fold(0) / "meta.json"
    content = read_json(path)
    write_json(path, {**content, "activation": "scaled(30.0,7.0)"})
    warm = "model.weights.name=run model.weights.options.run=quick train.epochs=1"
    assert project.run("train", "--name", "warm", "--set", warm, "--fold", "0") == 0
    start = float(read_csv(project.fold(0, "warm") / "log.csv")["score"].iloc[0])
    table = read_parquet(project.fold(0) / "valid.parquet").set_index("row_id")
    truth = read_csv(project.layout.folds("tiny")).set_index("row_id").loc[table.index, "target"].astype(float)
    mean, std = scale_of(content["activation"])
    expected = 30 + 7 * (table["value"] - mean) / std
    assert start == pytest.approx(1 - ((truth - expected) ** 2).sum() / ((truth - truth.mean()) ** 2).sum(), abs=1e-3)


def test_a_teacher_speaks_the_pupils_unit() -> None:
    preprocessing = Preprocessing([0.0], [1 / 255], "bilinear")
    same = Teacher([nn.Flatten()], preprocessing, (1, 1), "scaled(10.0,4.0)", torch.device("cpu"))
    logits = same.logits(torch.tensor([[[[0.0]]], [[[2.0]]]]), "scaled(20.0,2.0)")
    assert logits.tolist() == [[-5.0], [-1.0]], "the numbers 10 and 18"


def test_labels_that_are_all_the_same_are_learnt_as_their_mean() -> None:
    labels = np.full((5, 1), 0.1)
    found = build_objective(Loss(), TASKS["regression"], [""], labels, labels=labels)
    assert found.activation.endswith(",1.0)")


def test_a_huber_delta_is_in_the_labels_unit() -> None:
    labels = np.array([[0.0], [20.0]])
    given, usual = (
        build_objective(Loss(name="huber", options=options), TASKS["regression"], [""], labels, labels=labels)
        for options in ({"delta": 30.0}, {})
    )
    logits, target = torch.tensor([[0.0], [0.0]]), torch.tensor([[0.5], [5.0]])
    expected = torch.nn.functional.huber_loss(logits, target, delta=3.0)
    assert torch.allclose(given.function(logits, target), expected)
    assert torch.allclose(usual.function(logits, target), torch.nn.functional.huber_loss(logits, target))


def test_a_probe_starts_no_loss_with_other_logits(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_yaml("competition", {**FACTS, "task": "ordinal", "metric": "quadratic_weighted_kappa", "metrics": []})
    project.write_yaml("quick", {**RUN, "loss": {"name": "corn"}, "train": {**RUN["train"], "probe": {}}})
    project.prepare()
    assert project.run("train", "--fold", "0") == 2
    assert "has 1 logit" in capsys.readouterr().err
