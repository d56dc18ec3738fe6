"""A short trial of a member on some of its validation rows, each by the fold that did not see it.

It gives what the budget needs (pictures a second, what each view is worth) and whether half precision holds.
Reads weights and pictures; writes nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from foldline.core.competition import Competition
from foldline.core.counted import counted
from foldline.core.records.fold_meta import FoldMeta
from foldline.core.task import Array
from foldline.engine.finished.copies import LARGEST_LOSS
from foldline.engine.finished.networks import FoldNetworks, predict_rows, ready, spec_of
from foldline.engine.finished.oof import among_all
from foldline.engine.finished.pictures import Source, Spec, load_picture
from foldline.engine.machine.precision import Precision
from foldline.engine.problem import Problem
from foldline.models.architecture import Architecture
from foldline.models.backbone import build
from foldline.scoring.cv import pooled_score

ROWS_PER_FOLD = 100  # validation rows that are looked at
DECODED = 50  # pictures that are decoded for their speed
LARGEST_MOVE = 0.01  # of a probability by half precision; of numbers: of their standard deviation


@dataclass(frozen=True)
class Trial:
    """What a member says of the rows.

    Attributes:
        by_view: [rows, outputs] by the view.
        halved: the same by weights in half precision.
        images_per_second: of all networks of one fold in one view, the median over folds and views.
        decoded_per_second: pictures that one core reads and resizes.
    """

    by_view: dict[str, Array]
    halved: dict[str, Array]
    images_per_second: float
    decoded_per_second: float

    @property
    def mean(self) -> Array:
        """[rows, outputs] over the views."""
        return np.asarray(np.mean(list(self.by_view.values()), axis=0))


def some_rows(oof: pd.DataFrame, per_fold: int = ROWS_PER_FOLD) -> pd.DataFrame:
    """Validation rows of each fold, evenly among its rows; whole entities, where several rows make one.

    Args:
        oof: with `row_id`, `fold`, maybe `entity`.
    """
    unit = "entity" if "entity" in oof.columns else "row_id"
    parts = []
    for _, rows in oof.groupby("fold", sort=True):
        units = rows[unit].drop_duplicates()
        count = min(len(units), max(1, round(len(units) * per_fold / len(rows))))
        chosen = units.iloc[np.linspace(0, len(units) - 1, count).astype(int)]
        parts.append(rows[rows[unit].isin(set(chosen))])
    return pd.concat(parts)


def try_member(
    problem: Problem,
    folds: dict[Path, FoldMeta],
    halves: dict[Path, FoldMeta],
    rows: pd.DataFrame,
    views: Sequence[str],
) -> Trial:
    """Predicts the rows view by view, by the weights as they are and in half precision.

    Args:
        problem: of the member's choices.
        folds: the folder and the meta of each fold; halves: the same in half precision, in the same order.
        rows: of `some_rows`, all of these folds.
    """
    shape = (len(rows), len(problem.folds.outputs))
    found = {half: {view: np.empty(shape) for view in views} for half in (False, True)}
    rates = []
    frame = problem.folds.frame.set_index("row_id").loc[rows["row_id"]].reset_index()
    for pair in zip(folds.items(), halves.items(), strict=True):
        meta = pair[0][1]
        own = np.flatnonzero((frame["fold"].to_numpy() == meta.fold) | meta.on_all_rows)
        networks = [FoldNetworks.load(*place, problem.device) for place in pair]
        table, among = among_all(problem, frame.iloc[own])
        positions = problem.cache.rows(table["image"].tolist())
        for view in views:
            start = time.perf_counter()
            values = predict_rows(
                networks, problem.pictures, positions, table, views=[view], title=f"{meta.run}, {view}",
                batch_size=problem.run.predict.batch_size, among=among,
            )  # fmt: skip
            seen = len(own) if among is None else among.seen(problem.run.predict.batch_size)
            rates.append(len(networks) * seen / (time.perf_counter() - start))
            for half, value in zip((False, True), values, strict=True):
                found[half][view][own] = value
    root, spec = problem.layout.input(problem.comp), spec_of(*next(iter(folds.items())))
    decoded = decoded_per_second(root, [spec], frame["image"].tolist())
    return Trial(found[False], found[True], float(np.median(rates)), decoded)


def decoded_per_second(root: Path, specs: Sequence[Spec], images: list[str]) -> float:
    """Pictures that one core reads from their files below `root` at the sizes of a run, as the notebook does."""
    names = images[:: max(1, len(images) // DECODED)]
    start = time.perf_counter()
    for name in names:
        load_picture(Source.of_row(root, name), specs)
    return len(names) / (time.perf_counter() - start)


def half_moves(
    trial: Trial,
    rows: pd.DataFrame,
    facts: Competition,
    outputs: list[str],
    interval: tuple[float | None, float | None],
) -> tuple[bool, str]:
    """Whether half precision holds, and in words what it moves.

    Args:
        rows: that the trial is of, with their labels.
        interval: of the run's OOF score.
    """
    task = facts.task.of(outputs)
    full, half = trial.mean, np.mean(list(trial.halved.values()), axis=0)
    scale = np.ones(len(outputs))
    for block in task.blocks:
        if not block.task.has_classes:
            scale[block.columns] = np.maximum(full[:, block.columns].std(axis=0), np.finfo(np.float32).tiny)
    move = float((np.abs(full - half) / scale).max())
    before, after = (score_of(values, rows, facts, outputs) for values in (full, half))
    low, high = interval
    width = None if low is None or high is None else high - low
    moved = abs(before - after)
    holds = np.isfinite(half).all() and move <= LARGEST_MOVE and (width is None or not moved > LARGEST_LOSS * width)
    words = (
        f"predictions move by at most {move:.1g}, {facts.metric} from {before:.4f} to {after:.4f} "
        f"({counted(len(rows), 'rows')})"
    )
    return bool(holds), words


def score_of(values: Array, rows: pd.DataFrame, facts: Competition, outputs: list[str]) -> float:
    """The competition's metric of predictions [rows, outputs] of rows with their labels."""
    columns = facts.task.of(outputs).prediction_columns(outputs)
    return pooled_score(rows.assign(**dict(zip(columns, values.T, strict=True))), facts, outputs)


@torch.inference_mode()
def resnet50_per_second(device: torch.device, pictures: int = 16) -> float:
    """Pictures of 224 px that a ResNet-50 predicts here in float32: what published speeds are compared with."""
    architecture, precision = Architecture("resnet50", 1000, 3, 224, 224), Precision("fp32", "", {})
    precision.prepare(device)
    model = ready(build(architecture).to(device), architecture, precision)
    x = torch.zeros(pictures, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        float(model(x).sum())  # waits for the device
        seconds.append(time.perf_counter() - start)
    return pictures / min(seconds)
