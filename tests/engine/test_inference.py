"""Predictions do not depend on how they are come by: features of the probe, parts of a batch, fold after fold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foldline.core.tables import read_csv, read_parquet
from foldline.engine import predict_run
from foldline.engine.infer import predict
from foldline.engine.machine.precision import Precision
from foldline.engine.row_arrays import RowArrays
from foldline.engine.starting_weights import StartingWeights
from foldline.images.store import PictureStore
from foldline.models.architecture import Preprocessing
from tiny import TinyProject

PROBE = "train.probe.c=0.1 train.probe.views=[identity,hflip] train.keep_start=true train.batch_norm=frozen"
FP32 = Precision("fp32", "", {})
PLAIN = Preprocessing([0.5], [0.5], "bilinear")


def test_the_start_is_scored_by_the_probe_s_features(project: TinyProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row of the log and its share of the validation predictions are those that the network gives."""
    project.prepare()
    found = []
    for name in ("features", "network"):
        assert project.run("train", "--run", "quick", "--name", name, "--fold", "0", "--set", PROBE) == 0
        folder = project.fold(0, name)
        log = read_csv(folder / "log.csv")
        found.append((log, read_parquet(folder / "valid.parquet")["prob_bright"].to_numpy()))
        monkeypatch.setattr(StartingWeights, "valid_logits", lambda *_: {})
    (log, prob), (other_log, other_prob) = found
    for column in ("valid_loss", "score", "accuracy_dark"):
        ours, theirs = (one[column].astype(float) for one in (log, other_log))
        assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
        assert (ours[1:] == theirs[1:]).all(), "the training itself is the same"
    assert np.allclose(prob, other_prob, atol=1e-5)


class Small(nn.Module):
    """A network for whose memory more than `most` pictures are too many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.seen = most, [0]
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(len(x))
        found: Tensor = self.last(x.flatten(1))
        return found


def predicted(models: list[list[nn.Module]], rows: int = 10, precision: Precision = FP32) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 4, 4, 1), dtype=np.uint8)
    store = PictureStore(pixels, torch.device("cpu"))
    return predict(
        models, store, RowArrays(np.arange(rows), np.empty(0)), PLAIN, torch.device("cpu"), precision,
        views=["identity", "hflip"], activation="softmax", batch_size=8,
    )  # fmt: skip


def test_a_batch_that_does_not_fit_goes_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = Small(most=100)
    expected = predicted([[model]])
    model.most = 5
    assert np.allclose(predicted([[model]]), expected, atol=1e-6)
    assert max(model.seen[-5:]) == 4, "16 pictures with their views: 4 at a time; the last 4 at once"
    said = capsys.readouterr().out
    assert said.count("out of memory") == 2
    assert "in 4 parts from here on" in said


def test_what_fp16_does_not_hold_is_predicted_in_fp32(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = Small(most=100)
    nn.init.normal_(model.last.weight, std=1e5)
    half = predicted([[model]], precision=Precision("fp16", "", {}))
    assert np.array_equal(half, predicted([[model]]))
    assert capsys.readouterr().out.count("predict again, in fp32") == 1


def test_the_mean_of_each_fold_s_networks() -> None:
    """Folds of one network and of two, in float32."""
    torch.manual_seed(0)
    one, two, three = (Small(100) for _ in range(3))
    both = predicted([[one], [two, three]])
    assert both.dtype == np.float32
    alone = [predicted([[model]])[0] for model in (one, two, three)]
    assert np.allclose(both[0], alone[0], atol=1e-7)
    assert np.allclose(both[1], (alone[1] + alone[2]) / 2, atol=1e-7)


def test_folds_one_after_the_other(
    project: TinyProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where memory is short; the predictions are the same."""
    project.prepare()
    named = ("--run", "quick", "--name", "near", "--set", PROBE)
    assert project.run("train", *named) == 0
    files = [
        project.layout.run("tiny", "near") / "test.parquet",
        *(project.fold(k, "near") / "test.parquet" for k in range(3)),
    ]
    tables = []
    for free in (2**40, 1):
        monkeypatch.setattr(predict_run, "free_memory", lambda free=free: free)
        (project.layout.run("tiny", "near") / "cv.json").unlink(missing_ok=True)
        assert project.run("predict", *named) == 0
        tables.append([_values(file) for file in files])
    assert "one after the other" in capsys.readouterr().out
    for together, alone in zip(*tables, strict=True):
        assert np.allclose(together, alone, atol=1e-6)
    assert np.allclose(tables[0][0], np.mean(tables[0][1:], axis=0), atol=1e-6)


def _values(file: Path) -> Any:
    return read_parquet(file)[["prob_dark", "prob_bright"]].to_numpy()


NETWORK = """
from torch import nn

from foldline.models.classic import SmallNetwork


class Tempered(SmallNetwork):
    def forward(self, x):
        return super().forward(x) / 3


class Stubborn(SmallNetwork):
    def forward_head(self, x):
        return self.classifier(self.neck(x))


def _made(kind, outputs, channels):
    features = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2), nn.ReLU())
    return kind(features, nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten()), 64, outputs)


def tempered(outputs, channels, height_width):
    return _made(Tempered, outputs, channels)


def stubborn(outputs, channels, height_width):
    return _made(Stubborn, outputs, channels)
"""


TEMPERED = "train.epochs=0 model.name=network.py:tempered model.drop_rate=0"


def test_a_start_that_is_more_than_the_probe_is_scored_by_the_network(
    project: TinyProject, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "network.py").write_text(NETWORK)
    project.prepare()
    named = ("--run", "quick", "--name", "warm", "--set", f"{PROBE} {TEMPERED}")
    assert project.run("train", *named) == 0
    assert "are more than its classifier says" in capsys.readouterr().out
    stored = read_parquet(project.fold(0, "warm") / "valid.parquet").set_index("row_id")["prob_bright"]
    (project.fold(0, "warm") / "valid.parquet").unlink()
    assert project.run("predict", *named) == 0
    again = read_parquet(project.layout.run("tiny", "warm") / "oof.parquet").set_index("row_id")["prob_bright"]
    assert np.allclose(again[stored.index], stored, atol=1e-5)


def test_a_network_without_features_has_no_probe(project: TinyProject, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "network.py").write_text(NETWORK)
    project.prepare()
    settings = f"{PROBE} model.name=network.py:stubborn model.drop_rate=0"
    assert project.run("train", "--run", "quick", "--name", "odd", "--fold", "0", "--set", settings) == 2
    assert "does not give what its classifier takes" in capsys.readouterr().err
