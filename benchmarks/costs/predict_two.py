"""What predicting does with rows: two folds' test files, their mean, and the OOF rows, by linear networks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import nn

import made_rows
from costs.kit import Cost
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.engine.finished.networks import FoldNetworks
from foldline.engine.machine.compiling import Compiling
from foldline.engine.problem import Problem
from foldline.engine.row_files import Parts, RowFiles, write_interleaved, write_mean
from foldline.images.store import PictureStore
from made_rows import FOLDS, outputs, task

PICTURES, SIDE = 1000, 8

COST = Cost("predict, 2 classes: the test files of 2 folds, their mean, OOF; linear networks of 8 x 8 px")


def prepare(folder: Path, rows: int, classes: int = 2) -> None:
    """What training wrote of the validation rows."""
    frame = made_rows.frame(rows, classes)
    for fold in range(FOLDS):
        made_rows.write(folder / f"fold_{fold}" / "valid.parquet", frame[frame["fold"] == fold], classes, [])


def run(folder: Path, rows: int, classes: int = 2) -> None:
    """As `engine.predict_run.predict_run`, but for the cache and the weights."""
    frame, test = made_rows.frame(rows, classes), made_rows.frame(rows, classes, "test")
    problem, folds = problem_of(frame, test, classes), range(FOLDS)
    files = [folder / f"fold_{fold}" / "test.parquet" for fold in folds]
    RowFiles(problem, test, [], files, "test rows", Compiling()).write(lambda: networks(classes), Parts())
    write_mean(problem, test, [], files, folder / "test.parquet")
    valid = [
        PredictionBlocks(folder / f"fold_{fold}" / "valid.parquet", task(classes), outputs(classes)) for fold in folds
    ]
    sources = {fold: (values for _, values in blocks) for fold, blocks in zip(folds, valid, strict=True)}
    write_interleaved(problem, frame, ["fold", "target"], sources, folder / "oof.parquet")


def problem_of(rows: pd.DataFrame, test: pd.DataFrame, classes: int) -> Problem:
    """What predicting asks a problem for: few small pictures, which the rows share."""
    pixels = np.random.default_rng(3).integers(0, 256, (PICTURES, SIDE, SIDE, 1), dtype=np.uint8)
    made: Any = SimpleNamespace(
        folds=SimpleNamespace(frame=rows, test=test, task=task(classes), outputs=outputs(classes)),
        run=SimpleNamespace(predict=SimpleNamespace(views=["identity"], batch_size=256)),
        pictures=PictureStore(pixels, torch.device("cpu")),
        cache=SimpleNamespace(rows=lambda images: np.arange(len(images)) % PICTURES),
        with_stacks=lambda frame: (frame, None, None),
    )
    return cast("Problem", made)


def networks(classes: int) -> list[FoldNetworks]:
    """A linear network a fold."""
    torch.manual_seed(0)
    found = []
    for fold in range(FOLDS):
        meta: Any = SimpleNamespace(
            fold=fold, outputs=outputs(classes), metadata=None, activation="softmax", mean=[0.5], std=[0.5],
            interpolation="bilinear", precision=SimpleNamespace(choice="fp32"), device="cpu",
            sees_entities=False,
        )  # fmt: skip
        network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes))
        found.append(FoldNetworks(meta, [network], torch.device("cpu")))
    return found
