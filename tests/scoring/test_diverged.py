"""Runs that ran away are named and not handed in unasked; weak ones are left alone."""

from math import inf
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from foldline.core.records.cv import Cv
from foldline.core.records.entry import Entry
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.task import TASKS
from foldline.engine.evaluate import nothing_loss
from foldline.scoring.diverged import Outcome, apart, ran_away
from foldline.scoring.metrics import metric_named
from tiny import FACTS, RUN, TinyProject


@pytest.mark.parametrize(
    ("losses", "named"),
    [
        ([0.65, 8e5, 136.0], True),  # AdamW at 0.3
        ([0.65, 2e9, 1.1e4], True),  # AdamW at 1
        ([0.65, 239.0, 0.68], True),  # SGD at 10: it blew up, and the schedule's end left nothing
        ([0.64, 51.1, 3.74], True),
        ([0.7, inf, inf], True),
        ([0.65, 4e10, 700.0, 0.37], False),  # it came back and learnt
        ([0.65, 0.63, 0.61], False),
        ([0.12, 4.1], False),  # a good probe, and batch-norms after ten steps
        ([0.93, 3.6, 4.1, 2.1], False),
        ([0.65, None, 0.7], False),
        ([0.65], False),
    ],
)
def test_a_loss_far_from_knowing_nothing_is_named(losses: list[float | None], named: bool) -> None:
    assert bool(ran_away(losses, len(losses) - 1, 0.69)) == named


def test_the_weights_that_are_kept_count() -> None:
    assert not ran_away([0.7, 0.5, 1e6], 1, 0.69)
    assert ran_away([0.7, 0.5, 1e6], 2, 0.69)
    assert not ran_away([0.7, 1e6], 0, 0.69)


def outcomes(*pairs: tuple[float, float]) -> dict[int, Outcome]:
    return {fold: Outcome(loss, 0.69, score) for fold, (loss, score) in enumerate(pairs)}


@pytest.mark.parametrize(
    ("metric", "found", "named"),
    [
        ("auc", outcomes((0.3, 0.93), (0.3, 0.92), (0.69, 0.5), (0.32, 0.91)), [2]),
        ("r2", outcomes((0.1, 0.9), (0.9, -0.1), (0.12, 0.88)), [1]),
        ("log_loss", outcomes((0.1, 0.1), (0.9, 0.9), (0.12, 0.12)), [1]),
        ("auc", outcomes((0.3, 0.93), (0.69, 0.5)), []),  # of two nobody knows which one is right
        ("auc", outcomes((0.1, 1.0), (0.1, 1.0), (0.8, 1.0)), []),  # too sure, and ranks well
        ("auc", outcomes((0.3, 0.93), (0.3, 0.92), (0.45, 0.8)), []),
        ("rmse", {0: Outcome(110, 112, 16), 1: Outcome(0.05, 1, 1), 2: Outcome(0.06, 1, 1.2)}, []),  # one far target
        ("auc", outcomes((0.66, 0.6), (0.68, 0.55), (0.75, 0.45)), []),  # a hard task
    ],
)
def test_a_fold_that_learnt_nothing_beside_others_that_did_is_named(
    metric: str, found: dict[int, Outcome], named: list[int]
) -> None:
    assert list(apart(found, metric_named(metric))) == named


def test_knowing_nothing_costs_what_a_far_target_among_the_training_rows_costs() -> None:
    def rows(*numbers: float) -> SimpleNamespace:
        return SimpleNamespace(truth=np.array(numbers, dtype=np.float32)[:, None])

    objective = SimpleNamespace(logits=1, activation="identity", plain=torch.nn.functional.mse_loss)
    job: Any = SimpleNamespace(
        task=TASKS["regression"], outputs=[""], objective=objective, valid=rows(0.1, -0.1), train=rows(2, 0, -2, 0)
    )
    assert nothing_loss(job) == 2
    job.valid = rows(4, 0)
    assert nothing_loss(job) == 8


@pytest.mark.parametrize("optimizer", ["optim.lr=1", "optim.name=sgd optim.lr=10"])
def test_a_run_that_diverged_is_not_handed_in_unasked(
    project: TinyProject, capsys: pytest.CaptureFixture[str], optimizer: str
) -> None:
    project.write_yaml("competition", {**FACTS, "folds": {"k": 2}})
    project.write_yaml("quick", {**RUN, "model": {"name": "test_resnet", "weights": "none"}})
    project.prepare()
    given = ("--name", "wild", "--set", optimizer)
    assert project.run("train", *given) == 0
    assert "diverged: its validation loss" in capsys.readouterr().out
    assert all(FoldMeta.read(project.fold(fold, "wild") / "meta.json").diverged for fold in (0, 1))
    assert project.run("predict", *given) == 0
    assert "warning: fold 0: its validation loss" in capsys.readouterr().out
    if "sgd" in optimizer:
        return
    submission = project.layout.submission("tiny", "wild")
    assert project.run("ensemble", *given) == 2
    assert "WITH_DIVERGED=1" in capsys.readouterr().err
    assert not submission.is_file()
    assert project.run("ensemble", *given, "--with-diverged") == 0
    cv, entry = Cv.read(project.layout.run("tiny", "wild") / "cv.json"), Entry.read(submission.with_suffix(".json"))
    assert [reason[:7] for reason in cv.diverged] == ["fold 0:", "fold 1:"]
    assert entry.diverged == cv.diverged
    assert "The training diverged" in (project.layout.run("tiny", "wild") / "report.html").read_text()
    assert project.run("ensemble", *given) == 2, "a submission that is there is no answer without the word either"
    file = (project.fold(0, "wild") / "model.safetensors").relative_to(project.root)
    for setting, taken in {
        "extra.pseudo": "extra.pseudo.name=wild",
        "loss.teacher: wild": "loss.teacher.name=wild",
        "model.weights": "model.weights.name=run model.weights.options.run=wild",
        "model.weights: file": f"model.weights.name=file model.weights.options.file={file}",
    }.items():
        capsys.readouterr()
        assert project.run("train", "--fold", "0", "--name", "next", "--set", taken) == 2
        error = capsys.readouterr().err
        assert "error: run 'wild' diverged: fold 0: its validation loss" in error
        assert f"where: {setting.removesuffix(' file')}" in error
        assert "name another run" in error
    kept = project.fold(1, "wild") / "meta.json"
    FoldMeta.read(kept).changed(diverged="").write(kept)  # it learnt nothing beside its other folds: cv.json knows it
    assert project.run("train", "--fold", "1", "--name", "next", "--set", "loss.teacher.name=wild") == 2
    assert "run 'wild' diverged: fold 1: its validation loss" in capsys.readouterr().err
