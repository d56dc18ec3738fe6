"""Scores of many rows, some of them in float64 at a time; they are those of all rows at once. Arrays in, numbers out.

| the metric | what is kept of the predictions |
|---|---|
| is a mean over rows | each row's part |
| reads labels or numbers | these, a few numbers a row |
| is a mean over columns of their order | a column after the other |
| any other | all of them, in float64 |
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task
from foldline.scoring.metrics.for_task import metric_for
from foldline.scoring.metrics.forms import as_read_by, check_classes, require_sound
from foldline.scoring.metrics.metric import Metric, Predicted, mean_defined
from foldline.scoring.metrics.ranking import columns_of

AT_A_TIME = 4_000_000  # numbers that are float64 together: 32 MB
TABLE = 4_000_000  # counts that are looked at together


def portions_of(prediction: Predicted) -> Iterator[slice]:
    """The rows in portions."""
    rows = len(prediction)
    step = max(1, AT_A_TIME * rows // max(prediction.size, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def is_large(prediction: Predicted) -> bool:
    """Whether the predictions are too many columns of too many rows to be copied."""
    return prediction.size > max(AT_A_TIME, len(prediction))


def read(name: str | Metric, truth: Array, prediction: Predicted, task: Task) -> tuple[Metric, Array, Array]:
    """`forms.as_read_by`, of many rows in portions where the form is small."""
    metric = metric_for(name, task)
    small = metric.input in ("label", "value") and not metric.parts
    if not (small and is_large(prediction)):
        return as_read_by(metric, truth, prediction, task)
    require_sound(truth, prediction)
    forms = [as_read_by(metric, truth[rows], prediction[rows], task)[1:] for rows in portions_of(prediction)]
    return metric, np.concatenate([true for true, _ in forms]), np.concatenate([found for _, found in forms])


def row_parts(metric: Metric, truth: Array, prediction: Predicted, task: Task) -> Array:
    """[rows] each row's part of a metric that is a mean over rows.

    Raises:
        FoldlineError: as `forms.as_read_by`.
    """
    assert metric.rows is not None
    if not is_large(prediction):
        return metric.rows(*as_read_by(metric, truth, prediction, task)[1:])
    require_sound(truth, prediction)
    parts = [
        metric.rows(*as_read_by(metric, truth[rows], prediction[rows], task)[1:]) for rows in portions_of(prediction)
    ]
    return np.concatenate(parts)


def by_part(
    metric: Metric, truth: Array, prediction: Predicted, part: NDArray[np.int64], *, without: bool = False
) -> tuple[float, Array]:
    """The score of a metric of counts over all rows, and [parts] that of each part's rows.

    A column's negative rows between two positive ones are alike, so that few levels are left.

    Args:
        part: [rows] which part each row is of, from 0 on.
        without: [parts] of all rows but the part's instead.

    Raises:
        FoldlineError: as `forms.as_read_by`.
    """
    require_sound(truth, prediction)
    check_classes(truth, prediction)
    parts = int(part.max()) + 1
    scores = [
        _column(metric, prediction[:, j].astype(np.float64), true > 0, part, parts, without=without)
        for j, true in columns_of(truth, prediction.shape[1])
    ]
    table = np.stack(scores)
    means = np.array([mean_defined(column.tolist()) for column in table.T])
    return float(means[0]), means[1:]


def _column(
    metric: Metric, value: Array, positive: NDArray[np.bool_], part: NDArray[np.int64], parts: int, *, without: bool
) -> Array:  # fmt: skip
    """[1 + parts] one column's score of all rows, and by parts."""
    assert metric.counts is not None
    levels = np.unique(value[positive])
    # 0: below the first positive row, 1: with it, 2: between it and the next ...
    code = np.searchsorted(levels, value, "left") + np.searchsorted(levels, value, "right")
    size = 2 * len(levels) + 1
    whole = _counts(code, positive, size)
    scores = [metric.counts(*whole)[None]]
    step = max(1, TABLE // size)
    for first in range(0, parts, step):
        some = (part >= first) & (part < first + step) if parts > step else slice(None)
        place = (part[some] - first) * size + code[some]
        number = min(step, parts - first)
        own = [counts.reshape(number, size) for counts in _counts(place, positive[some], number * size, up=True)]
        own = [counts[:, ::-1] for counts in own]
        if without:
            own = [every - counts for every, counts in zip(whole, own, strict=True)]
        scores.append(metric.counts(*own))
    return np.concatenate(scores)


def _counts(
    code: NDArray[np.int64], positive: NDArray[np.bool_], size: int, *, up: bool = False
) -> tuple[Array, Array]:  # fmt: skip
    """Positive and negative rows at each level, the highest first, or the lowest (`up`)."""
    true = np.bincount(code[positive], minlength=size)
    false = np.bincount(code, minlength=size) - true
    order = slice(None) if up else slice(None, None, -1)
    return true[order].astype(np.float64), false[order].astype(np.float64)
