"""What a task means for columns and arrays: the label columns of rows, the prediction columns of OOF files.

`outputs` is the ordered list of what a model predicts: the class names, or the names of the numbers
of a regression ([""] when there is only one).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.competition import Task
from foldline.core.errors import FoldlineError, first_few

Array = NDArray[np.float64]

ACTIVATION = {
    "binary": "softmax",
    "multiclass": "softmax",
    "ordinal": "softmax",
    "soft": "softmax",
    "multilabel": "sigmoid",
    "regression": "identity",
}


def single_label(task: Task) -> bool:
    """Whether each row has exactly one class: its `target` cell is the class name."""
    return task in ("binary", "multiclass", "ordinal")


def target_columns(task: Task, outputs: Sequence[str]) -> list[str]:
    """The label columns of a rows table: `target`, or one `target_<output>` each."""
    if single_label(task) or list(outputs) == [""]:
        return ["target"]
    return [f"target_{name}" for name in outputs]


def prediction_columns(task: Task, outputs: Sequence[str]) -> list[str]:
    """The columns of OOF and test predictions: `prob_<class>`, or `value` / `value_<name>`."""
    if task == "regression":
        return ["value" if name == "" else f"value_{name}" for name in outputs]
    return [f"prob_{name}" for name in outputs]


def truth_array(frame: pd.DataFrame, task: Task, outputs: Sequence[str], *, where: str) -> Array:
    """The labels of a rows table as numbers.

    Returns:
        [rows] class indices for single-label tasks; [rows, outputs] floats for multi-label (0 or 1),
        soft labels (>= 0, each row sums to 1) and regression.

    Raises:
        FoldlineError: a label is empty, no known class, or no finite number; the first ids are named.
    """
    columns = target_columns(task, outputs)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise FoldlineError(f"has no column {first_few(missing)}", where=where)
    if single_label(task):
        index = {name: i for i, name in enumerate(outputs)}
        codes = frame["target"].map(index)
        _refuse(frame, codes.isna().to_numpy(), "a label that is empty or no known class", where)
        indices: Array = np.asarray(codes, dtype=np.float64)
        return indices
    values = np.stack(
        [pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64) for name in columns], axis=1
    )
    _refuse(frame, ~np.isfinite(values).all(axis=1), "a label that is empty or no finite number", where)
    if task == "multilabel":
        _refuse(frame, ~np.isin(values, (0.0, 1.0)).all(axis=1), "a label other than 0 and 1", where)
    if task == "soft":
        total = values.sum(axis=1)
        _refuse(frame, (values < 0).any(axis=1) | (total <= 0), "soft labels below 0 or all 0", where)
        values = values / total[:, None]
    return values


def _refuse(frame: pd.DataFrame, bad: Any, what: str, where: str) -> None:
    if bad.any():
        ids = frame.loc[bad, "row_id"].tolist()
        raise FoldlineError(
            f"{len(ids)} rows have {what}: {first_few(ids)}", where=where, next="mend or drop these rows"
        )
