"""Scores by name, the front door of the metrics. Reads truth and prediction arrays (`scoring.metrics.forms`)."""

import numpy as np

from foldline.core.task import Array, Task
from foldline.scoring.metrics.catalogue import METRICS, metric_named
from foldline.scoring.metrics.for_task import brief, metric_for
from foldline.scoring.metrics.forms import as_read_by, decided
from foldline.scoring.metrics.metric import Metric

__all__ = [
    "METRICS",
    "Metric",
    "brief",
    "metric_for",
    "metric_named",
    "per_class_accuracy",
    "score",
]


def score(name: str | Metric, truth: Array, prediction: Array, *, task: Task) -> float:
    """The score of predictions [rows, outputs]; labels are decided by the default rule where the metric needs them.

    >>> from foldline.core.task import TASKS
    >>> score("auc", np.array([0.0, 1.0]), np.array([[0.9, 0.1], [0.2, 0.8]]), task=TASKS["binary"])
    1.0
    """
    metric, truth, prediction = as_read_by(name, truth, prediction, task)
    return float(metric.function(truth, prediction))


def per_class_accuracy(truth: Array, prediction: Array, *, task: Task) -> Array:
    """[outputs] the share of each class's rows that are right; nan for a class without rows.

    Multi-label: the share of rows in which that label is right.
    """
    # The Brier score's form has every check, and two columns for two classes.
    _, truth, prediction = as_read_by("brier", truth, prediction, task)
    truth, labels = decided(truth, prediction, task)
    if truth.ndim == 2:
        return np.asarray((truth == labels).mean(axis=0))
    right = np.bincount(truth[truth == labels].astype(np.int64), minlength=prediction.shape[1])
    rows = np.bincount(truth.astype(np.int64), minlength=prediction.shape[1])
    return np.where(rows > 0, right / np.maximum(rows, 1), np.nan)
