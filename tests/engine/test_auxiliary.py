"""Auxiliary targets: learnt from the same features, in no file but a resume point, refused where they cannot work."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from foldline.core.tables import read_csv, sha256_file
from foldline.engine.auxiliary import NOTHING, Auxiliary, AuxiliaryHead
from foldline.engine.loop.step import Learner
from tiny import FACTS, TinyProject

BASE = "train.epochs=2 augment.recipe=none"


@pytest.fixture
def project(tmp_path: Path) -> TinyProject:
    """Rows with an age that some lack, and a site."""
    project = TinyProject(tmp_path, rows=60)
    table = project.root / "raw" / "train.csv"
    head, *lines = table.read_text().splitlines()
    more = [f"{line},{'' if i % 3 else 20 + i},{['arm', 'leg'][i % 2]}" for i, line in enumerate(lines)]
    table.write_text("\n".join([f"{head},age,site", *more]) + "\n")
    train: dict[str, Any] = {**FACTS["train"], "metadata": ["age", "site"]}
    project.write_yaml("competition", {**FACTS, "train": train})
    project.prepare()
    return project


def rows() -> pd.DataFrame:
    return pd.DataFrame({"row_id": list("abcd"), "age": ["30", "50", "", "90"], "site": ["arm", "leg", "arm", ""]})


def test_targets_are_standardised_by_the_training_rows_and_missing_ones_are_none() -> None:
    found = Auxiliary.of({"age": 0.5, "site": 2.0}, rows(), rows()[:3], ["b", "c", "", "a"])
    assert found.sizes == [1, 3]
    age, site = found.table.T
    assert np.allclose(age, [1, math.nan, math.nan, -1], equal_nan=True)
    words = found.columns[1].words
    assert [words[int(place)] if np.isfinite(place) else "" for place in site] == ["leg", "arm", "", "arm"]
    assert found.in_words() == "age of 2, site of 3 of 4 rows"
    alike = Auxiliary.of({"age": 1.0}, rows(), rows()[:1], ["a", "b"])
    assert alike.in_words() == f"age of 1 that are all the same, {NOTHING} of 2 rows"
    assert Auxiliary.of({"age": 1.0}, rows(), rows()[2:3], ["c"]).in_words() == f"age of 0 {NOTHING} of 1 rows"


def test_further_rows_may_lack_a_column() -> None:
    """As those of `extra.rows` do, whose file says nothing of it."""
    further = pd.DataFrame({"row_id": ["x"], "site": ["leg"]})
    learnt = pd.concat([rows()[:2], further], ignore_index=True)
    age, site = Auxiliary.of({"age": 1.0, "site": 1.0}, rows(), learnt, ["a", "b", "x"]).table.T
    assert np.allclose(age, [-1, 1, math.nan], equal_nan=True)
    assert np.isfinite(site).all()


def test_the_loss_is_of_rows_that_have_a_target_alone() -> None:
    found = Auxiliary.of({"age": 0.5, "site": 2.0}, rows(), rows()[:3], ["b", "c", ""])
    network = nn.Module()
    last = nn.Linear(2, 2)
    network.get_classifier = lambda: last  # type: ignore[assignment]
    head = AuxiliaryHead(found, network, torch.device("cpu"), seed=0)
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    last(features)
    outputs = head.head(features)
    age = (outputs[0, 0] - 1) ** 2
    site = torch.nn.functional.cross_entropy(outputs[:2, 1:], head.table[:2, 1].long(), reduction="sum")
    last(features)
    assert torch.isclose(head.loss(head.table), (0.5 * age + 2 * site) / 3)
    last.eval()
    last(features)
    with pytest.raises(AssertionError):
        head.loss(head.table)


def test_a_killed_training_ends_with_the_same_bits_and_leaves_no_head(
    project: TinyProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f"{BASE} loss.auxiliary.age=1 loss.auxiliary.site=0.5 train.checkpoint_minutes=1e-9"
    given = ("--set", settings, "--fold", "0")
    assert project.run("train", "--name", "whole", *given) == 0
    assert "also learnt: age of" in capsys.readouterr().out
    learn, left = Learner.learn, [5]

    def killed(self: Learner, *arguments: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return learn(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "learn", killed)
        assert project.run("train", "--name", "killed", *given) != 0
    assert project.run("train", "--name", "killed", *given) == 0
    assert "goes on" in capsys.readouterr().out
    files = [project.fold(0, name) / "model.safetensors" for name in ("whole", "killed")]
    assert sha256_file(files[0]) == sha256_file(files[1])
    assert project.run("train", "--name", "plain", "--set", BASE, "--fold", "0") == 0
    plain = load_file(project.fold(0, "plain") / "model.safetensors")
    assert load_file(files[0]).keys() == plain.keys()
    losses = [float(read_csv(project.fold(0, run) / "log.csv")["train_loss"][1]) for run in ("whole", "plain")]
    assert losses[0] > losses[1], "theirs is part of the training loss"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("loss.auxiliary.weight=1", "no metadata column weight"),
        ("loss.auxiliary.age=1 augment.mix=mixup", "loss.auxiliary and augment.mix do not go together"),
        ("loss.auxiliary.age=1 train.compile=default", "loss.auxiliary and train.compile do not go together"),
        ("loss.auxiliary.age=-1", "loss.auxiliary.age"),
        ("loss.auxiliary.age=1 model.metadata=[age]", "loss.auxiliary and model.metadata do not go together"),
    ],
)
def test_what_cannot_work_is_said(
    project: TinyProject, capsys: pytest.CaptureFixture[str], settings: str, words: str
) -> None:
    assert project.run("train", "--name", "bad", "--set", f"{BASE} {settings}", "--fold", "0") == 2
    assert words in capsys.readouterr().err
