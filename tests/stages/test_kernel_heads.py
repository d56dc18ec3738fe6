"""A notebook of heads on frozen features, alone and beside networks: what home says of the same rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import foldline
from bundles import raw_copy
from foldline.core.errors import FoldlineError
from foldline.core.records.bundle import Bundle
from foldline.core.tables import read_csv, read_parquet, write_csv
from foldline.engine.finished.pictures import sources_of
from foldline.engine.finished.reading import in_chunks
from foldline.images.store import PictureStore
from foldline.stages.kernel import kernel
from foldline.stages.offline import offline
from tiny import FACTS, RUN, TinyProject

SOURCE: dict[str, Any] = {
    "model": {"name": "test_efficientnet", "weights": "none"}, "data": {"image_size": 24, "channels": 1},
}  # fmt: skip
THEIRS: dict[str, Any] = {"run": "quick", "views": ["identity", "hflip"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """A run of networks, heads on others' features and a column, and on its own, and ensembles; 20 test rows."""
    project = TinyProject(tmp_path_factory.mktemp("home"), rows=64)
    raw = project.root / "raw"
    table = read_csv(raw / "train.csv").assign(age=[str(20 + i % 50) for i in range(64)])
    write_csv(raw / "train.csv", table[:44])
    write_csv(raw / "test.csv", table[44:][["id", "age"]])
    write_csv(raw / "sample_submission.csv", pd.DataFrame({"id": table["id"][44:], "label": "0.5"}))
    facts = {key: value for key, value in FACTS.items() if key != "holdout"} | {"folds": {"k": 3}}
    facts["test"] = {"file": "test.csv", "row_id": "id", "image": "{id}.png", "metadata": ["age"]}
    facts["train"] = {**FACTS["train"], "metadata": ["age"]}
    project.write_yaml("competition", facts)
    project.write_yaml("quick", {**RUN, "train": {**RUN["train"], "epochs": 1}})
    head = {"name": "svm", "options": {"c": 1}}
    project.write_yaml("head", {"features": [SOURCE], "columns": {"metadata": ["age"]}, "head": head})
    project.write_yaml("stacked", {"features": [SOURCE], "columns": {"runs": ["quick"]}})
    project.write_yaml("theirs", {"features": THEIRS, "head": {"options": {"c": 1}}})
    project.prepare()
    for run in ("quick", "head", "stacked", "theirs"):
        assert project.run("train", "--run", run, "--device", "cpu") == 0
        assert project.run("predict", "--run", run, "--device", "cpu") == 0
    assert project.run("ensemble", "--runs", "theirs quick", "--name", "both") == 0
    return project


def build(project: TinyProject, run: str, **options: Any) -> Path:
    """Its bundle, for CPUs."""
    kernel(project.layout, "tiny", run=run, gpu="none", device="cpu", **options)
    return project.layout.kernel("tiny", run)


@pytest.mark.parametrize("run", ["head", "both"])
def test_hidden_rows_are_predicted_as_at_home(
    home: TinyProject, run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = build(home, run)
    said = capsys.readouterr().out
    heads = "theirs" if run == "both" else "head"
    assert f"{heads}: heads and their networks stay float32: they are at most" in said
    assert f"{heads}: all heads x 20 pictures at" in said
    bundle = Bundle.read(place / "dataset" / "bundle.json")
    network = "theirs/quick/fold_0" if run == "both" else "head/source_0"
    assert f"project/oof/tiny/{network}/model.safetensors" in bundle.files
    assert {member.run: member.whole for member in bundle.members}[heads]
    raw_copy(home.layout, "tiny", tmp_path / "inputs")
    report = offline(place / "dataset", tmp_path / "inputs", tmp_path / "submission.csv", device="cpu")
    assert (report.priors, report.failed, report.rows_predicted) == ({}, {}, 20)
    answers = read_csv(tmp_path / "submission.csv").set_index("id")["label"].astype(float)
    stored = read_parquet(home.layout.run("tiny", run) / "test.parquet").set_index("row_id")["prob_bright"]
    apart = np.abs(answers.loc[stored.index].to_numpy() - stored.to_numpy()).max()
    assert apart < (1e-6 if run == "head" else 1e-3)  # the networks are in half precision
    build(home, run)
    assert "is up to date" in capsys.readouterr().out


def test_a_rehearsals_rows_are_answered_by_their_own_fold(home: TinyProject, tmp_path: Path) -> None:
    """So that the score of a rehearsal is that of OOF."""
    place, test = build(home, "head"), read_csv(home.layout.test_rows("tiny"))
    folds = [i % 3 for i in range(len(test))]
    write_csv(tmp_path / "folds.csv", pd.DataFrame({"row_id": test["row_id"], "fold": map(str, folds)}))
    raw_copy(home.layout, "tiny", tmp_path / "inputs")
    out = tmp_path / "submission.csv"
    offline(place / "dataset", tmp_path / "inputs", out, device="cpu", rehearsal=tmp_path / "folds.csv")
    member = foldline.load(home.layout.run("tiny", "head"), device="cpu").members[0]
    files = [home.layout.input("tiny") / image for image in test["image"]]
    [chunk] = in_chunks(sources_of(files), member.specs, 16, "stop")
    stores = {spec: PictureStore(pixels, torch.device("cpu")) for spec, pixels in chunk.pixels.items()}
    said = member.predictions(stores, np.arange(len(test)), metadata=test)
    answers = read_csv(out).set_index("id")["label"].astype(float).loc[test["row_id"]]
    assert answers.to_numpy() == pytest.approx(said[folds, np.arange(len(test)), 1], abs=1e-6)
    assert np.abs(said[0] - said[1]).max() > 1e-4


def test_features_of_a_run_take_its_networks_along(home: TinyProject) -> None:
    """Those of the folds that take part, beside the run's own in half precision."""
    inside = Bundle.project(build(home, "both", folds=[1]) / "dataset").run("tiny", "theirs")
    assert [path.name for path in (inside / "quick").glob("fold_*")] == ["fold_1"]
    assert [path.name for path in (inside / "heads").iterdir()] == ["fold_1_0.safetensors"]


def test_what_a_notebook_cannot_know_is_refused(home: TinyProject) -> None:
    with pytest.raises(FoldlineError, match=r"read what quick predicts of each row \(columns.runs\)"):
        build(home, "stacked")
    with pytest.raises(FoldlineError, match="unknown view"):
        build(home, "head", views=["rot90"])
