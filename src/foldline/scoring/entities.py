"""Several rows become one line of the submission. Reads a predictions table, returns one row for each entity."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError, first_few, unknown
from foldline.core.task import Array, Task, by_block
from foldline.scoring.metrics.metric import Predicted
from foldline.scoring.metrics.portions import AT_A_TIME

Starts = NDArray[np.int64]


def _mean(values: Array, starts: Starts) -> Array:
    size = np.diff(np.append(starts, len(values)))
    return np.asarray(np.add.reduceat(values, starts, axis=0) / size[:, None])


def _noisy_or(values: Array, starts: Starts) -> Array:
    """1 - product of (1 - p): the entity is positive where any of its rows is, taken as independent."""
    with np.errstate(divide="ignore"):  # log(0) is -inf, which is right for p = 1
        logs = np.log1p(-np.clip(values, 0.0, 1.0))
    return 1.0 - np.exp(np.add.reduceat(logs, starts, axis=0))


AGGREGATES: dict[str, Callable[[Array, Starts], Array]] = {
    "mean": _mean,
    "max": np.maximum.reduceat,
    "noisy_or": _noisy_or,
}


def aggregate(
    frame: pd.DataFrame,
    entity: str,
    how: str,
    *,
    task: Task,
    outputs: Sequence[str],
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """One row for each entity, in the order in which entities first appear.

    Binary tasks aggregate the positive class and keep the columns complementary. With more classes each
    column is aggregated and the row divided by its sum.

    Args:
        frame: a predictions table, with the columns of `core.task.Task.prediction_columns`.
        entity: the column that names each row's entity.
        how: an entry of AGGREGATES.
        keep: further columns (labels, fold), which must be the same in all rows of an entity.

    Raises:
        FoldlineError: unknown `how`; noisy_or of numbers; an entity with two values in a `keep` column.
    """
    if how not in AGGREGATES:
        raise unknown("aggregate", how, list(AGGREGATES))
    if how == "noisy_or" and not all(part.has_classes for part in task.parts):
        raise FoldlineError("noisy_or is for probabilities", next="use mean or max")
    columns = task.prediction_columns(outputs)
    code, names = pd.factorize(frame[entity], sort=False)
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(len(names))).astype(np.int64)
    values = _combined(frame[columns].to_numpy(), order, starts, task.of(outputs), how)
    table = pd.DataFrame({entity: names})
    for column in keep:
        table[column] = _constant(frame, entity, column, order[starts])
    return pd.concat([table, pd.DataFrame(values, columns=columns, copy=False)], axis=1)


def joined(prob: Predicted, units: Starts, task: Task, how: str) -> Predicted:
    """[entities, outputs] of predictions [rows, outputs], in the order of the entities' numbers.

    Args:
        units: [rows] the number of each row's entity.
        task: its outputs known.
        how: an entry of AGGREGATES.
    """
    order = np.argsort(units, kind="stable")
    _, starts = np.unique(units[order], return_index=True)
    return _combined(prob, order, starts.astype(np.int64), task, how)


def _combined(prob: Predicted, order: Starts, starts: Starts, task: Task, how: str) -> Predicted:
    """[entities, outputs] of rows in the order of their entities, some entities after the other; float32 where they
    are too many to be copied."""
    entities, outputs = len(starts), prob.shape[1]
    found = np.empty((entities, outputs), dtype=np.float64 if entities * outputs <= AT_A_TIME else np.float32)
    ends, step, first = np.append(starts, len(prob)), max(1, AT_A_TIME // max(outputs, 1)), 0
    while first < entities:
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + step, "right")) - 1)
        rows = prob[order[ends[first] : ends[last]]].astype(np.float64)
        found[first:last] = by_block(_combine, task, rows, starts=starts[first:last] - ends[first], how=how)
        first = last
    return found


def _combine(values: Array, task: Task, starts: Starts, how: str) -> Array:
    if task.two_classes:
        positive = AGGREGATES[how](values[:, 1:], starts)
        return np.concatenate([1 - positive, positive], axis=1)
    combined = AGGREGATES[how](values, starts)
    return combined / combined.sum(axis=1, keepdims=True) if task.exclusive else combined


def _constant(frame: pd.DataFrame, entity: str, column: str, first: Starts) -> "pd.Series[Any]":
    """The one value of a column for each entity, read from its first row."""
    differing = frame.groupby(entity, sort=False)[column].nunique(dropna=False) > 1
    if differing.any():
        names = [str(name) for name in differing.index[differing]]
        raise FoldlineError(f"column '{column}' differs inside the entities {first_few(names)}")
    return frame[column].iloc[first].reset_index(drop=True)
