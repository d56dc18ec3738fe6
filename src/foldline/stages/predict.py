"""Stage predict: K models, T views, one decode. Reads the folds' weights and `meta.json`; writes `oof.parquet`,
`test.parquet` and `cv.json` into the run's folder, or a share of the rows into `shards/<i>-of-<n>/` there.

A row's OOF prediction comes from the one model that did not see it; a test row's is the mean of all.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline.core.all_rows import score_of_folds
from foldline.core.competition import Competition, load_competition
from foldline.core.counted import counted
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.own_code import is_own, locate
from foldline.core.paths import Layout
from foldline.core.prediction_blocks import PredictionBlocks
from foldline.core.processes import in_turn
from foldline.core.progress import result, say
from foldline.core.provenance import pictures_sha256, require_current
from foldline.core.records.cv import Cv, CvHashes, Seconds
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.records.shard import ShardRecord, parts_there
from foldline.core.run import Run
from foldline.core.run_folder import optimistic, predictions_of, resolve_run, wanted_folds
from foldline.core.shards import Shard
from foldline.core.tables import remove, sha256_file, sha256_files
from foldline.core.task import Task
from foldline.engine.writers.logged import log_cv
from foldline.scoring.cv import cross_validation, cv_line, metric_names
from foldline.scoring.diverged import Outcome, apart
from foldline.scoring.metrics import metric_for

if TYPE_CHECKING:
    from foldline.engine.predict_run import RunPredictions


def predict(layout: Layout, comp: str, run: str, *, name: str = "", overrides: list[str], device: str = "auto") -> Cv:
    """Predicts training rows (OOF) and test rows with the folds' models, unless that is done already; gives the score.

    Shards that other processes predicted, of the same weights and rows, are taken and removed; those that are being
    predicted are waited for.

    Raises:
        FoldlineError: a fold is not trained, or was trained on other folds or with other choices.
    """
    asked = _asked(layout, comp, run, name, overrides)
    with predictions_of(layout, comp, asked.runs, f"'{asked.name}' is being predicted"):
        with ExitStack() as held:
            for path in sorted((asked.folder / "shards").glob(".*.lock")):
                held.enter_context(in_turn(path, f"shards of '{asked.name}' are being joined"))
            cv = _predict(layout, asked, device)
        remove(asked.folder / "shards")  # none begins without the lock of the predictions
    return cv


def _predict(layout: Layout, asked: "_Asked", device: str) -> Cv:
    comp, path = asked.comp, asked.folder / "cv.json"
    cv = _current(layout, asked, path)
    if cv is not None:
        say(f"predictions of {comp}/{asked.name} are up to date")
        return _score_again(layout, asked.run, path, cv, asked.facts, asked.metrics)
    from foldline.engine.predict_run import predict_run
    from foldline.engine.row_files import Parts

    start = time.monotonic()
    there = parts_there(asked.folder, asked.is_current)
    if there:
        of = next(iter(there)).of
        say(f"shards: {len(there)} of {of} are taken, {of - len(there)} are predicted now")
    elif (asked.folder / "shards").is_dir():
        say("shards: none is whole and of these weights, rows and views: all rows are predicted now")
    parts = Parts.of({shard: folder for shard, (folder, _) in there.items()})
    predictions = predict_run(layout, comp, asked.name, asked.run, asked.metas, device, asked.folder, parts)
    seconds = time.monotonic() - start + sum(record.seconds for _, record in there.values())
    devices = dict.fromkeys([predictions.device, *(record.device for _, record in there.values())])
    return _write(layout, asked, predictions, seconds, "; ".join(devices))


def predict_shard(
    layout: Layout, comp: str, run: str, *, shard: Shard, name: str = "", overrides: list[str], device: str = "auto"
) -> Cv | ShardRecord:  # fmt: skip
    """Predicts a share of the rows with all folds' models, unless it or all rows are predicted; `predict` takes it.

    Args:
        shard: contiguous rows in whole batches, so that `predict` writes the bytes that it
            would write alone.

    Returns:
        The shard's record; `cv.json` where all rows are predicted.

    Raises:
        FoldlineError: as `predict`; there are more shards than rows.
    """
    asked = _asked(layout, comp, run, name, overrides)
    _require_rows(shard, asked)
    folder, busy = asked.folder / "shards" / shard.name, f"shard {shard} of '{asked.name}' is being predicted"
    with ExitStack() as held:
        with predictions_of(layout, comp, [asked.name], f"shard {shard} of '{asked.name}' begins"):
            if (cv := _current(layout, asked, asked.folder / "cv.json")) is not None:
                say(f"shard {shard}: all rows of {comp}/{asked.name} are predicted already")
                return cv
            held.enter_context(in_turn(folder.with_name(f".{shard.name}.lock"), busy))
        return _predict_shard(layout, asked, shard, folder, device)


def _require_rows(shard: Shard, asked: "_Asked") -> None:
    """Raises FoldlineError where there are more shards than rows: most would be empty."""
    rows = max(len(asked.folds.frame), len(asked.folds.test))
    if shard.of > rows:
        batches = -(-rows // asked.run.predict.batch_size)
        raise FoldlineError(
            f"{counted(shard.of, 'shards')}, and {counted(rows, 'rows')}", where="--shard",
            next=f"give at most {counted(batches, 'shards')}: so many batches of predict.batch_size there are",
        )  # fmt: skip


def _predict_shard(layout: Layout, asked: "_Asked", which: Shard, folder: Path, device: str) -> ShardRecord:
    comp = asked.comp
    there = ShardRecord.read_if_there(folder / "shard.json")
    if there is not None and asked.is_current(there, folder):
        say(f"shard {which} of {comp}/{asked.name} is up to date")
        return there
    from foldline.engine.predict_run import predict_shard as predicted

    start = time.monotonic()
    (folder / "shard.json").unlink(missing_ok=True)
    found = predicted(layout, comp, asked.name, asked.run, asked.metas, device, folder, which)
    record = asked.shard_record(which).changed(
        device=found.device, left_out=pictures_sha256(layout, comp, found.left_out),
        seconds=round(time.monotonic() - start, 1),
        files=sha256_files(folder, sorted(path.name for path in folder.glob("*.parquet"))),
    )  # fmt: skip
    record.write(folder / "shard.json")
    result(f"shard {which} of {comp}/{asked.name} is predicted: {layout.relative(folder)}", shard=str(which))
    return record


def is_predicted(layout: Layout, comp: str, run: str, *, name: str = "", overrides: list[str]) -> bool:
    """Whether all rows are predicted, by the weights and of the rows that are there now; raises as `predict`."""
    asked = _asked(layout, comp, run, name, overrides)
    return _current(layout, asked, asked.folder / "cv.json") is not None


@dataclass(frozen=True)
class _Asked:
    """A run whose folds are trained, and what its predictions are to be made of."""

    layout: Layout
    comp: str
    name: str
    run: Run
    facts: Competition
    folds: Folds
    metrics: list[str]
    metas: list[FoldMeta]
    hashes: CvHashes

    @property
    def runs(self) -> list[str]:
        """Whose predictions are written or read: a network on all rows has the OOF predictions of another run."""
        return [self.name, *([self.run.train.folds_of] if self.run.on_all_rows else [])]

    @property
    def folder(self) -> Path:
        return self.layout.run(self.comp, self.name)

    def is_current(self, record: ShardRecord, folder: Path) -> bool:
        """Whether a shard is whole, and of what would be predicted now."""
        same = record.is_of(self.shard_record(Shard(record.index, record.of)), folder)
        return same and pictures_sha256(self.layout, self.comp, record.left_out) == record.left_out

    def shard_record(self, shard: Shard) -> ShardRecord:
        """What a shard that is made now says, but for what it is to find out."""
        return ShardRecord(
            comp=self.comp, run=self.name, index=shard.index, of=shard.of, sha256=self.hashes,
            views=self.run.predict.views, batch_size=self.run.predict.batch_size, device="", seconds=0.0, files={},
        )  # fmt: skip


def _asked(layout: Layout, comp: str, run: str, name: str, overrides: list[str]) -> _Asked:
    name, choices = resolve_run(layout, comp, run, name, overrides)
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    metrics = metric_names(facts, [locate(layout, comp, metric) for metric in choices.metrics])
    metas = [_meta(layout, comp, name, k, choices, folds) for k in wanted_folds(choices, folds.k)]
    hashes = _hashes(metas, sha256_file(layout.test_rows(comp)))
    if choices.on_all_rows:
        theirs = score_of_folds(layout, comp, choices, folds.sha256)
        hashes = hashes.model_copy(update={"inputs": {f"train.folds_of: {theirs.run}": theirs.files["oof.parquet"]}})
    return _Asked(layout, comp, name, choices, facts, folds, metrics, metas, hashes)


def _current(layout: Layout, asked: _Asked, path: Path) -> Cv | None:
    """The record of the predictions, where all are there and of what is there now."""
    fold_tests = [layout.fold(asked.comp, asked.name, meta.fold) / "test.parquet" for meta in asked.metas]
    together = [asked.folder / file for file in ("oof.parquet", "test.parquet")]
    cv = Cv.read_if_there(path) if all(file.is_file() for file in [*fold_tests, *together]) else None
    if cv and cv.files != sha256_files(path.parent, cv.files):
        title = f"{asked.comp}/{asked.name}"
        say(f"warning: predictions of {title} are damaged, or not those of cv.json: they are made again")
        return None
    same = cv and cv.sha256 == asked.hashes and cv.views == asked.run.predict.views and has_same_pictures(layout, cv)
    return cv if same else None


def _meta(layout: Layout, comp: str, name: str, fold: int, run: Run, folds: Folds) -> FoldMeta:
    train = f"make train COMP={comp} RUN={name} FOLD={fold}, or make train-all"
    meta = FoldMeta.read(layout.fold(comp, name, fold) / "meta.json", next=f"the fold is not trained: {train}")
    require_current(layout, comp, run, meta, folds.sha256)
    return meta


def _hashes(metas: list[FoldMeta], test: str) -> CvHashes:
    first = metas[0].sha256
    weights = [meta.sha256.weights for meta in metas]
    return CvHashes(folds=first.folds, run=first.run, weights=weights, members={}, test=test)


def has_same_pictures(layout: Layout, cv: Cv) -> bool:
    """Whether the pictures that the predictions were made without are still those that could not be read."""
    return pictures_sha256(layout, cv.comp, cv.left_out) == cv.left_out


def _score_again(layout: Layout, run: Run, path: Path, cv: Cv, facts: Competition, metrics: list[str]) -> Cv:
    """Other metrics than those in `cv.json`: the OOF predictions that are there are scored anew."""
    if cv.metric == facts.metric and cv.metrics.keys() == set(metrics) and not any(map(is_own, metrics)):
        return cv
    cv = cv.changed(**_scores(path.parent, facts, cv.task, cv.outputs, metrics))
    cv.write(path)
    _say_result(cv)
    log_cv(layout, cv.comp, cv.run, run, cv)
    return cv


def _scores(folder: Path, facts: Competition, task: Task, outputs: list[str], metrics: list[str]) -> dict[str, Any]:
    """What `cv.json` says of the folder's `oof.parquet`."""
    oof = PredictionBlocks(folder / "oof.parquet", task, outputs)
    return cross_validation(oof.rows(), facts, outputs, prob=oof.values(), metrics=metrics)


def _write(layout: Layout, asked: _Asked, predictions: "RunPredictions", seconds: float, device: str) -> Cv:
    """`cv.json`, last of the files, so that it stands for all of them."""
    folder, metas, run = asked.folder, asked.metas, asked.run
    left_out = pictures_sha256(layout, asked.comp, predictions.left_out)
    files = ["oof.parquet", "test.parquet", *(f"fold_{meta.fold}/test.parquet" for meta in metas)]
    cv = Cv(
        comp=asked.comp, run=asked.name, task=asked.folds.task, outputs=asked.folds.outputs,
        **_scores(folder, asked.facts, asked.folds.task, asked.folds.outputs, asked.metrics),
        views=run.predict.views, members=[], blend=None, sha256=asked.hashes,
        optimistic=optimistic(layout, asked.comp, run), below_probe=[meta.fold for meta in metas if meta.below_probe],
        diverged=_diverged(metas, asked.facts),
        seconds=Seconds(train=round(sum(meta.seconds for meta in metas), 1), predict=round(seconds, 1)),
        device=device, files=sha256_files(folder, files), **_compiled(predictions),
        **({"left_out": left_out} if left_out else {}), **({"oof_of": run.train.folds_of} if run.on_all_rows else {}),
    )  # fmt: skip
    cv.write(folder / "cv.json")
    _say_result(cv)
    log_cv(layout, asked.comp, asked.name, run, cv)
    return cv


def _compiled(predictions: "RunPredictions") -> dict[str, Any]:
    """What became of `predict.compile`, where it was set."""
    compiling = predictions.compiling
    found = {"compile": compiling.mode or "off", "compile_seconds": compiling.seconds}
    return found if compiling.wish != "off" else {}


def _diverged(metas: list[FoldMeta], facts: Competition) -> list[str]:
    """The folds whose training ran away, or that learnt nothing where the others did; says so."""
    metric = metric_for(facts.metric, metas[0].task.of(metas[0].outputs))
    outcomes = {
        meta.fold: Outcome(meta.loss, meta.nothing_loss, meta.score)
        for meta in metas
        if meta.loss is not None and meta.nothing_loss is not None and meta.score is not None
    }
    reasons = apart(outcomes, metric) | {meta.fold: meta.diverged for meta in metas if meta.diverged}
    found = [f"fold {fold}: {reasons[fold]}" for fold in sorted(reasons)]
    for reason in found:
        say(f"warning: {reason}")
    return found


def _say_result(cv: Cv) -> None:
    result(cv_line(cv), metric=cv.metric, score=cv.pooled, interval=cv.interval, per_fold=cv.per_fold)
