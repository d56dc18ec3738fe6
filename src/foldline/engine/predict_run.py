"""Predicts with the folds of a run. Reads each fold's weights and `meta.json`, and the images; writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from foldline.core import own_code
from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.predictions import predictions_table
from foldline.core.progress import say
from foldline.core.provenance import refuse_diverged
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import require_same
from foldline.core.run import Run
from foldline.core.tables import read_parquet, sha256_files, sha256_json
from foldline.core.task import Array
from foldline.engine.infer import predict
from foldline.engine.loop.checkpoint import State, load_state
from foldline.engine.losses import Teacher, kind_of, require_distillable
from foldline.engine.machine.device import describe, pick_device, prepare_device
from foldline.engine.machine.precision import Precision
from foldline.engine.problem import Problem, RowArrays, open_problem
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.backbone import build, state_sha256
from foldline.models.fusing import fuse
from foldline.models.metadata import Encoding
from foldline.models.weights import read_state


@dataclass(frozen=True)
class RunPredictions:
    """The OOF table, the test table, each fold's own test table, the device in words, pictures that cannot be read."""

    oof: pd.DataFrame
    test: pd.DataFrame
    fold_tests: list[pd.DataFrame]
    device: str
    left_out: list[str]


def predict_run(
    layout: Layout, comp: str, name: str, run: Run, metas: list[FoldMeta], device_name: str
) -> RunPredictions:
    """Predictions of the rows of the trained folds, and of the test rows by all of them.

    Args:
        metas: the content of each trained fold's `meta.json`.
    """
    device = pick_device(device_name)
    prepare_device(device)
    problem = open_problem(layout, comp, run, device)
    models = [load_models(layout.fold(comp, name, meta.fold), meta, device) for meta in metas]
    oof = pd.concat([_oof_part(problem, name, meta, own) for meta, own in zip(metas, models, strict=True)])
    tests = _test_values(problem, metas, models)
    tables = [_test_table(problem, values) for values in tests]
    return RunPredictions(
        oof, _test_table(problem, tests.mean(axis=0)), tables, describe(device), sorted(problem.cache.bad)
    )


def load_models(folder: Path, meta: FoldMeta, device: torch.device) -> list[nn.Module]:
    """A fold's network, and its start where that is kept, from its folder alone: meta, weights and code, no YAML."""
    architecture = Architecture(**meta.architecture)
    architecture = replace(architecture, name=own_code.kept(folder, architecture.name, meta.sha256.code))
    models = []
    for file in meta.weights:
        model = build(architecture)
        load_state(model, read_state(folder / file, next=FoldMeta.made_by), where=str(folder / file))
        models.append(model)
    if (
        weights_sha256({file: model.state_dict() for file, model in zip(meta.weights, models, strict=True)})
        != meta.sha256.weights
    ):
        raise FoldlineError(
            "the weights are not those that were trained here: their sha256 is not the one in meta.json",
            where=str(folder),
            next="copy the whole folder again, or delete it and train this fold again",
        )
    return [ready(model.to(device), architecture, precision_of(meta, device)) for model in models]


def weights_sha256(members: Mapping[str, State]) -> str:
    """One hash of a fold's networks, by file name: what `meta.json` says of its weights."""
    return sha256_json({file: state_sha256(state) for file, state in members.items()})


def ready(model: nn.Module, architecture: Architecture, precision: Precision) -> nn.Module:
    """The network as it predicts: on a CPU in fp32 its batch-norms are folded into the convolutions."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    return fuse(model, architecture) if on_cpu and precision.choice == "fp32" else model.eval()


def load_teacher(problem: Problem, fold: int) -> Teacher:
    """The same fold's network of the run that `loss.teacher` names.

    Raises:
        FoldlineError: as `teacher_meta`.
    """
    meta = teacher_meta(problem, fold)
    preprocessing = Preprocessing(meta.mean, meta.std, meta.interpolation)
    height, width = meta.height_width
    folder = problem.layout.fold(problem.comp, problem.run.loss.teacher.name, fold)
    models = load_models(folder, meta, problem.device)
    return Teacher(models, preprocessing, (height, width), meta.activation, problem.device)


def teacher_meta(problem: Problem, fold: int) -> FoldMeta:
    """The teacher's `meta.json`, checked; no weights are read.

    Raises:
        FoldlineError: that fold is not trained, on other folds (a leak), diverged, its network reads other pictures,
            or its outputs cannot be taught.
    """
    name = problem.run.loss.teacher.name
    folder = problem.layout.fold(problem.comp, name, fold)
    meta = FoldMeta.read(folder / "meta.json", next=f"make train COMP={problem.comp} RUN={name} FOLD={fold}")
    where = f"loss.teacher: {name}"
    require_same(meta, folds=problem.folds.sha256, where=where)
    refuse_diverged(problem.layout, meta, where)
    same = (int(problem.cache.pixels.shape[3]), problem.objective.activation)
    if (meta.channels, kind_of(meta.activation)) != same or meta.architecture.get("metadata_features"):
        raise FoldlineError(
            "the teacher's pictures have other channels, its outputs another meaning, or it reads metadata",
            where=where,
            next="choose a teacher with the same data.channels and kind of loss, without model.metadata",
        )
    require_distillable(meta.activation)
    return meta


def _test_values(problem: Problem, metas: list[FoldMeta], models: list[list[nn.Module]]) -> Array:
    """[folds, rows, outputs] what each fold says of the test rows: the mean over its networks."""
    shape = (len(models), len(problem.folds.test), len(problem.folds.outputs))
    if not shape[1]:
        return np.zeros(shape)
    first = metas[0]
    precisions = {precision_of(meta, problem.device).choice for meta in metas}
    if first.metadata is not None or len(precisions) > 1:  # each fold has its own means and words
        own_rows = [problem.test_rows(_encoding(meta)) for meta in metas]
        titles = [f"test rows, fold {meta.fold}" for meta in metas]
        parts = zip(metas, models, own_rows, titles, strict=True)
        return np.stack([_predict(problem, *part).mean(axis=0) for part in parts])
    flat = [model for own in models for model in own]
    activations = [meta.activation for meta, own in zip(metas, models, strict=True) for _ in own]
    prob = _predict(problem, first, flat, problem.test_rows(None), "test rows, all folds", activations)
    mean: Array = prob.reshape(shape[0], -1, *shape[1:]).mean(axis=1)
    return mean


def _encoding(meta: FoldMeta) -> Encoding | None:
    """How the fold's metadata became numbers when it was trained."""
    return None if meta.metadata is None else Encoding.from_json(meta.metadata)


def _test_table(problem: Problem, values: Array) -> pd.DataFrame:
    folds = problem.folds
    keep = [column for column in ("entity",) if column in folds.test.columns]
    return predictions_table(folds.test, values, folds.task, folds.outputs, keep=keep)


def _oof_part(problem: Problem, name: str, meta: FoldMeta, models: list[nn.Module]) -> pd.DataFrame:
    """The fold's validation rows by the fold's own model; what training wrote is taken when its views are the same."""
    fold, folds = meta.fold, problem.folds
    frame = folds.frame.iloc[problem.own(fold, train=False)]
    stored = problem.layout.fold(problem.comp, name, fold) / "valid.parquet"
    columns = folds.task.prediction_columns(folds.outputs)
    if meta.views == problem.run.predict.views and _is_whole(stored, meta):
        table = read_parquet(stored, required=("row_id", *columns)).set_index("row_id")
        lacking = frame.loc[~frame["row_id"].isin(table.index), "row_id"].tolist()
        if lacking:
            raise FoldlineError(
                f"{meta.title} was trained without rows whose pictures can be read now: {first_few(lacking)}",
                where=str(stored),
                next=FoldMeta.made_by,
            )
        prob = table.loc[frame["row_id"].tolist(), columns].to_numpy(dtype=np.float64)
    else:
        prob = _predict(
            problem, meta, models, problem.valid_rows(fold, _encoding(meta)), f"validation rows of fold {fold}"
        ).mean(axis=0)
    keep = [column for column in ("fold", "group", "entity") if column in frame.columns]
    return predictions_table(
        frame, prob, folds.task, folds.outputs, keep=[*keep, *folds.task.target_columns(folds.outputs)]
    )


def _is_whole(path: Path, meta: FoldMeta) -> bool:
    """Whether a file of the fold is there as training wrote it; says where it is another."""
    written, now = meta.files.get(path.name), sha256_files(path.parent, [path.name])[path.name]
    if now and written not in (None, now):
        say(f"warning: {path} is damaged: its rows are predicted again")
        return False
    return bool(now)


def _predict(
    problem: Problem,
    meta: FoldMeta,
    models: list[nn.Module],
    rows: RowArrays,
    title: str,
    activations: list[str] | None = None,
) -> Array:
    """[models, rows, outputs] each model's predictions; `activations`: of each, where they are of several folds."""
    return predict(
        models, problem.pictures, rows, Preprocessing(meta.mean, meta.std, meta.interpolation),
        problem.device, precision_of(meta, problem.device), views=problem.run.predict.views,
        activation=activations or meta.activation, batch_size=problem.run.predict.batch_size, title=title,
    )  # fmt: skip


def precision_of(meta: FoldMeta, device: torch.device) -> Precision:
    """The number format that the fold was trained in; fp16, which a CPU computes slowly, becomes fp32 there."""
    choice = meta.precision.choice
    if choice == "fp16" and device.type != "cuda":
        choice = "fp32"
    return Precision(choice, meta.device, {})
