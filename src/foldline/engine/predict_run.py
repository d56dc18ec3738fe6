"""Predicts with the folds of a run. Reads each fold's weights and `meta.json`, and the images; writes nothing."""

from collections.abc import Callable, Mapping
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
from foldline.engine.infer import Predictions, predict
from foldline.engine.loop.checkpoint import State, load_state
from foldline.engine.losses import Teacher, kind_of, require_distillable
from foldline.engine.machine.device import describe, pick_device, prepare_device
from foldline.engine.machine.memory import room
from foldline.engine.machine.precision import Precision
from foldline.engine.problem import Problem, RowArrays, open_problem
from foldline.images.store import free_memory
from foldline.models.architecture import Architecture, Preprocessing
from foldline.models.backbone import build, state_sha256
from foldline.models.fusing import fuse
from foldline.models.metadata import Encoding
from foldline.models.weights import read_state

SHARE = 0.25  # of the memory that is free: what predictions of all folds, or their networks on a GPU, may take of it

WriteTest = Callable[[FoldMeta, pd.DataFrame], None]


@dataclass(frozen=True)
class RunPredictions:
    """The OOF table, the test table, the device in words, pictures that cannot be read."""

    oof: pd.DataFrame
    test: pd.DataFrame
    device: str
    left_out: list[str]


def predict_run(
    layout: Layout, comp: str, name: str, run: Run, metas: list[FoldMeta], device_name: str, write_test: WriteTest
) -> RunPredictions:
    """Predictions of the rows of the trained folds, and of the test rows by all of them.

    All folds' networks see a picture one after the other where their predictions, and on a GPU they themselves, take
    little of the free memory; else the folds go one by one, and the pictures are read once for each.

    Args:
        metas: the content of each trained fold's `meta.json`.
        write_test: takes each fold's own test table as soon as it is there.
    """
    device = pick_device(device_name)
    prepare_device(device)
    problem = open_problem(layout, comp, run, device)
    rows, total = len(problem.folds.test), np.zeros((), dtype=np.float32)
    oof = []
    for some in _one_after_the_other(problem, name, metas):
        models = [load_models(layout.fold(comp, name, meta.fold), meta, device) for meta in some]
        oof += [_oof_part(problem, name, meta, own) for meta, own in zip(some, models, strict=True)]
        values = _test_values(problem, some, models)
        for meta, own in zip(some, values, strict=True):
            write_test(meta, _test_table(problem, own))
            total = own.copy() if not total.ndim else np.add(total, own, out=total)
        del models, values, own  # before the next fold's come
    total /= np.float32(len(metas))
    assert len(total) == rows
    left_out = sorted(problem.cache.bad)
    return RunPredictions(pd.concat(oof), _test_table(problem, total), describe(device), left_out)


def _one_after_the_other(problem: Problem, name: str, metas: list[FoldMeta]) -> list[list[FoldMeta]]:
    """The folds whose networks predict the test rows together; says where they go one by one."""
    rows, outputs, device = len(problem.folds.test), len(problem.folds.outputs), problem.device
    needed = {"memory": len(metas) * rows * outputs * 4}
    free = {"memory": free_memory() or needed["memory"] / SHARE}
    if device.type == "cuda":
        folders = [(problem.layout.fold(problem.comp, name, meta.fold), meta.weights) for meta in metas]
        needed["GPU's memory"] = sum((folder / file).stat().st_size for folder, files in folders for file in files)
        free["GPU's memory"] = room(device)
    for what, size in needed.items():
        if len(metas) > 1 and size > SHARE * free[what]:
            say(
                f"the folds predict one after the other: together they take {size / 2**30:.1f} GiB, and of the "
                f"{free[what] / 2**30:.1f} GiB of {what} that are free they may have a quarter"
            )
            return [[meta] for meta in metas]
    return [metas]


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


def _test_values(problem: Problem, metas: list[FoldMeta], models: list[list[nn.Module]]) -> Predictions:
    """[folds, rows, outputs] what each fold says of the test rows: the mean over its networks."""
    if not len(problem.folds.test):
        return np.zeros((len(models), 0, len(problem.folds.outputs)), dtype=np.float32)
    precisions = {precision_of(meta, problem.device).choice for meta in metas}
    if metas[0].metadata is not None or len(precisions) > 1:  # each fold has its own means and words
        own_rows = [problem.test_rows(_encoding(meta)) for meta in metas]
        parts = [
            _predict(problem, [meta], [own], rows, f"test rows, fold {meta.fold}")
            for meta, own, rows in zip(metas, models, own_rows, strict=True)
        ]
        return np.concatenate(parts)
    which = "all folds" if len(metas) > 1 else f"fold {metas[0].fold}"
    return _predict(problem, metas, models, problem.test_rows(None), f"test rows, {which}")


def _encoding(meta: FoldMeta) -> Encoding | None:
    """How the fold's metadata became numbers when it was trained."""
    return None if meta.metadata is None else Encoding.from_json(meta.metadata)


def _test_table(problem: Problem, values: Predictions) -> pd.DataFrame:
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
        prob = table.loc[frame["row_id"].tolist(), columns].to_numpy(dtype=np.float32)
    else:
        rows = problem.valid_rows(fold, _encoding(meta))
        (prob,) = _predict(problem, [meta], [models], rows, f"validation rows of fold {fold}")
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
    problem: Problem, metas: list[FoldMeta], models: list[list[nn.Module]], rows: RowArrays, title: str
) -> Predictions:
    """[folds, rows, outputs] each fold's predictions; the folds differ in weights, and in how numbers are scaled."""
    first = metas[0]
    return predict(
        models, problem.pictures, rows, Preprocessing(first.mean, first.std, first.interpolation),
        problem.device, precision_of(first, problem.device), views=problem.run.predict.views,
        activation=[meta.activation for meta in metas], batch_size=problem.run.predict.batch_size, title=title,
    )  # fmt: skip


def precision_of(meta: FoldMeta, device: torch.device) -> Precision:
    """The number format that the fold was trained in; fp16, which a CPU computes slowly, becomes fp32 there."""
    choice = meta.precision.choice
    if choice == "fp16" and device.type != "cuda":
        choice = "fp32"
    return Precision(choice, meta.device, {})
