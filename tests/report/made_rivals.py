"""Further runs in a made competition: better, worse or equal predictions on the same rows, with logs and settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldline.core import tables
from foldline.core.competition import load_competition
from foldline.core.paths import Layout
from foldline.core.run import Run
from foldline.core.task import Task
from foldline.scoring.cv import cross_validation
from report.made_runs import COMP, METRIC, OUTPUTS, K, make_run


def make_rivals(root: Path, task: Task, noise: dict[str, float], *, rows: int = 90) -> Layout:
    """A project with one run a name; its predictions are the truth and so much noise (the same draw, scaled)."""
    layout = make_run(root, task, rows=rows, trained=False)
    for run in ("quick", "one"):
        for path in layout.run(COMP, run).glob("*"):
            path.unlink()
        layout.run(COMP, run).rmdir()
    for name, amount in noise.items():
        add_rival(layout, task, name, amount)
    return layout


def add_rival(
    layout: Layout, task: Task, name: str, noise: float, *, folds: Sequence[int] = range(K),
    settings: dict[str, Any] | None = None, train_score: bool = False, seed: int = 5,
) -> None:  # fmt: skip
    """A run's folder as `predict` leaves it. `folds`: those that it covers."""
    names = OUTPUTS[task.name]
    frame = tables.read_csv(layout.folds(COMP))
    truth = task.truth(frame, names, where="made")
    values = truth if truth.ndim == 2 else np.eye(len(names))[truth.astype(int)]
    values = values + noise * np.random.default_rng(seed).normal(0, 1, values.shape)
    if task.exclusive:
        values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    elif task.label_sets:
        values = 1 / (1 + np.exp(-values))
    kept = task.target_columns(names)
    oof = frame[["row_id", *kept]].assign(fold=frame["fold"].astype(int))
    oof = pd.concat([oof, pd.DataFrame(values, columns=task.prediction_columns(names))], axis=1)
    oof = oof[oof["fold"].isin(folds)].sample(frac=1, random_state=len(name)).reset_index(drop=True)
    folder = layout.run(COMP, name)
    tables.write_parquet(folder / "oof.parquet", oof)
    record = {"schema": 1, "comp": COMP, "run": name, "task": task.as_json(), "outputs": names}
    record |= cross_validation(oof, load_competition(layout, COMP), names)
    record |= {"views": ["identity"], "members": [], "blend": None, "optimistic": [], "below_probe": []}
    record |= {"sha256": {"folds": tables.sha256_file(layout.folds(COMP)), "run": "r", "members": {}}}
    record |= {"seconds": {"train": 75.0, "predict": 1.5}, "device": "cpu"}
    tables.write_json(folder / "cv.json", record)
    tables.write_json(folder / "run.json", Run.parse(settings or {}, where="made").choices())
    for fold in folds:
        write_log(layout.fold(COMP, name, fold) / "log.csv", noise, METRIC[task.name] if train_score else "")


def write_log(path: Path, noise: float, metric: str) -> None:
    """Four epochs that learn, the worse the more noise; `metric`: that of the training rows is logged too."""
    epochs = np.arange(5)
    log = pd.DataFrame({"epoch": epochs, "train_loss": [None, *(0.7 * 0.7 ** epochs[1:])]})
    log = log.assign(valid_loss=0.7 * (0.8 + 0.05 * noise) ** epochs, score=0.5 + 0.4 * (1 - 0.5**epochs) / (1 + noise))
    tables.write_csv(path, log.assign(**{f"train_{metric}": log["score"] + 0.03}) if metric else log)
