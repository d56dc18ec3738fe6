"""Stage predict: K models, T views, one decode. Reads the folds' weights and `meta.json`; writes `oof.parquet`,
`test.parquet` and `cv.json` into the run's folder.

A row's OOF prediction comes from the one model that did not see it; a test row's is the mean of all.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldline.core.competition import Competition, load_competition
from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.own_code import is_own, locate
from foldline.core.paths import Layout
from foldline.core.predictions import write_predictions
from foldline.core.progress import say
from foldline.core.provenance import inputs_sha256, require_same_inputs
from foldline.core.run import Run
from foldline.core.run_folder import resolve_run, run_sha256, wanted_folds
from foldline.core.tables import read_json, read_parquet, sha256_file, write_json
from foldline.scoring.cv import cross_validation, metric_names

if TYPE_CHECKING:
    from foldline.engine.predict_run import RunPredictions


def predict(layout: Layout, comp: str, run: str, *, name: str = "", overrides: list[str], device: str = "auto") -> None:
    """Predicts training rows (OOF) and test rows with the folds' models, unless that is done already.

    Raises:
        FoldlineError: a fold is not trained, or was trained on other folds or with other choices.
    """
    name, choices = resolve_run(layout, comp, run, name, overrides)
    facts, folds = load_competition(layout, comp), load_folds(layout, comp)
    metrics = metric_names(facts, [locate(layout, comp, metric) for metric in choices.metrics])
    metas = [_meta(layout, comp, name, k, choices, folds) for k in wanted_folds(choices, folds.k)]
    record = layout.run(comp, name) / "cv.json"
    hashes = _hashes(metas) | {"test": sha256_file(layout.test_rows(comp))}
    fold_tests = [layout.fold(comp, name, meta["fold"]) / "test.parquet" for meta in metas]
    together = [layout.run(comp, name) / file for file in ("oof.parquet", "test.parquet")]
    whole = all(path.is_file() for path in [*fold_tests, *together])
    if whole and record.is_file() and _is_current(read_json(record), hashes, choices):
        say(f"predictions of {comp}/{name} are up to date")
        _score_again(record, facts, metrics)
        return
    from foldline.engine.predict_run import predict_run

    start = time.monotonic()
    found = predict_run(layout, comp, name, choices, metas, device)
    record.unlink(missing_ok=True)  # it must never stand beside predictions that it is not of
    for path, table in zip(fold_tests, found.fold_tests, strict=True):
        write_predictions(path, table, folds.task, folds.outputs, ids=folds.test["row_id"])
    _write(layout, comp, name, choices, facts, metrics, folds, metas, hashes, found, time.monotonic() - start)


def _meta(layout: Layout, comp: str, name: str, fold: int, run: Run, folds: Folds) -> dict[str, Any]:
    folder = layout.fold(comp, name, fold)
    if not (folder / "meta.json").is_file():
        raise FoldlineError(
            f"fold {fold} of run '{name}' is not trained",
            where=layout.relative(folder),
            next=f"make train COMP={comp} RUN={name} FOLD={fold}, or make train-all",
        )
    meta: dict[str, Any] = read_json(folder / "meta.json")
    if meta["sha256"]["folds"] != folds.sha256 or meta["sha256"]["run"] != run_sha256(run):
        raise FoldlineError(
            f"fold {fold} of run '{name}' was trained on other folds or with other choices than now",
            where=layout.relative(folder),
            next="delete this run's folder and train it again, or give the changed run a NAME",
        )
    now = inputs_sha256(layout, comp, run, fold)
    require_same_inputs(meta["sha256"].get("inputs", {}), now, where=layout.relative(folder))
    return meta


def _hashes(metas: list[dict[str, Any]]) -> dict[str, Any]:
    first = metas[0]["sha256"]
    return {
        "folds": first["folds"],
        "run": first["run"],
        "weights": [meta["sha256"]["weights"] for meta in metas],
        "members": {},
    }


def _is_current(record: dict[str, Any], hashes: dict[str, Any], run: Run) -> bool:
    return bool(record["sha256"] == hashes and record["views"] == run.predict.views)


def _score_again(path: Path, facts: Competition, metrics: list[str]) -> None:
    """Other metrics than those in `cv.json`: the OOF predictions that are there are scored anew."""
    record = read_json(path)
    if record["metric"] == facts.metric and record["metrics"].keys() == set(metrics) and not any(map(is_own, metrics)):
        return
    oof = read_parquet(path.with_name("oof.parquet"))
    record |= cross_validation(oof, facts, record["outputs"], metrics=metrics)
    write_json(path, record)
    say(cv_line(record))


def _write(
    layout: Layout, comp: str, name: str, run: Run, facts: Competition, metrics: list[str], folds: Folds,
    metas: list[dict[str, Any]], hashes: dict[str, Any], found: "RunPredictions", seconds: float,
) -> None:  # fmt: skip
    """The files of all folds together; `cv.json` last, so that it stands for all of them."""
    folder = layout.run(comp, name)
    order = folds.frame["row_id"][folds.frame["row_id"].isin(found.oof["row_id"])]
    oof = found.oof.set_index("row_id").loc[order].reset_index()
    write_predictions(folder / "oof.parquet", oof, folds.task, folds.outputs, ids=order)
    write_predictions(folder / "test.parquet", found.test, folds.task, folds.outputs, ids=folds.test["row_id"])
    record = {"schema": 1, "comp": comp, "run": name, "task": folds.task.as_json(), "outputs": folds.outputs}
    record |= cross_validation(oof, facts, folds.outputs, metrics=metrics)
    record |= {
        "views": run.predict.views, "members": [], "blend": None, "sha256": hashes,
        "optimistic": run.optimistic(),
        "below_probe": [meta["fold"] for meta in metas if meta["below_probe"]],
        "seconds": {"train": round(sum(meta["seconds"] for meta in metas), 1), "predict": round(seconds, 1)},
        "device": found.device,
    }  # fmt: skip
    write_json(folder / "cv.json", record)
    say(cv_line(record))


def cv_line(record: dict[str, Any]) -> str:
    """The record's scores in one line."""
    low, high = record["interval"]
    folds = ", ".join("undefined" if value is None else f"{value:.4f}" for value in record["per_fold"])
    spread = "" if record["std"] is None else f" ± {record['std']:.4f}"
    return (
        f"OOF {record['metric']} {_show(record['pooled'])} (95 % interval {_show(low)} to {_show(high)}); "
        f"folds {folds}; mean {_show(record['mean'])}{spread}"
    )


def _show(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
