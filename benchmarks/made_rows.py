"""Rows and predictions that nobody trained, for what is measured of predicting, scoring and blending."""

from pathlib import Path

import numpy as np
import pandas as pd

from foldline.core.prediction_blocks import PredictionWriter, blocks_of
from foldline.core.task import TASKS, Task

FOLDS = 2


def outputs(classes: int) -> list[str]:
    """The classes."""
    return [f"c{i:04d}" for i in range(classes)]


def task(classes: int) -> Task:
    """Of so many classes."""
    return TASKS["binary" if classes == 2 else "multiclass"].of(outputs(classes))


def frame(rows: int, classes: int, kind: str = "row") -> pd.DataFrame:
    """Rows with a picture, a fold and a class."""
    index = np.arange(rows)
    labels = np.array(outputs(classes))[np.random.default_rng(1).integers(0, classes, rows)]
    ids = pd.Series([f"{kind}{i:07d}" for i in index], dtype="str")
    return pd.DataFrame({"row_id": ids, "image": ids, "fold": index % FOLDS, "target": pd.Series(labels, dtype="str")})


def write(path: Path, rows: pd.DataFrame, classes: int, keep: list[str], seed: int = 2) -> None:
    """A predictions file: probabilities that know a little of the class."""
    rng, names = np.random.default_rng(seed), np.array(outputs(classes))
    with PredictionWriter.open(path, task(classes), outputs(classes), ids=rows["row_id"]) as writer:
        for place in blocks_of(len(rows), classes):
            values = rng.random((place.stop - place.start, classes), dtype=np.float32)
            labels = np.searchsorted(names, rows["target"].iloc[place].to_numpy(dtype=str))
            values[np.arange(len(values)), labels] += 0.5
            values /= values.sum(axis=1, keepdims=True)
            writer.write(rows.iloc[place], values, keep=keep)
