"""`log.csv`: a row an epoch of a fold's training, in a file and in words."""

from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.tables import write_csv
from foldline.scoring.metrics import brief

LogRow = dict[str, float | None]


def write_log(path: Path, log: list[LogRow]) -> None:
    """Writes `log.csv`: one row an epoch, epoch 0 is the start before training."""
    write_csv(path, pd.DataFrame(log))


def score_of(row: LogRow) -> float:
    """The metric of a row; undefined is NaN."""
    value = row["score"]
    return np.nan if value is None else value


def scores_of(log: list[LogRow]) -> dict[int, float]:
    """The metric of every epoch that was validated and has one, by its number; the start is none of them."""
    return {int(row["epoch"] or 0): row["score"] for row in log if row["epoch"] and row["score"] is not None}


def in_words(row: LogRow, metric: str) -> str:
    """The line that a person reads."""
    train = "" if row["train_loss"] is None else f"train loss {row['train_loss']:.4f}, "
    speed = "" if row["images_per_second"] is None else f", {row['images_per_second']:.0f} images/s"
    if row["valid_loss"] is None:
        return f"{train}not validated{speed}"
    shown = "undefined" if row["score"] is None else f"{row['score']:.4f}"
    dice = "" if row.get("mask_dice") is None else f", Dice of masks {row['mask_dice']:.4f}"
    return f"{train}valid loss {row['valid_loss']:.4f}, {brief(metric)} {shown}{dice}{speed}"
