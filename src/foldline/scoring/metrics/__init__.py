"""Scores by name, the front door of the metrics. Reads truth and prediction arrays (`scoring.metrics.forms`)."""

import numpy as np
from numpy.typing import NDArray

from foldline.core.task import Array, Task
from foldline.scoring.metrics.catalogue import METRICS, metric_named
from foldline.scoring.metrics.for_task import brief, metric_for
from foldline.scoring.metrics.forms import as_read_by, decided, require_sound
from foldline.scoring.metrics.metric import Metric, Predicted
from foldline.scoring.metrics.portions import by_part, is_large, portions_of, read, row_parts

__all__ = [
    "METRICS",
    "Metric",
    "brief",
    "metric_for",
    "metric_named",
    "per_class_accuracy",
    "score",
    "score_by_part",
]


def score(name: str | Metric, truth: Array, prediction: Predicted, *, task: Task) -> float:
    """The score of predictions [rows, outputs]; labels are decided by the default rule where the metric needs them.

    >>> from foldline.core.task import TASKS
    >>> score("auc", np.array([0.0, 1.0]), np.array([[0.9, 0.1], [0.2, 0.8]]), task=TASKS["binary"])
    1.0
    """
    metric = metric_for(name, task)
    if metric.rows is not None:
        return float(row_parts(metric, truth, prediction, task).mean())
    if metric.counts is not None and is_large(prediction):
        return score_by_part(metric, truth, prediction, np.zeros(len(truth), dtype=np.int64), task=task)[0]
    metric, truth, prediction = read(metric, truth, prediction, task)
    return float(metric.function(truth, prediction))


def score_by_part(
    name: str | Metric, truth: Array, prediction: Predicted, part: NDArray[np.int64], *, task: Task
) -> tuple[float, list[float]]:
    """The score of all rows, and of the rows of each part.

    Args:
        part: [rows] which part each row is of, any numbers.

    Returns:
        The pooled score; the parts' in the order of their numbers.
    """
    metric = metric_for(name, task)
    numbers, place = np.unique(part, return_inverse=True)
    if metric.rows is not None:
        rows = row_parts(metric, truth, prediction, task)
        return float(rows.mean()), [float(rows[part == number].mean()) for number in numbers]
    if metric.counts is not None and is_large(prediction):
        pooled, parts = by_part(metric, truth, prediction, place)
        return pooled, parts.tolist()
    if is_large(prediction):
        metric, truth, prediction = read(metric, truth, prediction, task)
        each = [float(metric.function(truth[part == number], prediction[part == number])) for number in numbers]
        return float(metric.function(truth, prediction)), each
    pooled = score(metric, truth, prediction, task=task)
    return pooled, [score(metric, truth[part == k], prediction[part == k], task=task) for k in numbers]


def per_class_accuracy(truth: Array, prediction: Predicted, *, task: Task) -> Array:
    """[outputs] the share of each class's rows that are right; nan for a class without rows.

    Multi-label: the share of rows in which that label is right.
    """
    require_sound(truth, prediction)
    right = rows = np.zeros(())
    for some in portions_of(prediction):
        # The Brier score's form has every check, and two columns for two classes.
        _, true, prob = as_read_by("brier", truth[some], prediction[some], task)
        true, labels = decided(true, prob, task)
        if true.ndim == 2:
            right, rows = right + (true == labels).sum(axis=0), rows + len(true)
        else:
            right = right + np.bincount(true[true == labels].astype(np.int64), minlength=prob.shape[1])
            rows = rows + np.bincount(true.astype(np.int64), minlength=prob.shape[1])
    return np.where(rows > 0, right / np.maximum(rows, 1), np.nan)
