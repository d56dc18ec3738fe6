"""Scores by name, the front door of the metrics. Reads truth and prediction arrays (`scoring.metrics.forms`)."""

import numpy as np
from numpy.typing import NDArray

from foldline.core.errors import FoldlineError
from foldline.core.task import Array, Task
from foldline.scoring.metrics.catalogue import METRICS, metric_named
from foldline.scoring.metrics.classification import confusion_matrix
from foldline.scoring.metrics.for_task import metric_for
from foldline.scoring.metrics.forms import as_read_by, check_arrays, decided, guess_task
from foldline.scoring.metrics.metric import Metric

__all__ = [
    "METRICS",
    "Metric",
    "confusion",
    "metric_for",
    "metric_named",
    "per_class_accuracy",
    "score",
    "score_labels",
]


def score(name: str | Metric, truth: Array, prediction: Array, *, task: Task | None = None) -> float:
    """The score of predictions [rows, outputs]; labels are decided by the default rule where the metric needs them.

    Args:
        task: give it for soft labels and wherever it is known; without it the arrays' shapes decide.

    >>> score("auc", np.array([0.0, 1.0]), np.array([[0.9, 0.1], [0.2, 0.8]]))
    1.0
    """
    metric, truth, prediction = as_read_by(name, truth, prediction, task)
    return float(metric.function(truth, prediction))


def score_labels(name: str | Metric, truth: Array, labels: Array, *, task: Task | None = None) -> float:
    """The score of labels that are decided already: [rows] class indices, or [rows, outputs] of 0 and 1.

    Raises:
        FoldlineError: the metric does not read labels.
    """
    truth, labels = check_arrays(truth, labels)
    metric = metric_named(name) if isinstance(name, str) else name
    metric = metric_for(metric, task) if task else metric
    if metric.input != "label":
        raise FoldlineError(f"metric '{metric.name}' reads probabilities, not labels")
    if truth.ndim == 2 and labels.ndim == 1:
        truth = truth.argmax(axis=1).astype(np.float64)
    if truth.shape != labels.shape:
        raise FoldlineError(f"truth of shape {truth.shape} and labels of {labels.shape} do not match")
    return float(metric.function(truth, labels))


def per_class_accuracy(truth: Array, prediction: Array, *, task: Task | None = None) -> Array:
    """[outputs] the share of each class's rows that are right; nan for a class without rows.

    Multi-label: the share of rows in which that label is right.
    """
    truth, labels, size = _labels(truth, prediction, task)
    if truth.ndim == 2:
        shares: Array = (truth == labels).mean(axis=0)
        return shares
    right = np.bincount(truth[truth == labels].astype(np.int64), minlength=size)
    rows = np.bincount(truth.astype(np.int64), minlength=size)
    return np.where(rows > 0, right / np.maximum(rows, 1), np.nan)


def confusion(truth: Array, prediction: Array, *, task: Task | None = None) -> NDArray[np.int64]:
    """[outputs, outputs] counts: rows are the true class, columns the predicted one.

    Multi-label: [outputs, 2, 2], one such table for each label (absent, present).
    """
    truth, labels, size = _labels(truth, prediction, task)
    if truth.ndim == 1:
        return confusion_matrix(truth, labels, size)
    return np.stack([confusion_matrix(truth[:, j], labels[:, j], 2) for j in range(size)])


def _labels(truth: Array, prediction: Array, task: Task | None) -> tuple[Array, Array, int]:
    truth, prediction = check_arrays(truth, prediction)
    task = task or guess_task(METRICS["accuracy"], truth, prediction)
    # The Brier score's form has every check, and two columns for two classes.
    _, truth, prediction = as_read_by("brier", truth, prediction, task)
    return *decided(truth, prediction, task), prediction.shape[1]
