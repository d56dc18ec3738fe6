"""Predicts with the folds of a run. Reads each fold's weights and `meta.json`, and the images; writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.predictions import predictions_table
from foldline.core.progress import say
from foldline.core.provenance import refuse_diverged
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import require_same
from foldline.core.run import Run
from foldline.core.tables import read_parquet, sha256_files
from foldline.engine.finished.networks import FoldNetworks, load_models, preprocessing_of
from foldline.engine.finished.oof import oof_part, oof_table, predict_frame, validation_rows
from foldline.engine.infer import Predictions
from foldline.engine.losses import Teacher, kind_of, require_distillable
from foldline.engine.machine.compiling import Compiling
from foldline.engine.machine.device import describe, pick_device, prepare_device
from foldline.engine.machine.memory import room
from foldline.engine.problem import Problem, open_problem
from foldline.images.store import free_memory

SHARE = 0.25  # of the memory that is free: what predictions of all folds, or their networks on a GPU, may take of it

WriteTest = Callable[[FoldMeta, pd.DataFrame], None]


@dataclass(frozen=True)
class RunPredictions:
    """The OOF table, the test table, the device in words, pictures that cannot be read, what compiling was worth."""

    oof: pd.DataFrame
    test: pd.DataFrame
    device: str
    left_out: list[str]
    compiling: Compiling


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
    prepare_device(device, deterministic=run.train.deterministic)
    problem, compiling = open_problem(layout, comp, run, device), Compiling(run.predict.compile)
    rows, total = len(problem.folds.test), np.zeros((), dtype=np.float32)
    oof = []
    for some in _one_after_the_other(problem, name, metas):
        loaded = [FoldNetworks.load(layout.fold(comp, name, meta.fold), meta, device) for meta in some]
        oof += [_oof_part(problem, name, fold, compiling) for fold in loaded]
        values = predict_frame(problem, loaded, problem.folds.test, "test rows", compiling)
        for meta, own in zip(some, values, strict=True):
            write_test(meta, _test_table(problem, own))
            total = own.copy() if not total.ndim else np.add(total, own, out=total)
        del loaded, values, own  # before the next fold's come
    total /= np.float32(len(metas))
    assert len(total) == rows
    left_out = sorted(problem.cache.bad)
    return RunPredictions(pd.concat(oof), _test_table(problem, total), describe(device), left_out, compiling)


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


def load_teacher(problem: Problem, fold: int) -> Teacher:
    """The same fold's network of the run that `loss.teacher` names.

    Raises:
        FoldlineError: as `teacher_meta`.
    """
    meta = teacher_meta(problem, fold)
    height, width = meta.height_width
    folder = problem.layout.fold(problem.comp, problem.run.loss.teacher.name, fold)
    models = load_models(folder, meta, problem.device)
    return Teacher(models, preprocessing_of(meta), (height, width), meta.activation, problem.device)


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


def _test_table(problem: Problem, values: Predictions) -> pd.DataFrame:
    folds = problem.folds
    keep = [column for column in ("entity",) if column in folds.test.columns]
    return predictions_table(folds.test, values, folds.task, folds.outputs, keep=keep)


def _oof_part(problem: Problem, name: str, fold: FoldNetworks, compiling: Compiling) -> pd.DataFrame:
    """The fold's validation rows by the fold's own model; what training wrote is taken when its views are the same."""
    meta, folds = fold.meta, problem.folds
    stored = problem.layout.fold(problem.comp, name, meta.fold) / "valid.parquet"
    if meta.views != problem.run.predict.views or not _is_whole(stored, meta):
        return oof_part(problem, fold, compiling)
    frame, columns = validation_rows(problem, meta.fold), folds.task.prediction_columns(folds.outputs)
    table = read_parquet(stored, required=("row_id", *columns)).set_index("row_id")
    lacking = frame.loc[~frame["row_id"].isin(table.index), "row_id"].tolist()
    if lacking:
        raise FoldlineError(
            f"{meta.title} was trained without rows whose pictures can be read now: {first_few(lacking)}",
            where=str(stored),
            next=FoldMeta.made_by,
        )
    return oof_table(problem, frame, table.loc[frame["row_id"].tolist(), columns].to_numpy(dtype=np.float32))


def _is_whole(path: Path, meta: FoldMeta) -> bool:
    """Whether a file of the fold is there as training wrote it; says where it is another."""
    written, now = meta.files.get(path.name), sha256_files(path.parent, [path.name])[path.name]
    if now and written not in (None, now):
        say(f"warning: {path} is damaged: its rows are predicted again")
        return False
    return bool(now)
