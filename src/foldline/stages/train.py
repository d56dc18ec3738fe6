"""Stage train: one model per fold. Reads folds and images; writes `oof/<comp>/<run>/fold_<k>/`.

A fold that is finished is left alone, one that was interrupted goes on from its resume point. `meta.json`
is written last: a fold is finished when it is there.
"""

from pathlib import Path
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.folds import Folds, load_folds
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.run import Run
from foldline.core.run_folder import resolve_run, run_sha256, write_run
from foldline.core.tables import read_json


def train(
    layout: Layout, comp: str, run: str, *, fold: int | None, name: str = "", overrides: list[str], device: str = "auto"
) -> None:
    """Trains one fold, or all that are not finished when `fold` is None.

    Raises:
        FoldlineError: bad settings, images or labels, found before training begins.
    """
    name, choices = resolve_run(layout, comp, run, name, overrides)
    folds = load_folds(layout, comp)
    wanted = _wanted_folds(fold, folds.k)
    left = [k for k in wanted if not is_finished(layout, comp, name, k, choices, folds)]
    for k in sorted(set(wanted) - set(left)):
        say(f"fold {k}: finished already, {layout.relative(layout.fold(comp, name, k))}")
    if left:
        _train_folds(layout, comp, name, choices, left, device)


def _wanted_folds(fold: int | None, k: int) -> list[int]:
    if fold is None:
        return list(range(k))
    if not 0 <= fold < k:
        raise FoldlineError(f"there is no fold {fold}", where="FOLD", next=f"the folds are 0 to {k - 1}")
    return [fold]


def is_finished(layout: Layout, comp: str, name: str, fold: int, run: Run, folds: Folds) -> bool:
    """Whether the fold's weights are there and belong to these folds and choices; other folds are an error."""
    folder = layout.fold(comp, name, fold)
    if not (folder / "meta.json").is_file():
        return False
    hashes = read_json(folder / "meta.json")["sha256"]
    if hashes["folds"] != folds.sha256 or hashes["run"] != run_sha256(run):
        what = "folds" if hashes["folds"] != folds.sha256 else "choices"
        raise FoldlineError(
            f"fold {fold} of run '{name}' was trained with other {what} ({hashes['folds'][:12]}, now {folds.sha256[:12]})",
            where=layout.relative(folder),
            next="train under another NAME, or delete this run's folder",
        )
    return (folder / "model.safetensors").is_file()


def _train_folds(layout: Layout, comp: str, name: str, run: Run, folds: list[int], device_name: str) -> None:
    from foldline.engine.device import describe, pick_device, prepare_device
    from foldline.engine.prepare import make_start, open_problem

    device = pick_device(device_name)
    prepare_device(device)
    say(f"training {comp}/{name}, folds {', '.join(map(str, folds))}, on {describe(device)}")
    problem = open_problem(layout, comp, run, device)
    _ = problem.truth  # labels are checked before anything is computed
    write_run(layout, comp, name, run)
    start = make_start(problem)
    for fold in folds:
        _train_fold(problem, start, name, fold)


def _train_fold(problem: Any, start: Any, name: str, fold: int) -> None:
    from foldline.engine.device import describe
    from foldline.engine.fit import FoldJob, fit_fold, time_one_step
    from foldline.engine.precision import Precision, choose_precision

    run, folder = problem.run, problem.layout.fold(problem.comp, name, fold)
    train_rows, valid_rows = problem.rows_of(fold, train=True), problem.rows_of(fold, train=False)

    def job(precision: Precision) -> FoldJob:
        return FoldJob(
            fold=fold, run=run, task=problem.folds.task, outputs=problem.folds.outputs, metric=problem.facts.metric,
            pixels=problem.cache.pixels, train_positions=problem.positions[train_rows],
            train_truth=problem.truth[train_rows], valid_positions=problem.positions[valid_rows],
            valid_truth=problem.truth[valid_rows], prepare=start.prepare, device=problem.device,
            precision=precision, folder=folder,
        )  # fmt: skip

    device_name = describe(problem.device)
    precision = choose_precision(
        run.train.precision, problem.device, device_name, folder.parent / "precision.json",
        lambda precision: time_one_step(job(precision), start.for_fold(problem, fold)),
    )  # fmt: skip
    fitted = fit_fold(job(precision), lambda: start.for_fold(problem, fold))
    _write_fold(problem, start, name, job(precision), fitted)


def _write_fold(problem: Any, start: Any, name: str, job: Any, fitted: Any) -> None:
    """Weights, validation predictions, log, then meta; the resume point goes last."""
    from foldline.engine.checkpoint import save_weights
    from foldline.engine.fit import write_log
    from foldline.models.backbone import state_sha256

    folder: Path = job.folder
    select = job.run.train.select
    chosen, other = (fitted.last, fitted.best) if select == "last" else (fitted.best, fitted.last)
    save_weights(folder / "model.safetensors", chosen)
    save_weights(folder / ("best.safetensors" if select == "last" else "last.safetensors"), other)
    _write_valid(problem, start, job, chosen)
    write_log(folder / "log.csv", fitted.log)
    _write_meta(problem, start, name, job, fitted, state_sha256(chosen))
    job.resume_path.unlink(missing_ok=True)


def _write_valid(problem: Any, start: Any, job: Any, weights: Any) -> None:
    """What the selected weights say of the fold's own rows, in all views: this fold's part of the OOF predictions."""
    from foldline.core.tables import write_parquet
    from foldline.core.tasks import ACTIVATION
    from foldline.engine.infer import predict
    from foldline.core.predictions import predictions_table

    model = start.model.to(problem.device)
    model.load_state_dict(weights)
    found = predict(
        [model], job.pixels, job.valid_positions, job.prepare, job.device, job.precision,
        views=job.run.predict.views, activation=ACTIVATION[job.task], batch_size=job.run.predict.batch_size,
    )[0]  # fmt: skip
    rows = problem.folds.frame.iloc[problem.rows_of(job.fold, train=False)]
    write_parquet(job.folder / "valid.parquet", predictions_table(rows, found, job.task, job.outputs))


def _write_meta(problem: Any, start: Any, name: str, job: Any, fitted: Any, weights_sha256: str) -> None:
    from foldline.core.tables import write_json
    from foldline.core.tasks import ACTIVATION
    from foldline.engine.device import versions
    from foldline.scoring.metrics import metric_named

    run = job.run
    last_epoch = int(fitted.log[-1]["epoch"])
    selected = last_epoch if run.train.select == "last" else fitted.best_epoch
    score = fitted.log[selected]["score"]
    probe_score = fitted.log[0]["score"] if run.train.probe is not None else None
    sign = 1 if metric_named(job.metric).direction == "max" else -1
    below = probe_score is not None and sign * score < sign * probe_score
    if below:
        say(
            f"warning: fold {job.fold}: the fine-tuned weights score {score:.4f}, below their own probe's "
            f"{probe_score:.4f}; lower optim.lr, or set train.batch_norm=frozen"
        )
    write_json(job.folder / "meta.json", {
        "schema": 1, "comp": problem.comp, "run": name, "fold": job.fold, "task": job.task, "outputs": job.outputs,
        "activation": ACTIVATION[job.task], "model": run.model.name, "architecture": problem.architecture.as_json(),
        "height_width": list(run.data.height_width), "channels": problem.architecture.channels,
        "mean": start.prepare.mean, "std": start.prepare.std, "interpolation": start.prepare.interpolation,
        "crop": start.prepare.crop,
        "sha256": {
            "folds": problem.folds.sha256, "run": run_sha256(run), "weights": weights_sha256, "pretrained": start.sha256,
        },
        "seed": run.seed, "versions": versions(), "device": job.precision.device,
        "precision": {"choice": job.precision.choice, "images_per_second": job.precision.images_per_second},
        "seconds": round(fitted.seconds, 2), "epochs": last_epoch, "selected_epoch": selected,
        "views": run.predict.views, "select": run.train.select, "metric": job.metric, "score": score, "probe_score": probe_score,
        "below_probe": below, "rows_train": len(job.train_positions), "rows_valid": len(job.valid_positions),
    })  # fmt: skip
