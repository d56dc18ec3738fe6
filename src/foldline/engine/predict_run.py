"""Predicts with all folds of a run. Reads each fold's weights and `meta.json`, and the images; writes nothing."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from foldline.core.paths import Layout
from foldline.core.predictions import predictions_table
from foldline.core.run import Run
from foldline.core.tables import read_parquet
from foldline.core.tasks import Array, prediction_columns, target_columns
from foldline.engine.checkpoint import load_weights
from foldline.engine.device import describe, pick_device, prepare_device
from foldline.engine.infer import predict
from foldline.engine.precision import Precision
from foldline.engine.prepare import Problem, open_problem
from foldline.models.backbone import Architecture, Preprocessing, build

Meta = dict[str, Any]


def predict_run(
    layout: Layout, comp: str, name: str, run: Run, metas: list[Meta], device_name: str
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The OOF table, the test table, and the device in words.

    Args:
        metas: the content of each fold's `meta.json`, fold 0 first.
    """
    device = pick_device(device_name)
    prepare_device(device)
    problem = open_problem(layout, comp, run, device)
    models = [_load_models(layout, comp, name, meta, device) for meta in metas]
    oof = pd.concat([_oof_part(problem, name, meta, own) for meta, own in zip(metas, models, strict=True)])
    return oof, _test_table(problem, metas, models), describe(device)


def _load_models(layout: Layout, comp: str, name: str, meta: Meta, device: torch.device) -> list[nn.Module]:
    """A fold's network, and its start where that is kept, from its folder alone: meta and weights, no YAML."""
    models = []
    for file in meta["weights"]:
        model = build(Architecture(**meta["architecture"]))
        load_weights(layout.fold(comp, name, meta["fold"]) / file, model)
        models.append(model.to(device))
    return models


def _test_table(problem: Problem, metas: list[Meta], models: list[list[nn.Module]]) -> pd.DataFrame:
    """The test rows by the mean of all folds' models."""
    folds = problem.folds
    values = np.zeros((0, len(folds.outputs)))
    if len(folds.test):
        values = _predict(
            problem, metas[0], [model for own in models for model in own], folds.test, "test rows, all folds"
        )
    keep = [column for column in ("entity",) if column in folds.test.columns]
    return predictions_table(folds.test, values, folds.task, folds.outputs, keep=keep)


def _oof_part(problem: Problem, name: str, meta: Meta, models: list[nn.Module]) -> pd.DataFrame:
    """The fold's own rows by the fold's own model; what training wrote is taken when its views are the same."""
    fold, folds = meta["fold"], problem.folds
    frame = folds.frame.iloc[problem.rows_of(fold, train=False)]
    stored = problem.layout.fold(problem.comp, name, fold) / "valid.parquet"
    columns = prediction_columns(folds.task, folds.outputs)
    if meta["views"] == problem.run.predict.views and stored.is_file():
        table = read_parquet(stored, required=("row_id", *columns)).set_index("row_id")
        found = table.loc[frame["row_id"].tolist(), columns].to_numpy(dtype=np.float64)
    else:
        found = _predict(problem, meta, models, frame, f"own rows of fold {fold}")
    keep = [column for column in ("fold", "group", "entity") if column in frame.columns]
    return predictions_table(
        frame, found, folds.task, folds.outputs, keep=[*keep, *target_columns(folds.task, folds.outputs)]
    )


def _predict(problem: Problem, meta: Meta, models: list[nn.Module], rows: pd.DataFrame, title: str) -> Array:
    """[rows, outputs] the mean of the models' predictions for rows of a table."""
    prepare = Preprocessing(meta["mean"], meta["std"], meta["interpolation"])
    choice = meta["precision"]["choice"]
    if choice == "fp16" and problem.device.type != "cuda":
        choice = "fp32"  # a CPU can compute in fp16, slowly
    found: Array = predict(
        models, problem.cache.pixels, problem.cache.rows(rows["image"].tolist()), prepare, problem.device,
        Precision(choice, meta["device"], {}), views=problem.run.predict.views, activation=meta["activation"],
        batch_size=problem.run.predict.batch_size, title=title,
    ).mean(axis=0)  # fmt: skip
    return found
