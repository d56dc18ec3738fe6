"""The view `adapted`: batch-norms that have seen the pictures which are predicted."""

from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from foldline.core.records.cv import Cv
from foldline.core.tables import sha256_file
from foldline.engine.finished import adapting
from tiny import FACTS, RUN, TinyProject

TEST = {"file": "test.csv", "row_id": "id", "image": "{id}.png"}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Test pictures of another camera: a third of the contrast, and much brighter."""
    project = TinyProject(tmp_path_factory.mktemp("elsewhere"))
    facts = {key: value for key, value in FACTS.items() if key != "holdout"}
    project.write_yaml("competition", {**facts, "test": TEST})
    project.write_yaml("quick", {**RUN, "train": {**RUN["train"], "epochs": 8, "folds": [0, 1]}})
    rng, raw = np.random.default_rng(7), project.root / "raw"
    for i in range(80):
        picture = rng.normal(110, 40, (40, 36))
        picture[10:30, 8:28] += 30 if i < 40 else -30
        cv2.imwrite(str(raw / f"t{i}.png"), np.clip(picture / 3 + 150, 0, 255).astype(np.uint8))
    (raw / "test.csv").write_text("\n".join(["id", *(f"t{i}" for i in range(80))]) + "\n")
    project.prepare()
    assert project.run("train") == 0
    return project


def predicted(project: TinyProject, views: str, *arguments: str) -> pd.DataFrame:
    run = project.layout.root / "configs" / "tiny" / "quick.yaml"
    text = run.read_text()
    run.write_text(text.partition("predict:")[0] + f"predict: {{views: [{views}]}}\n")
    assert project.run("predict", *arguments) == 0
    return pd.read_parquet(project.layout.run("tiny", "quick") / "test.parquet")


def right(table: pd.DataFrame) -> float:
    """The share of test rows whose label is predicted; sorted by label, as a test table may be."""
    said = table.set_index("row_id").loc[[f"t{i}" for i in range(80)]]["prob_bright"].to_numpy()
    return float(((said > 0.5) == (np.arange(80) < 40)).mean())


def test_pictures_of_another_camera(elsewhere: TinyProject) -> None:
    """Without a label, and without training again; the validation rows are adapted to as the test rows are."""
    weights = elsewhere.fold(0) / "model.safetensors"
    before = sha256_file(weights)
    plain = predicted(elsewhere, "identity")
    scored = Cv.read(elsewhere.layout.run("tiny", "quick") / "cv.json").pooled
    adapted = predicted(elsewhere, "adapted")
    record = Cv.read(elsewhere.layout.run("tiny", "quick") / "cv.json")
    assert right(plain) <= 0.6
    assert right(adapted) >= 0.9
    assert record.views == ["adapted"]
    assert record.pooled == pytest.approx(scored, abs=0.1)
    assert sha256_file(weights) == before

    both = predicted(elsewhere, "identity, hflip, adapted")
    columns = both.filter(like="prob").columns
    two = predicted(elsewhere, "identity, hflip")
    expected = (2 * two[columns].to_numpy() + adapted[columns].to_numpy()) / 3
    np.testing.assert_allclose(both[columns].to_numpy(), expected, atol=1e-6)


def test_shares_of_the_rows_adapt_to_all_of_them(elsewhere: TinyProject) -> None:
    run = elsewhere.layout.run("tiny", "quick")
    predicted(elsewhere, "adapted")
    whole = [(run / name).read_bytes() for name in ("test.parquet", "oof.parquet")]
    predicted(elsewhere, "identity")
    run_file = elsewhere.layout.root / "configs" / "tiny" / "quick.yaml"
    run_file.write_text(run_file.read_text().replace("[identity]", "[adapted]"))
    for shard in ("0/2", "1/2"):
        assert elsewhere.run("predict", "--shard", shard) == 0
    assert elsewhere.run("predict") == 0
    assert [(run / name).read_bytes() for name in ("test.parquet", "oof.parquet")] == whole


def test_other_pictures_are_refused_in_words(elsewhere: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    predicted(elsewhere, "adapted")
    capsys.readouterr()
    pictures = str(elsewhere.root / "raw" / "t1.png")
    assert elsewhere.run("predict-files", "--run", "quick", pictures) == 2
    assert "statistics of the competition's test pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("model.name=test_vit data.channels=3 data.image_size=160", "has no batch-norms"),
        ("model.entity=mean", "see pictures one by one"),
    ],
)
def test_what_cannot_be_adapted(
    elsewhere: TinyProject, capsys: pytest.CaptureFixture[str], settings: str, words: str
) -> None:
    asked = f"{settings} predict.views=[adapted]"
    assert elsewhere.run("train", "--name", "odd", "--set", asked, "--fold", "0") == 2
    assert words in capsys.readouterr().err


def test_statistics_of_training_count_as_sixteen_pictures() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
    pictures = torch.randn(48, 1, 4, 4) * 3 + 5
    adapting._adapt(network, iter([(pictures[:24],), (pictures[24:],)]), 48)
    norm: Any = network[0]
    halves = pictures[:24], pictures[24:]
    mean, var = (sum(float(one(half)) for half in halves) / 2 for one in (torch.mean, torch.var))
    assert float(norm.running_mean) == pytest.approx(0.75 * mean, rel=1e-5)
    assert float(norm.running_var) == pytest.approx(0.25 + 0.75 * var, rel=1e-5)
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


def test_many_rows_are_spread_evenly() -> None:
    chosen = adapting._spread(10_000)
    assert len(set(chosen.tolist())) == adapting.MOST_PICTURES
    assert np.diff(np.sort(chosen)).max() <= 6
    assert chosen.tolist() != sorted(chosen.tolist())
