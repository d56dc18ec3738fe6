"""Predicts with the folds of a run. Reads each fold's weights and `meta.json`, the images, and the parts that other
processes made; writes `fold_k/test.parquet`, `test.parquet` and `oof.parquet`, or the files of one shard.

Each fold's test rows go to its own file, batch by batch, and their mean is taken from these files: what is in memory
does not grow with the rows.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import pandas as pd

from foldline.core.errors import FoldlineError, first_few
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.progress import say
from foldline.core.provenance import fold_of, refuse_diverged
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.same import require_same
from foldline.core.run import Run
from foldline.core.shards import Shard
from foldline.core.tables import atomic_path, scratch_folder, sha256_files
from foldline.engine.finished.adapting import adapt
from foldline.engine.finished.networks import FoldNetworks, at_once, load_models, preprocessing_of
from foldline.engine.finished.oof import oof_columns, validation_rows
from foldline.engine.infer import HalfPrecisionError, Predictions
from foldline.engine.losses import Teacher, kind_of, require_distillable
from foldline.engine.machine.compiling import Compiling
from foldline.engine.machine.device import describe, pick_device, prepare_device
from foldline.engine.machine.memory import room
from foldline.engine.problem import Problem, open_problem
from foldline.engine.row_files import Parts, RowFiles, part_name, write_interleaved, write_mean
from foldline.images.store import free_memory
from foldline.images.views import ADAPTED

Networks = Callable[[], Sequence[FoldNetworks]]
SHARE = 0.25  # of the memory that is free: what the networks of all folds may take of it


@dataclass(frozen=True)
class RunPredictions:
    """The device in words, pictures that cannot be read, what compiling was worth, and what other processes made."""

    device: str
    left_out: list[str]
    compiling: Compiling
    parts: Parts


def predict_run(
    layout: Layout, comp: str, name: str, run: Run, metas: list[FoldMeta], device_name: str, into: Path,
    parts: Parts | None = None,
) -> RunPredictions:  # fmt: skip
    """Predictions of the rows of the trained folds, and of the test rows by all of them.

    All folds' networks see a picture one after the other where they take little of the free memory; else the folds go
    one by one, and the pictures are read once for each.

    Args:
        metas: the content of each trained fold's `meta.json`.
        into: the folder of the files, as a rule the run's own; its `cv.json` goes when the first of them is there.
        parts: of the rows, that other processes predicted; None: none.
    """
    work = _Work.open(layout, comp, name, run, metas, device_name)
    problem, parts = work.problem, parts or Parts()
    sources: dict[int, Iterator[Predictions]] = {}
    files = [into / f"fold_{meta.fold}" / "test.parquet" for meta in metas]
    with scratch_folder(into) as scratch:
        for some in work.together():
            networks = work.loader(some)
            for meta in some if not run.on_all_rows else []:
                path = scratch / f"fold_{meta.fold}" / "valid.parquet"
                own = work.own(networks, meta)
                sources[meta.fold] = work.stored(meta) or work.predicted(meta, own, path, parts)
            (into / "cv.json").unlink(missing_ok=True)  # it must never stand beside predictions that it is not of
            theirs = [file for file, meta in zip(files, metas, strict=True) if meta in some]
            work.test_rows(problem.folds.test, theirs).write(work.adapted(networks, problem.folds.test), parts)
        write_mean(problem, problem.folds.test, work.keep, files, into / "test.parquet")
        if run.on_all_rows:
            _copy_oof(layout.run(comp, run.train.folds_of), into)
        else:
            rows = work.scored_rows()
            write_interleaved(problem, rows, oof_columns(problem, rows), sources, into / "oof.parquet")
    return work.done(parts)


def predict_shard(
    layout: Layout, comp: str, name: str, run: Run, metas: list[FoldMeta], device_name: str, into: Path, shard: Shard
) -> RunPredictions:  # fmt: skip
    """A share of what `predict_run` predicts, in files of the folder `into` that it takes as parts.

    Raises:
        FoldlineError: fp16 does not hold what the networks compute: all rows must then be predicted in fp32.
    """
    work = _Work.open(layout, comp, name, run, metas, device_name)
    size = run.predict.batch_size
    test = work.problem.folds.test
    test = test.iloc[shard.rows(len(test), size)]
    try:
        for some in work.together():
            networks = work.loader(some)
            for meta in some:
                if not run.on_all_rows and work.stored(meta) is None:
                    rows = validation_rows(work.problem, meta.fold)
                    path = into / part_name(Path(f"fold_{meta.fold}/valid.parquet"))
                    part = work.valid_rows(rows.iloc[shard.rows(len(rows), size)], path, whole=False)
                    part.write(work.own(networks, meta), Parts())
            own = [into / part_name(Path(f"fold_{meta.fold}/test.parquet")) for meta in some]
            all_of_them = work.adapted(networks, work.problem.folds.test)
            work.test_rows(test, own, whole=False).write(all_of_them, Parts())
    except HalfPrecisionError as error:
        next = f"make predict COMP={comp} RUN={name}, which predicts all rows in fp32"
        raise FoldlineError(str(error), where=f"--shard {shard}", next=next) from error
    return work.done(Parts())


@dataclass(frozen=True)
class _Work:
    """What is predicted, and by what."""

    problem: Problem
    name: str
    metas: list[FoldMeta]
    compiling: Compiling

    @classmethod
    def open(cls, layout: Layout, comp: str, name: str, run: Run, metas: list[FoldMeta], device_name: str) -> Self:
        device = pick_device(device_name)
        prepare_device(device, deterministic=run.train.deterministic)
        return cls(open_problem(layout, comp, run, device), name, metas, Compiling(run.predict.compile))

    @property
    def keep(self) -> list[str]:
        """The columns of a test table beside the ids."""
        return [column for column in ("entity",) if column in self.problem.folds.test.columns]

    def folder(self, meta: FoldMeta) -> Path:
        return self.problem.layout.fold(self.problem.comp, self.name, meta.fold)

    def together(self) -> list[list[FoldMeta]]:
        """The folds whose networks see a picture together, in order."""
        groups = at_once([FoldNetworks(meta, [], self.problem.device) for meta in self.metas])
        metas = [[fold.meta for fold in some] for some in groups]
        return metas if len(metas) > 1 else _one_after_the_other(self.problem, self.folder, self.metas)

    def loader(self, some: Sequence[FoldMeta]) -> Networks:
        """Loads the folds when they are asked for, once."""
        return cache(lambda: [FoldNetworks.load(self.folder(meta), meta, self.problem.device) for meta in some])

    def own(self, networks: Networks, meta: FoldMeta) -> Networks:
        """Of the folds the one that may see its validation rows, ready for them."""
        rows = validation_rows(self.problem, meta.fold)
        return self.adapted(lambda: [fold for fold in networks() if fold.meta.fold == meta.fold], rows)

    def adapted(self, networks: Networks, frame: pd.DataFrame) -> Networks:
        """The folds with what the view `adapted` takes of these rows, where that is asked for."""
        if ADAPTED not in self.problem.run.predict.views:
            return networks
        return cache(lambda: [adapt(fold, self.folder(fold.meta), self.problem, frame) for fold in networks()])

    def test_rows(self, frame: pd.DataFrame, files: list[Path], *, whole: bool = True) -> RowFiles:
        return RowFiles(self.problem, frame, self.keep, files, "test rows", self.compiling, whole)

    def valid_rows(self, frame: pd.DataFrame, file: Path, *, whole: bool = True) -> RowFiles:
        return RowFiles(self.problem, frame, [], [file], "validation rows", self.compiling, whole)

    def stored(self, meta: FoldMeta) -> Iterator[Predictions] | None:
        """What training wrote of the fold's validation rows, where its views are those of now."""
        stored = self.folder(meta) / "valid.parquet"
        if meta.views != self.problem.run.predict.views or not _is_whole(stored, meta):
            return None
        return _in_order(stored, validation_rows(self.problem, meta.fold), self.problem, meta)

    def predicted(self, meta: FoldMeta, networks: Networks, path: Path, parts: Parts) -> Iterator[Predictions]:
        """The fold's validation rows by its own networks, through a file."""
        frame, folds = validation_rows(self.problem, meta.fold), self.problem.folds
        there = {shard: folder for shard, folder in parts.folders.items() if (folder / part_name(path)).is_file()}
        self.valid_rows(frame, path).write(networks, Parts(parts.shards, there))
        return (values for _, values in PredictionBlocks(path, folds.task, folds.outputs, ids=frame["row_id"]))

    def scored_rows(self) -> pd.DataFrame:
        """The rows of the folds table that are predicted out of fold."""
        frame = self.problem.scored
        return frame[frame["fold"].isin([meta.fold for meta in self.metas]).to_numpy() & self.problem.usable]

    def done(self, parts: Parts) -> RunPredictions:
        """What there is to say of it."""
        return RunPredictions(describe(self.problem.device), sorted(self.problem.cache.bad), self.compiling, parts)


def _copy_oof(folds: Path, into: Path) -> None:
    """The OOF predictions of a network on all rows: those of the folds that it is of."""
    with atomic_path(into / "oof.parquet") as path:
        shutil.copyfile(folds / "oof.parquet", path)


def _one_after_the_other(
    problem: Problem, folder: Callable[[FoldMeta], Path], metas: list[FoldMeta]
) -> list[list[FoldMeta]]:
    """The folds whose networks predict the test rows together; says where they go one by one."""
    device = problem.device
    needed = sum((folder(meta) / file).stat().st_size for meta in metas for file in meta.weights)
    what, free = ("GPU's memory", room(device)) if device.type == "cuda" else ("memory", free_memory())
    if len(metas) > 1 and free is not None and needed > SHARE * free:
        say(
            f"the folds predict one after the other: together they take {needed / 2**30:.1f} GiB, and of the "
            f"{free / 2**30:.1f} GiB of {what} that are free they may have a quarter"
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
    meta = fold_of(problem.layout, problem.comp, name, fold, "loss.teacher")
    where = f"loss.teacher: {name}"
    require_same(meta, folds=problem.folds.sha256, where=where)
    refuse_diverged(problem.layout, meta, where)
    same = (int(problem.cache.pixels.shape[3]), problem.objective.activation)
    reads_more = meta.architecture.get("metadata_features") or meta.sees_entities
    if (meta.channels, kind_of(meta.activation)) != same or reads_more:
        raise FoldlineError(
            "the teacher's pictures have other channels, its outputs another meaning, or it reads metadata or several "
            "pictures",
            where=where,
            next="choose a teacher with the same data.channels and kind of loss, without model.metadata, model.entity",
        )
    require_distillable(meta.activation)
    return meta


def _in_order(path: Path, frame: pd.DataFrame, problem: Problem, meta: FoldMeta) -> Iterator[Predictions]:
    """A fold's stored predictions of these rows, in their order."""
    blocks = PredictionBlocks(path, problem.folds.task, problem.folds.outputs)
    if blocks.ids.tolist() == frame["row_id"].tolist():
        return (values for _, values in blocks)
    place = pd.Index(blocks.ids).get_indexer(pd.Index(frame["row_id"]))
    lacking = frame.loc[place < 0, "row_id"].tolist()
    if lacking:
        raise FoldlineError(
            f"{meta.title} was trained without rows whose pictures can be read now: {first_few(lacking)}",
            where=str(path),
            next=FoldMeta.made_by,
        )
    return iter([blocks.values()[place]])


def _is_whole(path: Path, meta: FoldMeta) -> bool:
    """Whether a file of the fold is there as training wrote it; says where it is another."""
    written, now = meta.files.get(path.name), sha256_files(path.parent, [path.name])[path.name]
    if now and written not in (None, now):
        say(f"warning: {path} is damaged: its rows are predicted again")
        return False
    return bool(now)
