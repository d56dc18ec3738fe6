"""The heads of runs of frozen features are kept: finished runs predict new pictures as the stage did, from anywhere."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import foldline
from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.heads import FILE, Heads
from foldline.core.tables import read_csv, read_json, read_parquet, sha256_files, write_json
from foldline.engine.features.keep import Keeper
from foldline.engine.finished import reading
from tiny import FACTS, RUN, TinyProject

SOURCE: dict[str, Any] = {
    "model": {"name": "test_efficientnet", "weights": "none"}, "data": {"image_size": 32, "channels": 1},
}  # fmt: skip
OTHER: dict[str, Any] = {**SOURCE, "data": {"image_size": 24, "channels": 1}, "views": ["identity", "hflip"]}
NETWORK = """
from torch import nn

from foldline.models.classic import SmallNetwork


def small(outputs, channels, height_width):
    features = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU())
    return SmallNetwork(features, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()), 64, outputs)
"""
RUNS: dict[str, dict[str, Any]] = {
    "linear": {"features": [SOURCE, OTHER], "columns": {"metadata": ["hint"]}, "head": "linear"},
    "svm": {"features": [SOURCE, OTHER], "head": "svm"},
    "knn": {"features": SOURCE, "head": {"name": "knn", "options": {"k": 5, "expand": 2}}},
    "trees": {"features": [OTHER], "head": {"name": "lightgbm", "options": {"leaves": 4, "trees": 20}}},
    "theirs": {"features": {"run": "quick", "views": ["identity", "hflip"]}, "head": {"options": {"c": 1}}},
    "own": {"features": {**SOURCE, "model": {"name": "network.py:small", "weights": "none"}}, "head": "linear"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Three folds, a column that half knows the label, a run of networks, and a run of each head."""
    project = TinyProject(tmp_path_factory.mktemp("heads"), rows=64)
    path = project.root / "raw" / "train.csv"
    table = read_csv(path)
    hint = [f"{(label == 'bright') + i % 7 / 3:.4f}" for i, label in enumerate(table["label"])]
    table.assign(hint=hint).to_csv(path, index=False)
    project.write_yaml("competition", {**FACTS, "train": {**FACTS["train"], "metadata": ["hint"]}})
    (project.root / "configs" / "tiny" / "network.py").write_text(NETWORK)
    project.write_yaml("quick", {**RUN, "train": {**RUN["train"], "epochs": 1}})
    project.prepare()
    for stage in ("train", "predict"):
        assert project.run(stage, "--device", "cpu") == 0
    return project


def fitted(project: TinyProject, name: str, **changed: Any) -> Path:
    """The folder of a run of RUNS, or of the first one with other settings."""
    folder = project.layout.run("tiny", name)
    if not (folder / "cv.json").is_file():
        project.write_yaml(name, RUNS.get(name, {**RUNS["knn"], **changed}))
        assert project.run("train", "--run", name, "--device", "cpu") == 0
    return folder


def asked(project: TinyProject) -> list[Path]:
    """The test rows' pictures, in their order."""
    return [project.layout.input("tiny") / image for image in read_csv(project.layout.test_rows("tiny"))["image"]]


@pytest.mark.parametrize("name", RUNS)
def test_pictures_are_predicted_as_the_stage_does(project: TinyProject, name: str, tmp_path: Path) -> None:
    """The very numbers, from a copy that lies elsewhere, without the project."""
    if name == "trees":
        pytest.importorskip("lightgbm")
    stored = read_parquet(fitted(project, name) / "test.parquet")
    for run in {name, *(["quick"] if name == "theirs" else [])}:
        shutil.copytree(project.layout.run("tiny", run), tmp_path / run)
    model = foldline.load(tmp_path / name, device="cpu")
    hints = read_csv(project.layout.test_rows("tiny"))[["hint"]]
    table = model.predict(asked(project), metadata=hints if model.members[0].metadata else None)
    assert table[model.columns].to_numpy(np.float32).tobytes() == stored[model.columns].to_numpy().tobytes()
    assert model.score == Cv.read(tmp_path / name / "cv.json").pooled
    assert table["spread"].max() > 0
    assert set(table["label"]) <= {"dark", "bright"}
    assert f"'{name}' ({name}: 3 folds)" in str(model)


def test_few_pictures_at_a_time_say_the_same(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AHEAD_BYTES", 4 * 32 * 32)
    stored = read_parquet(fitted(project, "svm") / "test.parquet")
    model = foldline.load(project.layout.run("tiny", "svm"), device="cpu")
    table = model.predict(asked(project), batch_size=3)
    assert np.abs(table[model.columns].to_numpy() - stored[model.columns].to_numpy()).max() < 1e-5


def test_the_command_and_an_ensemble_take_them(project: TinyProject, tmp_path: Path) -> None:
    fitted(project, "knn")
    assert project.run("ensemble", "--runs", "knn quick", "--name", "both", "--blend", "gmean") == 0
    pictures = asked(project)
    for name in ("knn", "both"):
        out = tmp_path / f"{name}.csv"
        assert project.run("predict-files", *map(str, pictures), "--run", name, "--out", str(out)) == 0
        stored = read_parquet(project.layout.run("tiny", name) / "test.parquet")
        for column in ("prob_dark", "prob_bright"):
            assert read_csv(out)[column].astype(float).to_numpy() == pytest.approx(stored[column].to_numpy(), abs=1e-6)


def test_several_targets_have_a_head_each(tmp_path: Path) -> None:
    project = TinyProject(tmp_path, rows=48)
    path = tmp_path / "raw" / "train.csv"
    table = read_csv(path)
    table.assign(size=[str(10 + i % 5) for i in range(len(table))]).to_csv(path, index=False)
    facts: dict[str, Any] = {
        **{key: value for key, value in FACTS.items() if key != "metrics"},
        "task": {"label": "binary", "size": "regression"}, "classes": ["label=dark", "label=bright"],
        "metric": "accuracy(label) + r2(size)", "train": {**FACTS["train"], "target": {"columns": ["label", "size"]}},
    }  # fmt: skip
    project.write_yaml("competition", facts)
    project.prepare()
    fitted(project, "svm")
    stored = read_parquet(project.layout.run("tiny", "svm") / "test.parquet")
    model = foldline.load(project.layout.run("tiny", "svm"), device="cpu")
    table = model.predict(asked(project))
    assert table[model.columns].to_numpy(np.float32).tobytes() == stored[model.columns].to_numpy().tobytes()


def test_weights_are_on_the_disk_once(project: TinyProject) -> None:
    files = [fitted(project, name) / "source_0" / "model.safetensors" for name in ("linear", "svm", "knn")]
    assert len({path.stat().st_ino for path in files}) == 1


def test_what_a_picture_alone_does_not_say_is_refused(project: TinyProject, tmp_path: Path) -> None:
    stacked = fitted(project, "stacked", columns={"runs": ["quick"]})
    ranked = fitted(project, "ranked", head={"name": "knn", "options": {"k": 5, "temperature": 0.1, "rerank": 5}})
    with pytest.raises(FoldlineError, match=r"read what quick predicts of each row \(columns.runs\)"):
        foldline.load(stacked, device="cpu")
    table = fitted(project, "table", features=[], columns={"metadata": ["hint"]})
    with pytest.raises(FoldlineError, match="see table columns alone"):
        foldline.load(table, device="cpu")
    with pytest.raises(FoldlineError, match="ranks all rows that it is asked about among one another"):
        foldline.load(ranked, device="cpu")
    model, pictures = foldline.load(fitted(project, "linear"), device="cpu"), asked(project)
    with pytest.raises(FoldlineError, match="these networks read metadata beside the picture: hint"):
        model.predict(pictures)
    with pytest.raises(FoldlineError, match="'hint' holds numbers in the training rows, and 'odd' here") as raised:
        model.predict(pictures[:1], metadata=pd.DataFrame({"hint": ["odd"]}))
    assert raised.value.where == "columns.metadata"
    with pytest.raises(FoldlineError, match="they have no other views"):
        foldline.load(fitted(project, "knn"), device="cpu").predict(pictures, views=["hflip"])
    with pytest.raises(FoldlineError, match="no networks of its own"):
        model.embed(pictures)
    shutil.copytree(fitted(project, "theirs"), tmp_path / "theirs")
    with pytest.raises(FoldlineError, match="takes features of the networks of 'quick', and 'quick' is not there"):
        foldline.load(tmp_path / "theirs", device="cpu")


def test_heads_that_are_damaged_or_not_kept_are_not_used(
    project: TinyProject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(fitted(project, "knn"), tmp_path / "knn"))
    (folder / "heads" / "fold_1_0.safetensors").write_bytes(b"damaged")
    with pytest.raises(FoldlineError, match=r"damaged, or are not those that were fitted: heads/fold_1_0.safetensors"):
        foldline.load(folder, device="cpu").predict(asked(project))
    heads = Heads.read(folder / FILE)
    heads.changed(fixed={"expand": 3}).write(folder / FILE)
    with pytest.raises(FoldlineError, match=r"heads.json is damaged, or not that of cv.json"):
        foldline.load(folder, device="cpu")
    (folder / FILE).unlink()  # as an earlier version left it
    with pytest.raises(FoldlineError, match="an earlier version fitted them") as raised:
        foldline.load(folder, device="cpu")
    assert "delete cv.json" in raised.value.next
    own = fitted(project, "own")
    before = sha256_files(own, Cv.read(own / "cv.json").files)
    (own / "heads" / "fold_0_0.safetensors").write_bytes(b"damaged")
    assert project.run("predict", "--run", "own", "--device", "cpu") == 0
    assert "made again" in capsys.readouterr().out
    assert sha256_files(own, before) == before, "the same bytes"


def test_a_fit_that_ends_early_leaves_what_was_there(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fitted(project, "svm")
    record = read_json(folder / "cv.json")
    write_json(folder / "cv.json", {**record, "sha256": {**record["sha256"], "test": "0" * 64}})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def ends(*_: object) -> None:
        raise FoldlineError("ended")

    monkeypatch.setattr(Keeper, "close", ends)
    assert project.run("train", "--run", "svm", "--device", "cpu") == 2
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
    write_json(folder / "cv.json", record)


def test_an_exported_folder_has_all_of_it(project: TinyProject, tmp_path: Path) -> None:
    for name in ("theirs", "linear"):
        fitted(project, name)
    assert project.run("ensemble", "--runs", "theirs linear quick", "--name", "three") == 0
    out = tmp_path / "three"
    assert project.run("export", "folder", "--run", "three", "--out", str(out)) == 0
    model = foldline.load(out, device="cpu")
    hints = read_csv(project.layout.test_rows("tiny"))[["hint"]]
    table, stored = model.predict(asked(project), metadata=hints), project.layout.run("tiny", "three") / "test.parquet"
    assert np.abs(table[model.columns].to_numpy() - read_parquet(stored)[model.columns].to_numpy()).max() < 1e-6
    card = (out / "README.md").read_text()
    assert "| theirs | linear on test_efficientnet | 32 x 32 px, 1 channel | 3 | identity, hflip | 1 |" in card
    assert "starting weights of linear: test_efficientnet: none, they were random" in card
    assert "columns path, hint" in card
    assert project.run("export", "folder", "--run", "three", "--half", "--out", str(out)) == 2
