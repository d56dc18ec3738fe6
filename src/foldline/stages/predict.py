"""Stage predict: K models, T views, one decode. Reads the folds' weights and `meta.json`; writes `oof.parquet`,
`test.parquet` and `cv.json` into the run's folder.

A row's OOF prediction comes from the one model that did not see it; a test row's is the mean of all.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline.core.competition import Competition, load_competition
from foldline.core.folds import Folds, load_folds
from foldline.core.own_code import is_own, locate
from foldline.core.paths import Layout
from foldline.core.predictions import write_predictions
from foldline.core.progress import result, say
from foldline.core.provenance import pictures_sha256, require_current
from foldline.core.records.cv import Cv, CvHashes, Seconds
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.run import Run
from foldline.core.run_folder import resolve_run, wanted_folds
from foldline.core.tables import read_parquet, sha256_file, sha256_files
from foldline.engine.writers.logged import log_cv
from foldline.scoring.choose import in_digits
from foldline.scoring.cv import cross_validation, metric_names
from foldline.scoring.diverged import Outcome, apart
from foldline.scoring.metrics import metric_for

if TYPE_CHECKING:
    import pandas as pd

    from foldline.engine.predict_run import RunPredictions


def predict(layout: Layout, comp: str, run: str, *, name: str = "", overrides: list[str], device: str = "auto") -> Cv:
    """Predicts training rows (OOF) and test rows with the folds' models, unless that is done already; gives the score.

    Raises:
        FoldlineError: a fold is not trained, or was trained on other folds or with other choices.
    """
    name, choices = resolve_run(layout, comp, run, name, overrides)
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    metrics = metric_names(facts, [locate(layout, comp, metric) for metric in choices.metrics])
    metas = [_meta(layout, comp, name, k, choices, folds) for k in wanted_folds(choices, folds.k)]
    path = layout.run(comp, name) / "cv.json"
    hashes = _hashes(metas, sha256_file(layout.test_rows(comp)))
    fold_tests = [layout.fold(comp, name, meta.fold) / "test.parquet" for meta in metas]
    together = [layout.run(comp, name) / file for file in ("oof.parquet", "test.parquet")]
    whole = all(path.is_file() for path in [*fold_tests, *together])
    cv = Cv.read_if_there(path) if whole else None
    if cv and cv.files != sha256_files(path.parent, cv.files):
        say(f"warning: predictions of {comp}/{name} are damaged, or not those of cv.json: they are made again")
        cv = None
    if cv and cv.sha256 == hashes and cv.views == choices.predict.views and has_same_pictures(layout, cv):
        say(f"predictions of {comp}/{name} are up to date")
        return _score_again(layout, choices, path, cv, facts, metrics)
    from foldline.engine.predict_run import predict_run

    def write_test(meta: FoldMeta, table: "pd.DataFrame") -> None:
        path.unlink(missing_ok=True)  # it must never stand beside predictions that it is not of
        file = layout.fold(comp, name, meta.fold) / "test.parquet"
        write_predictions(file, table, folds.task, folds.outputs, ids=folds.test["row_id"])

    start = time.monotonic()
    predictions = predict_run(layout, comp, name, choices, metas, device, write_test)
    seconds = time.monotonic() - start
    return _write(layout, comp, name, choices, facts, metrics, folds, metas, hashes, predictions, seconds)


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
    oof = read_parquet(path.with_name("oof.parquet"))
    cv = cv.changed(**cross_validation(oof, facts, cv.outputs, metrics=metrics))
    cv.write(path)
    _say_result(cv)
    log_cv(layout, cv.comp, cv.run, run, cv)
    return cv


def _write(
    layout: Layout, comp: str, name: str, run: Run, facts: Competition, metrics: list[str], folds: Folds,
    metas: list[FoldMeta], hashes: CvHashes, predictions: "RunPredictions", seconds: float,
) -> Cv:  # fmt: skip
    """The files of all folds together; `cv.json` last, so that it stands for all of them."""
    folder = layout.run(comp, name)
    order = folds.frame["row_id"][folds.frame["row_id"].isin(predictions.oof["row_id"])]
    oof = predictions.oof.set_index("row_id").loc[order].reset_index()
    write_predictions(folder / "oof.parquet", oof, folds.task, folds.outputs, ids=order)
    write_predictions(folder / "test.parquet", predictions.test, folds.task, folds.outputs, ids=folds.test["row_id"])
    left_out = pictures_sha256(layout, comp, predictions.left_out)
    files = ["oof.parquet", "test.parquet", *(f"fold_{meta.fold}/test.parquet" for meta in metas)]
    cv = Cv(
        comp=comp, run=name, task=folds.task, outputs=folds.outputs,
        **cross_validation(oof, facts, folds.outputs, metrics=metrics),
        views=run.predict.views, members=[], blend=None, sha256=hashes, optimistic=run.optimistic(),
        below_probe=[meta.fold for meta in metas if meta.below_probe], diverged=_diverged(metas, facts),
        seconds=Seconds(train=round(sum(meta.seconds for meta in metas), 1), predict=round(seconds, 1)),
        device=predictions.device, files=sha256_files(folder, files), **_compiled(predictions),
        **({"left_out": left_out} if left_out else {}),
    )  # fmt: skip
    cv.write(folder / "cv.json")
    _say_result(cv)
    log_cv(layout, comp, name, run, cv)
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


def cv_line(cv: Cv) -> str:
    """The scores in one line."""
    low, high = cv.interval
    folds = ", ".join(in_digits(value) for value in cv.per_fold)
    spread = "" if cv.std is None else f" ± {cv.std:.4f}"
    return (
        f"OOF {cv.metric} {in_digits(cv.pooled)} (95 % interval {in_digits(low)} to {in_digits(high)}); "
        f"folds {folds}; mean {in_digits(cv.mean)}{spread}"
    )
