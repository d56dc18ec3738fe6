"""Generated run folders of every task, as `predict` and `ensemble` write them; the scores are the real ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from foldline.core import tables
from foldline.core.competition import Competition, load_competition
from foldline.core.paths import Layout
from foldline.core.predictions import predictions_table
from foldline.core.run import Run
from foldline.core.task import Array, Task, task_from
from foldline.scoring.cv import cross_validation
from old_records import old

COMP, RUN, K = "made", "quick", 3
METRIC = {
    "binary": "auc",
    "multiclass": "accuracy",
    "multilabel": "mean_column_auc",
    "ordinal": "quadratic_weighted_kappa",
    "regression": "rmse",
    "soft": "kl_divergence",
    "several": "accuracy(kind) + r2(weight)",
}
FURTHER: dict[str, list[str]] = {
    "binary": ["accuracy", "precision", "recall", "f1"],
    "multiclass": ["precision_macro", "recall_macro", "f1_macro"],
    "multilabel": ["precision_macro", "f1_macro"],
    "ordinal": ["accuracy"],
    "regression": ["mae", "r2"],
    "soft": ["log_loss"],
    "several": [],
}
OUTPUTS: dict[str, list[str]] = {
    "binary": ["ok", "defective"],
    "multiclass": ["cat", "dog", "newt"],
    "multilabel": ["rust", "scab", "rot"],
    "ordinal": ["0", "1", "2", "3"],
    "regression": ["width", "height"],
    "soft": ["smooth", "disk"],
}
SEVERAL_OUTPUTS = ["kind=cat", "kind=dog", "kind=newt", "weight="]
SEVERAL = task_from({"kind": "multiclass", "weight": "regression"}).of(SEVERAL_OUTPUTS)


def make_run(
    root: Path, task: Task, outputs: Sequence[str] = (), *, rows: int = 90, trained: bool = True,
    folds: Sequence[int] = range(K), epochs: int = 3, validate_every: int = 1,
) -> Layout:  # fmt: skip
    """A project folder with one competition and one run; without `trained` the run is an ensemble of two.

    Args:
        folds: those of the `K` folds that the run has (`train.folds`).
    """
    layout, names = Layout(root), list(outputs) or OUTPUTS[task.name]
    write_facts(layout, task)
    rng = np.random.default_rng(0)
    truth, predicted = _arrays(task, len(names), rows, rng)
    frame = _rows(layout, task, names, truth)
    write_folds(layout, task, names, frame)
    table = predictions_table(frame, predicted, task, names, keep=["fold", *task.target_columns(names)])
    table = table[table["fold"].isin(folds)].reset_index(drop=True)
    facts = load_competition(layout, COMP)
    if trained:
        write_choices(layout)
        for fold in folds:
            write_fold(layout, task, names, fold, epochs=epochs)
            write_log(layout, task, names, fold, epochs, validate_every)
            write_steps(layout, fold, epochs)
    write_scores(layout, table, facts, names, members=[] if trained else ["one", "two"])
    return layout


def write_facts(layout: Layout, task: Task) -> None:
    facts = {
        "title": f"A {task} problem",
        "source": {"kind": "folder", "name": "raw"},
        "task": task.as_json(),
        "metric": METRIC[task.name],
        "metrics": FURTHER[task.name],
        "train": {"target": "label"},
        "holdout": {"fraction": 0.25},
    }
    tables.write_text(layout.competition_config(COMP), yaml.safe_dump(facts))


def _arrays(task: Task, outputs: int, rows: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """[rows] or [rows, outputs] truth, and predictions that are mostly right."""
    if task.targets:
        sizes = [len(range(outputs)[block.columns]) for block in task.blocks]
        parts = [_arrays(block.task, size, rows, rng) for block, size in zip(task.blocks, sizes, strict=True)]
        truths, predictions = zip(*parts, strict=True)
        return np.column_stack(truths), np.concatenate(predictions, axis=1)
    if task.single_label:
        truth = np.arange(rows, dtype=np.float64) % outputs
        logits = 2.5 * np.eye(outputs)[truth.astype(int)] + rng.normal(0, 1, (rows, outputs))
        prob = np.exp(logits)
        return truth, prob / prob.sum(axis=1, keepdims=True)
    if task.soft:
        truth = rng.dirichlet(np.ones(outputs), rows)
        return truth, 0.7 * truth + 0.3 * rng.dirichlet(np.ones(outputs), rows)
    if task.label_sets:
        truth = (rng.random((rows, outputs)) < 0.4).astype(np.float64)
        return truth, 1 / (1 + np.exp(2 - 4 * truth + rng.normal(0, 1.2, (rows, outputs))))
    truth = rng.gamma(3, 20, (rows, outputs))
    return truth, truth + rng.normal(0, 9, (rows, outputs))


def _rows(layout: Layout, task: Task, names: list[str], truth: Array) -> pd.DataFrame:
    """The folds table with a small real picture for each row."""
    layout.input(COMP).mkdir(parents=True)
    ids = [f"{i:04d}" for i in range(len(truth))]
    for i, row_id in enumerate(ids):
        cv2.imwrite(str(layout.input(COMP) / f"{row_id}.png"), np.full((20, 24, 3), (i * 7) % 256, dtype=np.uint8))
    frame = pd.DataFrame({"row_id": ids, "image": [f"{row_id}.png" for row_id in ids]})
    if task.single_label:
        labels = pd.DataFrame({"target": [names[int(i)] for i in truth]})
    elif task.targets:
        labels = pd.DataFrame(
            {
                f"target_{block.name}": [block.outputs(names)[int(i)] for i in truth[:, block.target]]
                if block.task.single_label
                else truth[:, block.target]
                for block in task.blocks
            }
        )
    elif task.label_sets:
        labels = pd.DataFrame(truth.astype(int).astype(str), columns=task.target_columns(names))
    else:
        labels = pd.DataFrame(truth, columns=task.target_columns(names))
    return pd.concat([frame, labels], axis=1).assign(fold=np.random.default_rng(1).permutation(len(truth)) % K)


def write_folds(layout: Layout, task: Task, names: list[str], frame: pd.DataFrame, checks: Sequence[str] = ()) -> None:
    tables.write_csv(layout.folds(COMP), frame)
    tables.write_csv(layout.test_rows(COMP), pd.DataFrame({"row_id": ["t"], "image": ["t.png"]}))
    hashes = {"folds": tables.sha256_file(layout.folds(COMP)), "test": tables.sha256_file(layout.test_rows(COMP))}
    meta = old("folds", comp=COMP, task=task.as_json(), k=K, outputs=names, sha256=hashes, checks=list(checks))
    meta |= {"rows": len(frame), "test_rows": 1}
    tables.write_json(layout.folds_meta(COMP), meta)


def write_choices(layout: Layout, **further: Any) -> None:
    choices = {"model": {"name": "test_net"}, "optim": {"lr": 1e-3}, "train": {"probe": {"c": 0.02}}} | further
    tables.write_json(layout.run(COMP, RUN) / "run.json", Run.parse(choices, where="test").choices())


def write_fold(layout: Layout, task: Task, names: list[str], fold: int, epochs: int = 3, **changes: Any) -> None:
    """`meta.json` of one fold; `changes` go over it."""
    meta = old("meta") | {
        "comp": COMP, "run": RUN, "fold": fold, "task": task.as_json(), "outputs": names,
        "model": "test_net", "height_width": [32, 48], "channels": 3,
        "sha256": {"folds": "f", "run": "r", "weights": f"{fold}abc" * 16},
        "seed": 0, "versions": {"torch": "2.14.1"}, "device": "cpu", "seconds": 3.5, "epochs": epochs,
        "precision": {"choice": "fp32", "images_per_second": {"fp32": 58.2}}, "selected_epoch": epochs,
        "select": "last", "metric": METRIC[task.name], "score": 0.86, "probe_score": 0.8, "below_probe": False,
    }  # fmt: skip
    tables.write_json(layout.fold(COMP, RUN, fold) / "meta.json", meta | changes)


def write_log(layout: Layout, task: Task, names: list[str], fold: int, epochs: int, validate_every: int) -> None:
    """`log.csv` of one fold: losses that fall and metrics that rise, with some noise; epoch 0 is the start."""
    epoch = np.arange(epochs + 1)
    left = np.exp(-4 * epoch / epochs)
    noise = np.random.default_rng(fold).normal(0, 0.012, (epochs + 1, 4 + len(names)))
    log = pd.DataFrame(
        {"epoch": epoch, "lr": 1e-3, "train_loss": 0.1 + 0.6 * left + noise[:, 0], "train_accuracy": None}
    )
    if task.single_label:
        log["train_accuracy"] = 0.96 - 0.4 * left + noise[:, 1]
    log.loc[0, ["train_loss", "train_accuracy"]] = None
    log["valid_loss"] = 0.3 + 0.4 * left + 0.02 * fold + noise[:, 2]
    log["score"] = 0.9 - 0.2 * left + noise[:, 3]
    log[f"valid_{METRIC[task.name]}"] = log["score"]
    for place, name in enumerate(FURTHER[task.name], 1):
        log[f"valid_{name}"] = log["score"] - 0.03 * place
    if task.single_label or task.label_sets:
        log = log.assign(**{f"accuracy_{name}": log["score"] - 0.1 + noise[:, 4 + i] for i, name in enumerate(names)})
    skipped = (epoch % validate_every > 0) & (epoch < epochs)
    log.loc[skipped, log.columns[log.columns.str.startswith(("valid_", "score", "accuracy_"))]] = None
    log = log.assign(images_per_second=58.2, memory_mb=900.0, seconds=1.0 * epoch)
    tables.write_csv(layout.fold(COMP, RUN, fold) / "log.csv", log)


def write_steps(layout: Layout, fold: int, epochs: int, steps: int = 12) -> None:
    """`steps.csv` of one fold: a warm-up and a cosine."""
    step = np.arange(epochs * steps)
    share = (step + 1) / len(step)
    lr = 1e-3 * np.where(share < 0.1, share / 0.1, 0.5 * (1 + np.cos(np.pi * (share - 0.1) / 0.9)))
    table = pd.DataFrame({"step": step, "epoch": step // steps + 1, "lr": lr, "loss": 0.7 - 0.6 * share})
    tables.write_csv(layout.fold(COMP, RUN, fold) / "steps.csv", table)


def write_scores(
    layout: Layout, table: pd.DataFrame, facts: Competition, names: list[str], members: Sequence[str] = ()
) -> None:
    """`oof.parquet` and `cv.json`."""
    tables.write_parquet(layout.run(COMP, RUN) / "oof.parquet", table)
    hashes = {"folds": tables.sha256_file(layout.folds(COMP)), "run": "e" * 64, "members": dict.fromkeys(members, "a")}
    record = {"schema": 1, "comp": COMP, "run": RUN, "task": facts.task.as_json(), "outputs": names}
    record |= cross_validation(table, facts, names)
    record |= {"views": ["identity", "hflip"], "members": list(members), "blend": "mean" if members else None}
    record |= {"sha256": hashes, "optimistic": [], "below_probe": [], "device": "cpu"}
    record |= {"seconds": {"train": 12.0, "predict": 1.5}}
    tables.write_json(layout.run(COMP, RUN) / "cv.json", record)
    for member in members[:1]:  # the other member's folder is gone
        tables.write_json(layout.run(COMP, member) / "cv.json", record | {"run": member, "members": []})


def change_scores(layout: Layout, **changes: Any) -> None:
    """Lays fields over the run's `cv.json`."""
    path = layout.run(COMP, RUN) / "cv.json"
    tables.write_json(path, tables.read_json(path) | changes)
