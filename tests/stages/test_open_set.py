"""Identities of which some are new: folds that leave some out, what is scored as new, a submission that may say so."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from foldline.core.competition import Competition
from foldline.core.errors import FoldlineError
from foldline.core.records.cv import Cv
from foldline.core.records.folds_meta import FoldsMeta
from foldline.core.tables import read_csv, read_parquet
from foldline.splits.plan import _new_in_words
from foldline.splits.splitters import whole_classes
from tiny import FACTS, RUN, TinyProject

IDENTITIES, EACH = 12, 6
FEATURES: dict[str, Any] = {
    "features": {
        "model": {"name": "test_efficientnet", "weights": "none"},
        "data": {"image_size": 32, "channels": 1},
    },
    "head": {"name": "knn", "options": {"k": 3}},
}


def write_whales(raw: Path) -> None:
    """A pattern of blocks an identity, with noise, and `new` for pictures of patterns that no other picture has."""
    raw.mkdir()
    rng = np.random.default_rng(0)
    patterns = rng.integers(40, 215, (IDENTITIES, 4, 4))
    lines = ["id,whale"]
    for i in range(IDENTITIES * EACH):
        block = np.kron(patterns[i // EACH], np.ones((8, 8))) + rng.normal(0, 12, (32, 32))
        cv2.imwrite(str(raw / f"w{i:03d}.png"), np.clip(block, 0, 255).astype(np.uint8))
        lines.append(f"w{i:03d},whale_{i // EACH:02d}")
    (raw / "train.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    project = TinyProject(tmp_path_factory.mktemp("whales"), rows=0)
    project.write_yaml("competition", facts(project))
    project.write_yaml("neighbours", FEATURES)
    project.prepare()
    return project


def facts(project: TinyProject, **folds: Any) -> dict[str, Any]:
    raw = project.root / "whales"
    if not raw.is_dir():
        write_whales(raw)
    wanted = {"k": 4, "splitter": "open_set", "unseen": 0.3, "new_class": "new_whale", **folds}
    return {
        "title": "whales", "source": {"kind": "folder", "name": "whales"}, "task": "multiclass", "metric": "map@5",
        "train": {"file": "train.csv", "row_id": "id", "image": "{id}.png", "target": "whale"},
        "holdout": {"fraction": 0.2}, "folds": {k: v for k, v in wanted.items() if v is not None},
        "submission": {"kind": "ranked"},
    }  # fmt: skip


def test_some_identities_lie_in_one_fold_alone(project: TinyProject) -> None:
    rows = read_csv(project.layout.folds("tiny"))
    homes = rows.groupby("target")["fold"].nunique()
    assert (homes == 1).sum() >= round(0.3 * IDENTITIES)
    assert (homes > 1).sum() >= IDENTITIES // 2
    assert rows["fold"].nunique() == 4
    assert "new_whale" not in set(rows["target"])
    checks = FoldsMeta.read(project.layout.folds_meta("tiny")).checks
    assert not [words for words in checks if words.startswith("warning")], "it was asked for"


def test_their_rows_are_scored_as_new(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("train", "--run", "neighbours", "--device", "cpu") == 0
    rows = read_csv(project.layout.folds("tiny")).set_index("row_id")
    oof = read_parquet(project.layout.run("tiny", "neighbours") / "oof.parquet").set_index("row_id")
    alone = rows["target"].map(rows.groupby("target")["fold"].nunique()) == 1
    assert set(oof.loc[alone[alone].index, "target"]) == {"new_whale"}
    assert (oof.loc[alone[~alone].index, "target"] == rows.loc[alone[~alone].index, "target"]).all()
    new = oof["prob_new_whale"]
    assert new[alone[alone].index].mean() > new[alone[~alone].index].mean() + 0.2
    cv = Cv.read(project.layout.run("tiny", "neighbours") / "cv.json")
    assert all(0.1 <= one["threshold"] <= 0.9 for one in cv.chosen)
    assert cv.pooled is not None
    assert cv.pooled > 0.8
    assert project.run("ensemble", "--run", "neighbours") == 0
    assert "accepted by the gate" in capsys.readouterr().out
    assert project.run("score", "--name", "neighbours") == 0


def test_neighbours_among_the_embeddings_of_an_arcface_run(project: TinyProject) -> None:
    loss = {"name": "arcface", "options": {"rare_margin": 0.5}}
    arcface = {**RUN, "model": {**RUN["model"], "head": "arcface"}, "loss": loss, "predict": {"views": ["identity"]}}
    project.write_yaml("arc", arcface)
    project.write_yaml("embedded", {**FEATURES, "features": {"run": "arc"}})
    for run in ("arc", "embedded"):
        assert project.run("train", "--run", run, "--device", "cpu") == 0
    cv = Cv.read(project.layout.run("tiny", "embedded") / "cv.json")
    assert cv.head == "knn on arc"
    assert cv.pooled is not None
    assert cv.pooled > 0.5
    assert project.run("predict", "--run", "arc", "--device", "cpu") == 0
    oof = [read_parquet(project.layout.run("tiny", run) / "oof.parquet")["target"] for run in ("arc", "embedded")]
    assert oof[0].tolist() == oof[1].tolist()  # a run of networks is scored by the same labels
    scores = Cv.read(project.layout.run("tiny", "arc") / "cv.json").per_fold
    logs = [read_csv(project.fold(fold, "arc") / "log.csv")["score"].iloc[-1] for fold in range(4)]
    assert [float(score) for score in logs] == pytest.approx(scores)  # and so is its training's log


def test_whole_classes_are_drawn_from_those_of_several_rows() -> None:
    classes = ["a", "a", "b", "b", "c", "c", "d"]
    names = whole_classes(classes, 0.34, seed=0)
    assert len({name for name in names if name}) == 1
    assert names[6] == ""
    assert whole_classes(["a", "b"], 0.5, seed=0) == ["", ""]
    assert whole_classes(classes[::-1], 0.34, seed=0)[::-1] == names
    known = {name for name in whole_classes(classes, 0.99, seed=0, new_class="b") if name}
    assert known == {"class a", "class c"}  # rows of no known class are no class, and every fold has its share


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("aabbcc", "2 of 6 rows are scored as 'new', 2 as no other fold has theirs"),
        (["a", "a", "b", "b", "new", "c"], "2 of 6 rows are scored as 'new', 1 as no other fold has theirs"),
        (
            ["a", "a", "b", "b", "new", "new"],
            "warning: 2 of 6 rows are scored as 'new', 0 as .*: nothing tells known",
        ),
        ("abcdef", "warning: 6 of 6 .*: who never says anything else is always right"),
    ],
)
def test_how_many_rows_are_scored_as_new_is_said(targets: list[str], words: str) -> None:
    rows = pd.DataFrame({"target": list(targets), "fold": [0, 1, 0, 1, 1, 1]})
    (said,) = _new_in_words(rows, "new")
    assert re.match(words, said), said
    assert not _new_in_words(rows, "")


def test_a_threshold_without_a_class_behind_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = TinyProject(tmp_path, rows=24)
    project.write_yaml("nearest", {**FEATURES, "head": {"name": "knn", "options": {"threshold": 0.5}}})
    project.prepare()
    assert project.run("train", "--run", "nearest", "--device", "cpu") == 2
    assert "head.options.threshold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        ({"splitter": "auto"}, "is for splitter 'open_set'"),
        ({"unseen": 1.5}, "folds.unseen"),
    ],
)
def test_what_means_nothing_is_refused(project: TinyProject, folds: dict[str, Any], said: str) -> None:
    with pytest.raises(FoldlineError, match=said):
        Competition.parse(facts(project, **folds), where="competition.yaml")
    regression = {**FACTS, "task": "regression", "metric": "rmse", "classes": None, "folds": {"new_class": "x"}}
    with pytest.raises(FoldlineError, match="one class each"):
        Competition.parse(regression, where="competition.yaml")
